//! Attempts to create LOCK.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::guard::LinkGuard;
use super::metadata::{self, DualTimestamp, FileMeta};
use super::takeover::{StaleLock, Takeover, TakeoverFn};
use crate::error::{Error, create_error, io_error, open_error};
use crate::new_file::TempFile;
use fdlock::sys::filesystem::Locality;

/// When to try again if another process is taking over the same stale LOCK.
const TAKEOVER_RETRY: Duration = Duration::from_millis(20);

/// A file that is to become LOCK.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    lock: &'a OsStr,
    max_age: Duration,
    takeover: TakeoverFn,
    file: TempFile,
    /// A time at which the file was not LOCK yet.
    timestamp: DualTimestamp,
    /// The LOCK of another process, if its age is known.
    known: Option<KnownLock>,
}

#[derive(Debug)]
struct KnownLock {
    meta: FileMeta,
    /// When it was first seen in this state.
    first_seen: Instant,
    stale_at: StaleAt,
}

/// When a LOCK will be stale; `None` if that is beyond the end of the clock.
type StaleAt = Option<Instant>;

/// The result of an attempt.
#[derive(Debug)]
pub(super) enum Attempt<'a> {
    /// LOCK is ours: the candidate is LOCK now.
    Created,
    /// LOCK is ours, taken over from a process that is presumed dead.
    TakenOver(LinkGuard<'a>),
    /// LOCK belongs to another process, or did a moment ago: try again at once.
    Vanished,
    /// LOCK belongs to another process.
    Held { stale_at: StaleAt },
}

/// Whether a LOCK is older than the maximum age, or when it will be.
#[derive(Debug)]
enum Age {
    Stale,
    StaleAt(StaleAt),
}

impl<'a> Candidate<'a> {
    /// Creates the file, in the directory of LOCK.
    pub(super) fn new(
        lock: &'a OsStr,
        max_age: Duration,
        takeover: TakeoverFn,
    ) -> Result<Self, Error> {
        let file = TempFile::new_in_dir_of(lock, b"").map_err(create_error(lock))?;
        let timestamp = DualTimestamp::take(|| Ok(FileMeta::from_fd(&file)?.changed));
        Ok(Self {
            lock,
            max_age,
            takeover,
            file,
            timestamp: timestamp.map_err(create_error(lock))?,
            known: None,
        })
    }

    pub(super) fn locality(&self) -> Locality {
        Locality::from_fd(self.file.as_fd())
    }

    /// Returns the guard of a LOCK that was [created](Attempt::Created).
    pub(super) fn into_guard(self) -> LinkGuard<'a> {
        LinkGuard::new(
            self.lock,
            self.file.into_file(),
            self.timestamp,
            self.max_age,
        )
    }

    /// Creates LOCK with link(2). If it exists, checks its age, and takes it over if it is stale.
    pub(super) fn attempt(&mut self) -> Result<Attempt<'a>, Error> {
        if self.create()? {
            return Ok(Attempt::Created);
        }
        let Some(existing) = StaleLock::open(self.lock).map_err(open_error(self.lock))? else {
            return Ok(Attempt::Vanished);
        };
        if let Age::StaleAt(stale_at) = self.age_of(&existing.meta)? {
            return Ok(Attempt::Held { stale_at });
        }
        let takeover = match (self.takeover)(self.lock, &existing, self.max_age) {
            // Over NFS: another process removed a file between two of our calls. If the error has
            // another cause, link(2) reports it too.
            Err(Errno::STALE) => return Ok(Attempt::Vanished),
            other => other.map_err(io_error("take over stale lock", self.lock))?,
        };
        Ok(match takeover {
            Takeover::Won(file, timestamp) => {
                let guard = LinkGuard::new(self.lock, file, timestamp, self.max_age);
                Attempt::TakenOver(guard)
            }
            Takeover::Cleared if self.create()? => Attempt::Created,
            Takeover::Cleared | Takeover::Lost => Attempt::Vanished,
            Takeover::Busy => Attempt::Held {
                stale_at: Some(Instant::now() + TAKEOVER_RETRY),
            },
        })
    }

    fn create(&self) -> Result<bool, Error> {
        let created = self.file.persist_noclobber(self.lock);
        created.map_err(create_error(self.lock))
    }

    /// Determines whether the LOCK of another process is stale, or when it will be.
    ///
    /// The clock of the file system decides; it is read by touching our own file. Until LOCK should
    /// be stale, the clock of this machine is used, and then the file system's is read again. That
    /// one may have been set back, so that LOCK comes from the future. But a LOCK that has not
    /// changed for longer than the maximum age while we saw it is stale, whatever the clock says.
    fn age_of(&mut self, meta: &FileMeta) -> Result<Age, Error> {
        let is_same =
            |known: &KnownLock| (known.meta.id, known.meta.changed) == (meta.id, meta.changed);
        let mut first_seen = Instant::now();
        if let Some(known) = self.known.take().filter(is_same) {
            first_seen = known.first_seen;
            if known.stale_at.is_none_or(|time| Instant::now() < time) {
                return Ok(Age::StaleAt(self.known.insert(known).stale_at));
            }
        }
        let timestamp = DualTimestamp::take(|| metadata::touch(&self.file));
        self.timestamp = timestamp.map_err(create_error(self.lock))?;
        let left_by_file_time = self.timestamp.until_stale(self.max_age, meta.changed);
        let left_by_observation = self.max_age.checked_sub(first_seen.elapsed());
        let Some((by_file_time, by_observation)) = left_by_file_time.zip(left_by_observation)
        else {
            return Ok(Age::Stale);
        };
        let stale_at = Instant::now().checked_add(by_file_time.min(by_observation));
        self.known = Some(KnownLock {
            meta: *meta,
            first_seen,
            stale_at,
        });
        Ok(Age::StaleAt(stale_at))
    }
}

#[cfg(test)]
mod tests {
    use super::super::metadata::FileTime;
    use super::super::takeover;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn with_candidate(max_age: Duration, test: impl Fn(Candidate<'_>)) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let lock = dir.path().join("lock");
        let candidate = Candidate::new(lock.as_os_str(), max_age, takeover::by_any_method);
        test(candidate.expect("a new file"));
    }

    /// Returns the metadata of a LOCK that was created before the clock was set back.
    fn meta_from_the_future(candidate: &Candidate<'_>) -> FileMeta {
        let meta = FileMeta::from_fd(&candidate.file).expect("an open file");
        FileMeta {
            id: (0, 0, 0),
            changed: FileTime::FAR_FUTURE,
            ..meta
        }
    }

    fn stale_at(candidate: &mut Candidate<'_>, meta: &FileMeta) -> Instant {
        match candidate.age_of(meta).expect("no error") {
            Age::StaleAt(Some(stale_at)) => stale_at,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_lock_from_the_future_becomes_stale() {
        with_candidate(HOUR, |mut candidate| {
            let meta = meta_from_the_future(&candidate);
            for _ in 0..2 {
                assert!(stale_at(&mut candidate, &meta) <= Instant::now() + HOUR);
            }
        });
        with_candidate(Duration::ZERO, |mut candidate| {
            let meta = meta_from_the_future(&candidate);
            let mut age = || candidate.age_of(&meta).expect("no error");
            assert!((0..1000).any(|_| matches!(age(), Age::Stale)));
        });
    }

    #[test]
    fn a_lock_that_has_changed_is_a_new_one() {
        with_candidate(HOUR, |mut candidate| {
            let meta = meta_from_the_future(&candidate);
            let another = FileMeta {
                id: (0, 0, 1),
                ..meta
            };
            let before = stale_at(&mut candidate, &meta);
            assert_eq!(stale_at(&mut candidate, &meta), before);
            assert!(stale_at(&mut candidate, &another) > before);
        });
    }
}
