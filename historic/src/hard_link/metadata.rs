//! What the file system says of a file: not what this machine remembers of it, where the two can differ.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, CWD, FileType, Stat, Statx, StatxFlags, StatxTimestamp, Timespec, Timestamps,
    UTIME_NOW,
};
use rustix::io::Errno;

/// A moment of the file system's own clock: over NFS the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    seconds: i64,
    nanos: u32,
}

impl Moment {
    /// When nobody will wait any more.
    #[cfg(test)]
    pub(super) const FAR: Self = Self {
        seconds: i64::MAX,
        nanos: 0,
    };

    /// From the earlier moment to this one, in nanoseconds: less than zero when it is the later one after all.
    fn since(self, earlier: Self) -> i128 {
        (i128::from(self.seconds) - i128::from(earlier.seconds)) * 1_000_000_000
            + (i128::from(self.nanos) - i128::from(earlier.nanos))
    }

    /// What has to pass from this moment on until something of that moment is older than the limit; `None` when it is
    /// older already. What is exactly as old as the limit is not older.
    ///
    /// Both are readings of one clock, the file system's. The clock of this machine has no part in it, so a difference
    /// between the two makes no fresh file old. If that one clock is set back, what was made before is of the future, and
    /// not old before the clock has come there; so whoever waits also counts for how long he has seen it ([`Since`]).
    pub(super) fn left_of(self, limit: Duration, that: Self) -> Option<Duration> {
        let limit = i128::try_from(limit.as_nanos()).unwrap_or(i128::MAX);
        let left = limit.saturating_sub(self.since(that));
        (left >= 0).then(|| {
            let left = u64::try_from(left).unwrap_or(u64::MAX);
            Duration::from_nanos(left).saturating_add(Duration::from_nanos(1))
        })
    }
}

impl From<StatxTimestamp> for Moment {
    fn from(time: StatxTimestamp) -> Self {
        Self {
            seconds: time.tv_sec,
            nanos: time.tv_nsec,
        }
    }
}

/// A moment by two clocks: the file system's, which all machines share, but which may be set; and this machine's, which
/// only ever goes on. Neither alone tells that something is young.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Since {
    by_file: Moment,
    by_us: Instant,
}

impl Since {
    /// What the deed returns, which asks the file system for the moment, as both clocks have it: ours a bit early.
    pub(super) fn during<E>(deed: impl FnOnce() -> Result<Moment, E>) -> Result<Self, E> {
        let by_us = Instant::now();
        let by_file = deed()?;
        Ok(Self { by_file, by_us })
    }

    /// What has to pass until something of that moment of the file system's is older than the limit, as for a
    /// [`Moment`].
    pub(super) fn left_of(self, limit: Duration, that: Moment) -> Option<Duration> {
        self.by_file.left_of(limit, that)
    }

    /// Whether what is of that moment was not older than the limit at this one.
    pub(super) fn is_young(self, now: Moment, limit: Duration) -> bool {
        now.left_of(limit, self.by_file).is_some() && self.by_us.elapsed() <= limit
    }
}

/// A file, seen at some moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Which file it is.
    pub(super) id: (u32, u32, u64),
    /// How many names it has.
    pub(super) links: u64,
    /// When anything about it was last changed, its names too.
    pub(super) changed: Moment,
    /// When somebody last wrote to it, or said so: new names leave it alone.
    pub(super) written: Moment,
    /// Whose it is.
    pub(super) owner: u32,
    /// What it is.
    pub(super) kind: FileType,
}

impl From<Statx> for Seen {
    fn from(stat: Statx) -> Self {
        Self {
            id: (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino),
            links: stat.stx_nlink.into(),
            changed: stat.stx_ctime.into(),
            written: stat.stx_mtime.into(),
            owner: stat.stx_uid,
            kind: FileType::from_raw_mode(stat.stx_mode.into()),
        }
    }
}

#[allow(clippy::unnecessary_cast)] // Their widths differ between processors.
impl From<Stat> for Seen {
    fn from(stat: Stat) -> Self {
        let moment = |seconds, nanos| Moment { seconds, nanos };
        Self {
            id: (
                rustix::fs::major(stat.st_dev as u64),
                rustix::fs::minor(stat.st_dev as u64),
                stat.st_ino as u64,
            ),
            links: stat.st_nlink as u64,
            changed: moment(stat.st_ctime as i64, stat.st_ctime_nsec as u32),
            written: moment(stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            owner: stat.st_uid,
            kind: FileType::from_raw_mode(stat.st_mode),
        }
    }
}

/// The open file.
///
/// # Errors
///
/// Those of statx(2).
pub(super) fn of(file: impl AsFd) -> Result<Seen, Errno> {
    statx(file, OsStr::new(""), AtFlags::EMPTY_PATH)
}

/// The file of this very name, be it a symbolic link.
///
/// # Errors
///
/// Those of statx(2).
pub(super) fn at(path: &OsStr) -> Result<Seen, Errno> {
    statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
}

/// The file that the path leads to, through symbolic links.
///
/// # Errors
///
/// Those of statx(2).
pub(super) fn through(path: &OsStr) -> Result<Seen, Errno> {
    statx(CWD, path, AtFlags::empty())
}

/// `AT_STATX_FORCE_SYNC`: an NFS client answers stat(2) from what it was told some seconds ago.
fn statx(folder: impl AsFd, path: &OsStr, flags: AtFlags) -> Result<Seen, Errno> {
    let sync = flags | AtFlags::STATX_FORCE_SYNC;
    match rustix::fs::statx(&folder, path, sync, StatxFlags::BASIC_STATS) {
        // Before Linux 4.11, and in sandboxes that have not heard of it.
        Err(Errno::NOSYS) => rustix::fs::statat(folder, path, flags).map(Seen::from),
        other => other.map(Seen::from),
    }
}

const NOW: Timestamps = Timestamps {
    last_access: JUST_NOW,
    last_modification: JUST_NOW,
};

const JUST_NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: UTIME_NOW,
};

/// utimensat(2) – says that the file is of this moment, and so learns which moment it is.
///
/// # Errors
///
/// Those of utimensat(2) and statx(2).
pub(super) fn touch(file: impl AsFd) -> Result<Moment, Errno> {
    rustix::fs::futimens(&file, &NOW)?;
    Ok(of(file)?.changed)
}

/// The same for the file of this very name.
///
/// # Errors
///
/// Those of utimensat(2) and statx(2).
pub(super) fn touch_at(path: &OsStr) -> Result<Moment, Errno> {
    rustix::fs::utimensat(CWD, path, &NOW, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(at(path)?.changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;

    fn moment(seconds: i64, nanos: u32) -> Moment {
        Moment { seconds, nanos }
    }

    #[test]
    fn old_is_what_is_older_than_the_limit_by_one_and_the_same_clock() {
        let minute = Duration::from_secs(60);
        let made = moment(1000, 5);
        for (now, old) in [
            (moment(1000, 5), false),
            (moment(1060, 4), false),
            (moment(1060, 5), false),
            (moment(1060, 6), true),
            (moment(1061, 0), true),
            // Set back by an hour: what was made before is not old, however long it takes.
            (moment(1000 - HOUR, 0), false),
            (moment(i64::MAX, 0), true),
            (moment(i64::MIN, 0), false),
        ] {
            assert_eq!(now.left_of(minute, made).is_none(), old, "{now:?}");
        }
        assert!(moment(i64::MAX, 0).left_of(Duration::MAX, made).is_some());
        assert!(made.left_of(Duration::ZERO, made).is_some());
    }

    #[test]
    fn young_is_what_is_young_by_both_clocks() {
        let minute = Duration::from_secs(60);
        let since = |moment| Since::during(|| Ok::<_, Errno>(moment)).expect("no error");
        assert!(since(moment(1000, 0)).is_young(moment(1060, 0), minute));
        assert!(!since(moment(1000, 0)).is_young(moment(1061, 0), minute));
        // The file system's clock was set back.
        let since = since(moment(1000, 0));
        assert!(since.is_young(moment(1000 - HOUR, 0), minute));
        while since.by_us.elapsed().is_zero() {}
        assert!(!since.is_young(moment(1000 - HOUR, 0), Duration::ZERO));
    }

    #[test]
    fn what_is_left_is_just_enough() {
        let limit = Duration::new(60, 0);
        let (made, now) = (moment(1000, 900_000_000), moment(1010, 0));
        let left = now.left_of(limit, made).expect("it is not old");
        assert_eq!(left, Duration::new(50, 900_000_001));
    }

    #[test]
    fn the_old_call_sees_what_the_new_one_sees() {
        let file = tempfile::tempfile().expect("a file");
        let old = Seen::from(rustix::fs::fstat(&file).expect("it is open"));
        let new = of(&file).expect("it is open");
        assert_eq!(
            (old.id, old.links, old.owner),
            (new.id, new.links, new.owner)
        );
        assert_eq!((old.changed, old.written), (new.changed, new.written));
        assert_eq!(old.kind, new.kind);
    }

    #[test]
    fn a_touched_file_is_of_this_moment_by_its_file_systems_clock() {
        let file = tempfile::tempfile().expect("a file");
        let before = of(&file).expect("it is open");
        let now = touch(&file).expect("it is ours");
        let after = of(&file).expect("it is open");
        assert!(now.since(before.changed) >= 0);
        assert_eq!((after.changed, after.id), (now, before.id));
    }
}
