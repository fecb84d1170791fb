//! The guard of a LOCK that is held.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;

use super::metadata::{self, DualTimestamp, FileMeta};
use crate::error::{Error, io_error};

/// A LOCK that is held. Dropping the guard removes LOCK, by name.
///
/// *Why by name,* although that might remove the LOCK of another process? The name is ours: we have
/// created it, and only its holder and a process that takes it over remove it. The exchange of a
/// failed takeover may have put another file at the name, which does not make LOCK another
/// process's. Only a successful takeover does, and only once LOCK is stale; so that is checked
/// first.
#[derive(Debug)]
pub struct LinkGuard<'a> {
    lock: &'a OsStr,
    /// The file that became LOCK; `None` once LOCK is not ours to remove any more.
    file: Option<OwnedFd>,
    /// A time at which LOCK cannot have been stale.
    timestamp: DualTimestamp,
    max_age: Duration,
}

/// Whether LOCK is still ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ownership {
    /// It is ours, and as fresh as when it was acquired.
    Held,
    /// It is not ours, or may not be: it was stale, or has been removed.
    Lost,
}

impl<'a> LinkGuard<'a> {
    pub(super) fn new(
        lock: &'a OsStr,
        file: OwnedFd,
        timestamp: DualTimestamp,
        max_age: Duration,
    ) -> Self {
        Self {
            lock,
            file: Some(file),
            timestamp,
            max_age,
        }
    }

    /// Checks that LOCK is still ours, and makes it fresh again.
    ///
    /// *Race* with a takeover, if this process has been stopped for longer than the maximum age.
    /// The other process checks the age, takes the name, and then checks whether the file was
    /// touched in the meantime. We touch the file, and then check the name. If the name is taken
    /// before we check it, we see another file there; since LOCK was stale before we touched it, it
    /// counts as lost. If the name is taken after we have checked it, the other process sees that
    /// the file was touched, and has not won. It is possible that both believe that they have lost;
    /// then LOCK belongs to no process until it is stale again. It is not possible that both
    /// believe that they have won.
    ///
    /// If there is another file at the name although LOCK was *not* stale, it was left by a process
    /// that tried to take over another lock and came too late (see `takeover`). LOCK is ours, and
    /// consists of that file, which is then touched by name, if that is permitted.
    ///
    /// Over NFS, `ESTALE` means that our file has been removed: LOCK is lost.
    pub(super) fn confirm(&mut self) -> Result<Ownership, Error> {
        match self.check_ownership() {
            Err(Errno::STALE) => Ok(Ownership::Lost),
            other => other.map_err(io_error("verify ownership of", self.lock)),
        }
    }

    fn check_ownership(&mut self) -> Result<Ownership, Errno> {
        let Some(file) = &self.file else {
            return Ok(Ownership::Lost);
        };
        let mut was_fresh = false;
        let now = DualTimestamp::take(|| {
            let now = metadata::touch(file)?;
            was_fresh = self.timestamp.is_fresh(now, self.max_age);
            Ok::<_, Errno>(now)
        })?;
        match FileMeta::from_path_nofollow(self.lock) {
            Ok(meta) if meta.id == FileMeta::from_fd(file)?.id => {
                self.timestamp = now;
                Ok(Ownership::Held)
            }
            Ok(_) if was_fresh => {
                if metadata::touch_path_nofollow(self.lock).is_ok() {
                    self.timestamp = now;
                }
                Ok(Ownership::Held)
            }
            Ok(_) | Err(Errno::NOENT) => Ok(Ownership::Lost),
            Err(errno) => Err(errno),
        }
    }

    /// Drops the guard without removing LOCK.
    pub fn disarm(mut self) {
        self.file = None;
    }

    /// Removes LOCK, right after it was [confirmed](Self::confirm). If it has been removed already,
    /// that is not an error.
    pub(super) fn release(self) -> Result<(), Error> {
        let lock = self.lock;
        self.disarm();
        remove_if_present(lock)
    }
}

/// unlink(2) – removes a file, unless that has been done already.
pub(super) fn remove_if_present(path: &OsStr) -> Result<(), Error> {
    match rustix::fs::unlink(path) {
        Err(Errno::NOENT) => Ok(()),
        removed => removed.map_err(io_error("remove", path)),
    }
}

impl Drop for LinkGuard<'_> {
    fn drop(&mut self) {
        if self.file.is_some() && matches!(self.check_ownership(), Ok(Ownership::Held)) {
            // An error or a timeout is being reported already, and is more important.
            let _ = rustix::fs::unlink(self.lock);
        }
    }
}
