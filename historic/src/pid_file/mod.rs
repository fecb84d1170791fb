//! Locks that are files with a PID, as created by Perl's LockFile::Simple: the lock is held while
//! the file exists.
//!
//! A process that dies leaves its file behind, and the next process has to find out whether the
//! lock is stale. By then the PID in the file may belong to another process, or mean nothing here.
//! Therefore our holders also hold a flock(2) lock on the file, from before the file has a name
//! until after it has lost it. The kernel releases that lock when the process exits, and shows it
//! in every PID namespace.
//!
//! *Race* between processes that find a stale file: two of them could see that the owner is dead,
//! one could remove the file and create its own, and the other could remove that one. Therefore
//! only a process that holds the flock(2) lock on the file at the path may remove it: either its
//! creator, or a process that has acquired the lock because the creator is dead, and has compared
//! the file with the path after that. link(2), the only way in which our files get their name,
//! replaces nothing.
//!
//! *Races with the original*, which does not use flock(2):
//!
//! * It removes a file by its path, a moment after it has read a dead process's PID from it. In
//!   that moment we may have replaced the file with ours.
//! * It opens the file that it believes it is creating with `O_TRUNC`, a moment after it has seen
//!   that the file does not exist. If it runs as root, that empties ours.
//!
//! In both cases our file is not as we wrote it by the time the original believes that it holds the
//! lock, so we check the file once more before we believe that we hold it. And while we break a
//! stale lock, the original may be doing the same: see `remove`.
//!
//! A model visits all interleavings: see `docs/design/protocols.md`. Two cases remain: an original
//! that pauses between two system calls for longer than we do between three, and an original that
//! believes another user's living process to be dead (`EPERM`).
//!
//! # References
//!
//! LockFile::Simple(3pm), flock(2), link(2).

mod inspect;
mod owner;
mod remove;

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use crate::error::{Error, create_error, io_error};
use crate::new_file::TempFile;
use fdlock::lock::advisory::{self, LockApi};
use fdlock::lock::at_path::{self, Symlink};
use fdlock::lock::file_id::FileId;
use fdlock::lock::{Acquired, Mode};
use fdlock::sys::deferred_signals::DeferredSignals;
use inspect::{ExistingLock, READ_ONLY, State};
use owner::ProcessIdentity;

pub use inspect::Contended;

/// A lock that is held. Dropping it removes the file.
#[derive(Debug)]
pub struct PidFile {
    path: OsString,
    file: OwnedFd,
    contents: Vec<u8>,
    /// Dropped last.
    deferred: DeferredSignals,
}

/// Creates the lock file at the path, unless it exists. The file of a dead process is removed, and
/// `on_break` is called with its PID.
///
/// Signals are deferred from before our file exists until the lock is dropped, so that only
/// `SIGKILL` can terminate this process before the file is removed.
///
/// # Errors
///
/// The file could not be created or examined, it is not a regular file, or flock(2) failed.
pub fn acquire(
    path: &OsStr,
    on_break: &mut dyn FnMut(Pid),
) -> Result<Acquired<PidFile, Contended>, Error> {
    let identity = ProcessIdentity::current();
    let mut existing = ExistingLock::new(path, &identity);
    loop {
        match existing.break_if_stale()? {
            State::Absent => {
                if let Some(lock) = PidFile::create(path, &identity)? {
                    return Ok(Acquired::Held(lock));
                }
            }
            State::Contended(reason) => return Ok(Acquired::NotHeld(reason)),
            State::Broken(pid) => on_break(pid),
            State::Changed => {}
        }
    }
}

impl PidFile {
    /// Returns the signals that are deferred until the lock is dropped.
    pub fn deferred_signals(&self) -> &DeferredSignals {
        &self.deferred
    }

    /// Removes the file.
    ///
    /// # Errors
    ///
    /// The file is ours and could not be removed. Once this process has exited, the lock is stale.
    pub fn release(&self) -> Result<(), Error> {
        self.remove()
            .map_err(io_error("remove lock file", &self.path))
    }

    /// Returns `None` if another process has the lock: the name is taken, or the file is not as we
    /// wrote it.
    fn create(path: &OsStr, identity: &ProcessIdentity) -> Result<Option<Self>, Error> {
        let deferred = DeferredSignals::terminating();
        let contents = identity.file_contents();
        let lock = create_locked(path, &contents)?.map(|file| Self {
            path: path.to_owned(),
            file,
            contents,
            deferred,
        });
        Ok(lock.filter(Self::is_intact))
    }

    /// Returns whether the path leads to our file and the file contains what we wrote.
    fn is_intact(&self) -> bool {
        let is_at_path = |opened| {
            let stat = at_path::stat(&self.path, Symlink::NoFollow, &self.file, opened);
            stat.is_ok_and(|stat| FileId::from_stat(&stat) == opened)
        };
        FileId::from_fd(&self.file).is_some_and(is_at_path)
            && owner::read(self.file.as_fd()).is_ok_and(|contents| contents == self.contents)
    }

    fn remove(&self) -> Result<(), Errno> {
        if self.is_intact() {
            rustix::fs::unlink(&self.path)
        } else {
            Ok(())
        }
    }
}

impl AsFd for PidFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // A caller that wants the error calls `release`, after which the file is not ours any more.
        let _ = self.remove();
    }
}

/// Creates a file with these contents and a flock(2) lock, and gives it the name. Returns `None` if
/// the name is taken.
fn create_locked(path: &OsStr, contents: &[u8]) -> Result<Option<OwnedFd>, Error> {
    let create_error = create_error(path);
    let temp = TempFile::new_in_dir_of(path, contents).map_err(&create_error)?;
    rustix::fs::fchmod(&temp, READ_ONLY).map_err(&create_error)?;
    // Always granted: no other process locks a file before it has its final name.
    advisory::try_acquire(temp.as_fd(), LockApi::Flock, Mode::Exclusive).map_err(|error| {
        let hint = advisory::hint(&error, temp.as_fd());
        error.for_target(path, hint)
    })?;
    // After a power failure the name may exist without the contents, and then no process could tell
    // any more whether the owner is dead. Where that cannot happen, this fails or costs nothing.
    let _ = rustix::fs::fdatasync(&temp);
    let has_name = temp.persist_noclobber(path).map_err(create_error)?;
    Ok(has_name.then(|| temp.into_file()))
}
