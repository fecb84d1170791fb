//! Taking over a stale LOCK: one that is so old that its owner is presumed dead.
//!
//! LOCK excludes other processes by existing, whatever file it is. So a process that takes it over
//! must never free the name, except of a LOCK that has been stale all the time. But it cannot check
//! the age and take the name in one step. In between, the owner may remove LOCK and a newcomer
//! create it again, or another contender (a process that tries to take over the same LOCK) may come
//! first. What is taken then is the fresh lock of that process.
//!
//! *Race, with an exchange.* A contender opens LOCK, which keeps its inode number from being
//! reused, and checks its age. If LOCK is stale, the contender creates a file with a temporary name
//! and exchanges the two names in one step (`RENAME_EXCHANGE`). The file that it finds at the
//! temporary name afterwards shows whether it was first:
//!
//! * It is the very file whose age was checked: this contender has won.
//! * It is another file, of a newcomer or of another contender that came in between. This contender
//!   has not won, and no harm is done: the name LOCK has existed all the time, and its rightful
//!   holder will remove it by name, whatever file it is by then. The contender's file, which is LOCK
//!   now, is at least as fresh as the one that it displaced.
//! * LOCK does not exist (`ENOENT`): the owner has just removed it, and all processes compete with
//!   link(2), as usual.
//!
//! In the first two cases the contender removes the file that it got. The creator of a file that is
//! displaced may be between its link(2) and its next step. If link(2) has reported success, that
//! process has LOCK. If the reply got lost, which happens only over NFS, where there is no
//! exchange, it would count the links of its file, find one too few, and conclude that another
//! process has LOCK. Then no process has it, and it is taken over once it is stale in turn. The
//! same happens with the original, which counts links on every file system. Either way no process
//! holds LOCK by mistake.
//!
//! An owner that is alive beyond the maximum age has lost the lock, but may not know it, and may
//! remove LOCK by name when it belongs to another process. The only remedy is a maximum age that is
//! long enough. The original does the same when it takes over a lock: it removes LOCK by name some
//! time after it has checked its age. An owner that shows that it is alive, by touching its file
//! (`LinkGuard::confirm`), has not lost the lock: a contender has not won if the file that it got
//! was modified after its age was checked. The ctime could not show that, because the exchange
//! itself may change it.
//!
//! A model visits all interleavings: see `docs/design/protocols.md`.
//!
//! One case remains. On file systems where an exchange does not count as a change of the file
//! (xfs), a contender may be stopped between creating its file and exchanging it, for longer than
//! the maximum age. The file that it then puts in the place of a newcomer's is stale from the
//! start, until the contender touches it, which it does as soon as it continues.
//!
//! *Race, with a rename,* where there is no exchange (NFS). Contenders first lock the stale file
//! itself with flock(2), which is forwarded to the server there, so a file has one contender at a
//! time. It checks that LOCK is still that file and still stale, moves it to a temporary name, and
//! checks which file it got. Normally it is that file, and LOCK is free: the contender removes the
//! file and competes with link(2) like all others. If it is another file, the owner, alive beyond
//! the maximum age, has removed LOCK between two of the contender's system calls, and a newcomer has
//! created it again. The contender restores the name with link(2) at once, but in between, another
//! newcomer may create LOCK and hold it as well. That cannot be prevented on NFS.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use fdlock::lock::advisory::{self, LockApi};
use fdlock::lock::{AcquireError, Acquired, Mode};
use rustix::fs::{AtFlags, CWD, FileType, Mode as Permissions, OFlags, RenameFlags};
use rustix::io::Errno;

use super::metadata::{self, DualTimestamp, FileMeta};
use crate::new_file::TempFile;

/// The LOCK of another process, which may be stale.
#[derive(Debug)]
pub(super) struct StaleLock {
    /// Keeps the inode number from being reused.
    _file: OwnedFd,
    pub(super) meta: FileMeta,
}

impl StaleLock {
    /// Opens LOCK, unless it is a directory (`EISDIR`): that cannot be the lock of any process, and
    /// would never be removed. Returns `None` if LOCK does not exist any more.
    pub(super) fn open(lock: &OsStr) -> Result<Option<Self>, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::open(lock, flags, Permissions::empty()) {
            Err(Errno::NOENT | Errno::STALE) => return Ok(None),
            other => other?,
        };
        let meta = match FileMeta::from_fd(&file) {
            Err(Errno::STALE) => return Ok(None),
            other => other?,
        };
        if meta.file_type == FileType::Directory {
            return Err(Errno::ISDIR);
        }
        Ok(Some(Self { _file: file, meta }))
    }

    /// Returns whether the file is this one, and has not been touched since.
    fn is_untouched(&self, file: FileMeta) -> bool {
        (file.id, file.modified) == (self.meta.id, self.meta.modified)
    }
}

/// A method of taking over a LOCK that was found to be older than the maximum age.
///
/// It fails with the errors of renameat2(2), such as `EPERM` for the file of another user in a
/// sticky directory.
pub(super) type TakeoverFn = fn(&OsStr, &StaleLock, Duration) -> Result<Takeover, Errno>;

/// The result of a takeover.
#[derive(Debug)]
pub(super) enum Takeover {
    /// LOCK is ours: it is this file, and was not LOCK yet at this time.
    Won(OwnedFd, DualTimestamp),
    /// LOCK does not exist any more; the process that creates it first has it.
    Cleared,
    /// Another process was faster: LOCK is another lock now.
    Lost,
    /// Another process is taking over LOCK right now.
    Busy,
}

/// Takes over LOCK with an exchange or, where there is no exchange, with a rename.
pub(super) fn by_any_method(
    lock: &OsStr,
    stale: &StaleLock,
    max_age: Duration,
) -> Result<Takeover, Errno> {
    match by_exchange(lock, stale, max_age) {
        // `EPERM` may also mean that the directory is sticky; then the rename reports it again.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
            by_rename(lock, stale, max_age)
        }
        other => other,
    }
}

pub(super) fn by_exchange(lock: &OsStr, stale: &StaleLock, _: Duration) -> Result<Takeover, Errno> {
    let file = TempFile::named_in_dir_of(lock)?;
    let created = DualTimestamp::take(|| Ok::<_, Errno>(FileMeta::from_fd(&file)?.changed))?;
    let temp_path = file.temp_path().expect("a named file");
    match rustix::fs::renameat_with(CWD, temp_path, CWD, lock, RenameFlags::EXCHANGE) {
        Err(Errno::NOENT) => return Ok(Takeover::Cleared),
        other => other?,
    }
    let displaced = FileMeta::from_path_nofollow(temp_path)?;
    metadata::touch(&file)?;
    // Dropping the temporary name removes the displaced file.
    Ok(if stale.is_untouched(displaced) {
        Takeover::Won(file.into_file(), created)
    } else {
        Takeover::Lost
    })
}

pub(super) fn by_rename(
    lock: &OsStr,
    stale: &StaleLock,
    max_age: Duration,
) -> Result<Takeover, Errno> {
    by_rename_with(lock, stale, max_age, |temp_path| {
        rustix::fs::rename(lock, temp_path)
    })
}

fn by_rename_with(
    lock: &OsStr,
    stale: &StaleLock,
    max_age: Duration,
    rename: impl FnOnce(&OsStr) -> Result<(), Errno>,
) -> Result<Takeover, Errno> {
    let flocked = match open_for_flock(lock) {
        Err(Errno::NOENT | Errno::STALE) => return Ok(Takeover::Cleared),
        other => other?,
    };
    match advisory::try_acquire(flocked.as_fd(), LockApi::Flock, Mode::Exclusive) {
        Ok(Acquired::Held(())) => {}
        Ok(Acquired::NotHeld(_)) => return Ok(Takeover::Busy),
        Err(AcquireError::Lock(error)) => {
            // Over NFS, the lock of a file that was removed cannot be acquired (`EBADF`).
            return match FileMeta::from_path_nofollow(lock) {
                Ok(meta) if stale.is_untouched(meta) => {
                    Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
                }
                _ => Ok(Takeover::Lost),
            };
        }
        // Not from a call that does not wait.
        Err(_) => return Err(Errno::IO),
    }
    let file = TempFile::named_in_dir_of(lock)?;
    let temp_path = file.temp_path().expect("a named file");
    // LOCK may have been replaced before it was opened again.
    let now = metadata::touch(&file)?;
    let is_stale = |meta: FileMeta| {
        let is_unchanged = meta.changed == stale.meta.changed;
        stale.is_untouched(meta)
            && (is_unchanged || now.until_stale(max_age, meta.changed).is_none())
    };
    match FileMeta::from_path_nofollow(lock) {
        Ok(meta) if is_stale(meta) && FileMeta::from_fd(&flocked)?.id == meta.id => {}
        Err(errno) if errno != Errno::NOENT => return Err(errno),
        _ => return Ok(Takeover::Lost),
    }
    let own_id = FileMeta::from_fd(&file)?.id;
    let renamed = rename(temp_path);
    // The file at the temporary name shows what was done, even if the reply got lost.
    let moved = FileMeta::from_path_nofollow(temp_path)?;
    if stale.is_untouched(moved) {
        Ok(Takeover::Cleared)
    } else if moved.id == own_id {
        match renamed {
            Err(errno) if errno != Errno::NOENT => Err(errno),
            _ => Ok(Takeover::Cleared),
        }
    } else {
        // Gives LOCK back to its holder. If the name is taken by now, nothing more can be done.
        let _ = rustix::fs::linkat(CWD, temp_path, CWD, lock, AtFlags::empty());
        Ok(Takeover::Lost)
    }
}

/// Opens LOCK for writing if possible, because NFS requires that for an exclusive flock(2) lock.
fn open_for_flock(lock: &OsStr) -> Result<OwnedFd, Errno> {
    let open = |flags| {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        rustix::fs::open(lock, flags, Permissions::empty())
    };
    match open(OFlags::RDWR) {
        Err(Errno::ACCESS | Errno::ROFS) => open(OFlags::RDONLY),
        other => other,
    }
}

#[cfg(test)]
mod tests;
