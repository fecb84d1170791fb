//! The metadata of files as the file system has it, not as this machine has cached it, where the
//! two can differ.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, CWD, FileType, Stat, Statx, StatxFlags, StatxTimestamp, Timespec, Timestamps,
    UTIME_NOW,
};
use rustix::io::Errno;

use fdlock::lock::at_path::{self, Symlink};

/// A time on the clock of the file system: over NFS, the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileTime {
    seconds: i64,
    nanos: u32,
}

impl FileTime {
    #[cfg(test)]
    pub(super) const FAR_FUTURE: Self = Self {
        seconds: i64::MAX,
        nanos: 0,
    };

    /// Returns the nanoseconds from the earlier time to this one, which are negative if it is the
    /// later one after all.
    fn nanos_since(self, earlier: Self) -> i128 {
        (i128::from(self.seconds) - i128::from(earlier.seconds)) * 1_000_000_000
            + (i128::from(self.nanos) - i128::from(earlier.nanos))
    }

    /// Returns how long it takes from this time until something that dates from `origin` is older
    /// than the maximum age, or `None` if it is older already. A file of exactly the maximum age is
    /// not stale.
    ///
    /// Both times are readings of one clock, the file system's. The clock of this machine is not
    /// involved, so a difference between the two cannot make a fresh file stale. If that one clock
    /// is set back, files from before come from the future, and are not stale until the clock has
    /// caught up; therefore a waiter also measures for how long it has seen the file (`attempt`).
    pub(super) fn until_stale(self, max_age: Duration, origin: Self) -> Option<Duration> {
        let max_age = i128::try_from(max_age.as_nanos()).unwrap_or(i128::MAX);
        let left = max_age.saturating_sub(self.nanos_since(origin));
        (left >= 0).then(|| {
            let left = u64::try_from(left).unwrap_or(u64::MAX);
            Duration::from_nanos(left).saturating_add(Duration::from_nanos(1))
        })
    }
}

impl From<StatxTimestamp> for FileTime {
    fn from(time: StatxTimestamp) -> Self {
        Self {
            seconds: time.tv_sec,
            nanos: time.tv_nsec,
        }
    }
}

/// A time on two clocks: the file system's, which all machines share but which may be set, and the
/// monotonic clock of this machine. Neither of them alone shows that something is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DualTimestamp {
    file_time: FileTime,
    monotonic: Instant,
}

impl DualTimestamp {
    /// Takes a timestamp; `read` returns the file system's time. The monotonic clock is read
    /// before, so its time is slightly early.
    pub(super) fn take<E>(read: impl FnOnce() -> Result<FileTime, E>) -> Result<Self, E> {
        let monotonic = Instant::now();
        read().map(|file_time| Self {
            file_time,
            monotonic,
        })
    }

    /// Returns how long it takes until something that dates from `origin` is older than the maximum
    /// age: see [`FileTime::until_stale`].
    pub(super) fn until_stale(self, max_age: Duration, origin: FileTime) -> Option<Duration> {
        self.file_time.until_stale(max_age, origin)
    }

    /// Returns whether something that dates from this time is not older than the maximum age now.
    pub(super) fn is_fresh(self, now: FileTime, max_age: Duration) -> bool {
        now.until_stale(max_age, self.file_time).is_some() && self.monotonic.elapsed() <= max_age
    }
}

/// The metadata of a file at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileMeta {
    /// The device, as major and minor number, and the inode.
    pub(super) id: (u32, u32, u64),
    /// The number of hard links.
    pub(super) links: u64,
    /// When anything about the file was last changed, including its names.
    pub(super) changed: FileTime,
    /// When the file was last written to or touched; new names do not affect it.
    pub(super) modified: FileTime,
    pub(super) owner: u32,
    pub(super) file_type: FileType,
}

impl FileMeta {
    pub(super) fn from_fd(file: impl AsFd) -> Result<Self, Errno> {
        statx(file, OsStr::new(""), AtFlags::EMPTY_PATH)
    }

    /// Returns the metadata of the file that the path leads to, through symbolic links.
    pub(super) fn from_path(path: &OsStr) -> Result<Self, Errno> {
        statx_path(path, Symlink::Follow)
    }

    /// Returns the metadata of the file at the path, even if that is a symbolic link.
    pub(super) fn from_path_nofollow(path: &OsStr) -> Result<Self, Errno> {
        statx_path(path, Symlink::NoFollow)
    }
}

impl From<Statx> for FileMeta {
    fn from(stat: Statx) -> Self {
        Self {
            id: (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino),
            links: stat.stx_nlink.into(),
            changed: stat.stx_ctime.into(),
            modified: stat.stx_mtime.into(),
            owner: stat.stx_uid,
            file_type: FileType::from_raw_mode(stat.stx_mode.into()),
        }
    }
}

#[allow(clippy::unnecessary_cast)] // The widths differ between processors.
impl From<Stat> for FileMeta {
    fn from(stat: Stat) -> Self {
        let time = |seconds, nanos| FileTime { seconds, nanos };
        Self {
            id: (
                rustix::fs::major(stat.st_dev as u64),
                rustix::fs::minor(stat.st_dev as u64),
                stat.st_ino as u64,
            ),
            links: stat.st_nlink as u64,
            changed: time(stat.st_ctime as i64, stat.st_ctime_nsec as u32),
            modified: time(stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            owner: stat.st_uid,
            file_type: FileType::from_raw_mode(stat.st_mode),
        }
    }
}

/// How often in a row a file may be removed between the lookup of its name and the question for its
/// metadata, before `ESTALE` is believed to mean something else.
const MAX_STALE: u32 = 16;

/// Without a block device, the file may be on a file server, whose client answers for the file that
/// it found at the path some seconds ago: see [`at_path`].
fn statx_path(path: &OsStr, symlink: Symlink) -> Result<FileMeta, Errno> {
    let flags = match symlink {
        Symlink::Follow => AtFlags::empty(),
        Symlink::NoFollow => AtFlags::SYMLINK_NOFOLLOW,
    };
    let mut meta = statx(CWD, path, flags);
    let may_be_outdated = match meta {
        Ok(meta) => meta.id.0 == 0,
        Err(errno) => errno == Errno::STALE,
    };
    if may_be_outdated {
        for _ in 0..MAX_STALE {
            at_path::refresh(path, symlink);
            meta = statx(CWD, path, flags);
            if meta != Err(Errno::STALE) {
                break;
            }
        }
    }
    meta
}

/// `AT_STATX_FORCE_SYNC`: without it, an NFS client answers from what the server reported some
/// seconds ago.
fn statx(dir: impl AsFd, path: &OsStr, flags: AtFlags) -> Result<FileMeta, Errno> {
    let sync = flags | AtFlags::STATX_FORCE_SYNC;
    match rustix::fs::statx(&dir, path, sync, StatxFlags::BASIC_STATS) {
        // Before Linux 4.11, and in sandboxes that do not know statx(2).
        Err(Errno::NOSYS) => rustix::fs::statat(dir, path, flags).map(FileMeta::from),
        other => other.map(FileMeta::from),
    }
}

const CURRENT_TIME: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: UTIME_NOW,
};

const NOW: Timestamps = Timestamps {
    last_access: CURRENT_TIME,
    last_modification: CURRENT_TIME,
};

/// utimensat(2) – sets the times of an open file to the current time, and returns that time.
pub(super) fn touch(file: impl AsFd) -> Result<FileTime, Errno> {
    rustix::fs::futimens(&file, &NOW)?;
    Ok(FileMeta::from_fd(file)?.changed)
}

/// Does the same for the file at the path, even if that is a symbolic link.
pub(super) fn touch_path_nofollow(path: &OsStr) -> Result<FileTime, Errno> {
    rustix::fs::utimensat(CWD, path, &NOW, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileMeta::from_path_nofollow(path)?.changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;
    const MINUTE: Duration = Duration::from_secs(60);

    fn time(seconds: i64, nanos: u32) -> FileTime {
        FileTime { seconds, nanos }
    }

    #[test]
    fn stale_means_older_than_the_maximum_age() {
        let origin = time(1000, 5);
        for (now, stale) in [
            (time(1000, 5), false),
            (time(1060, 4), false),
            (time(1060, 5), false),
            (time(1060, 6), true),
            (time(1061, 0), true),
            // The clock was set back by an hour.
            (time(1000 - HOUR, 0), false),
            (time(i64::MAX, 0), true),
            (time(i64::MIN, 0), false),
        ] {
            assert_eq!(now.until_stale(MINUTE, origin).is_none(), stale, "{now:?}");
        }
        let end = time(i64::MAX, 0);
        assert!(end.until_stale(Duration::MAX, origin).is_some());
        assert!(origin.until_stale(Duration::ZERO, origin).is_some());
    }

    #[test]
    fn fresh_means_fresh_by_both_clocks() {
        let timestamp = |time| DualTimestamp::take(|| Ok::<_, Errno>(time)).expect("no error");
        assert!(timestamp(time(1000, 0)).is_fresh(time(1060, 0), MINUTE));
        assert!(!timestamp(time(1000, 0)).is_fresh(time(1061, 0), MINUTE));
        // The file system's clock was set back.
        let timestamp = timestamp(time(1000, 0));
        assert!(timestamp.is_fresh(time(1000 - HOUR, 0), MINUTE));
        while timestamp.monotonic.elapsed().is_zero() {}
        assert!(!timestamp.is_fresh(time(1000 - HOUR, 0), Duration::ZERO));
    }

    #[test]
    fn the_remaining_time_is_just_enough() {
        let (origin, now) = (time(1000, 900_000_000), time(1010, 0));
        let left = now.until_stale(MINUTE, origin).expect("not stale yet");
        assert_eq!(left, Duration::new(50, 900_000_001));
    }

    #[test]
    fn stat_and_statx_return_the_same() {
        let file = tempfile::tempfile().expect("a new file");
        let stat = FileMeta::from(rustix::fs::fstat(&file).expect("an open file"));
        assert_eq!(stat, FileMeta::from_fd(&file).expect("an open file"));
    }

    #[test]
    fn touching_a_file_returns_the_time_of_its_clock() {
        let file = tempfile::tempfile().expect("a new file");
        let before = FileMeta::from_fd(&file).expect("an open file");
        let now = touch(&file).expect("our own file");
        let after = FileMeta::from_fd(&file).expect("an open file");
        assert!(now.nanos_since(before.changed) >= 0);
        assert_eq!((after.changed, after.id), (now, before.id));
    }
}
