//! Removing a lock file after use.

use std::ffi::OsStr;
use std::os::fd::AsFd;

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use super::advisory::{self, LockApi};
use super::at_path::{self, Symlink};
use super::fair::{search, slots};
use super::file_id::FileId;
use super::open::{OpenError, access_for, is_bad_descriptor, open_as};
use super::{AcquireError, Acquired, Error, Mode};

/// Removes a lock file, unless another process holds or waits for the lock: that process removes
/// it.
///
/// The caller must have released the lock. The command may have left a process behind that
/// inherited the descriptor, and with it the lock; if the exclusive lock can be acquired again
/// without waiting, no process holds it any more.
///
/// *Race:* a process that opened the file before it was removed may lock it afterwards, while the
/// next process creates a new one. It finds that out when it compares its file with the path
/// (`file::acquire`). And no process removes the file of another, because a file is removed only by
/// a process that holds the exclusive lock on it and has compared it with the path. A model visits
/// all cases: see `docs/design/protocols.md`.
///
/// Only an empty regular file with a single name can be nothing but a lock file. Any other file is
/// left alone, because the user may have named the wrong one: in `flock --unlink ./sync --all`, the
/// lock file was forgotten. (A program that ignores the lock may write to the file, link it or
/// replace it between the check and unlink(2). unlink(2) cannot be made conditional.)
///
/// # Errors
///
/// The file cannot be removed, or is not one that may be removed.
///
/// # References
///
/// unlink(2).
pub fn remove(path: &OsStr, api: LockApi) -> Result<(), Error> {
    let not_removed = |reason| Error::NotRemoved {
        path: path.to_owned(),
        reason,
    };
    let remove_error = |error| Error::Remove {
        path: path.to_owned(),
        error,
    };
    let failed = |errno: Errno| remove_error(errno.into());
    let mut access = access_for(api, Mode::Exclusive);
    let (fd, opened) = loop {
        let (fd, opened) = match open_as(path, access | OFlags::NOFOLLOW) {
            Ok((fd, stat)) => (fd, FileId::from_stat(&stat)),
            Err(OpenError::System(Errno::LOOP)) => {
                return Err(not_removed("it is a symbolic link"));
            }
            Err(OpenError::System(errno)) if is_gone(errno) => return Ok(()),
            Err(OpenError::System(errno)) => return Err(failed(errno)),
            Err(OpenError::Unsuitable(_)) => return Err(not_removed(NOT_REGULAR)),
        };
        match advisory::try_acquire(fd.as_fd(), api, Mode::Exclusive) {
            Ok(Acquired::Held(())) => break (fd, opened),
            Ok(Acquired::NotHeld(_)) => return Ok(()),
            Err(AcquireError::Lock(error)) => {
                // As for the lock that was held before (NFS).
                if access == OFlags::RDONLY && is_bad_descriptor(&error) {
                    access = OFlags::RDWR;
                    continue;
                }
                let is_gone = Errno::from_io_error(&error).is_some_and(is_gone);
                let is_replaced = || {
                    let stat = at_path::stat(path, Symlink::NoFollow, &fd, opened);
                    !stat.is_ok_and(|stat| FileId::from_stat(&stat) == opened)
                };
                if is_gone || is_bad_descriptor(&error) && is_replaced() {
                    return Ok(());
                }
                return Err(remove_error(error));
            }
            // Not from a call that does not wait.
            Err(_) => return Ok(()),
        }
    };
    // The lock does not exclude all waiters of the queue, nor the holders of slots.
    let fd = fd.as_fd();
    if search::has_waiters(fd) || slots::any_slot_held(fd) {
        return Ok(());
    }
    // The state of the file now that no other process holds the lock.
    match at_path::stat(path, Symlink::NoFollow, fd, opened) {
        Ok(stat) if FileId::from_stat(&stat) == opened => {
            if let Some(reason) = reason_to_keep(&stat) {
                return Err(not_removed(reason));
            }
        }
        // Another process has replaced or removed it.
        _ => return Ok(()),
    }
    match rustix::fs::unlink(path) {
        Err(errno) if !is_gone(errno) => Err(failed(errno)),
        _ => Ok(()),
    }
}

/// Removes a file that was created for a lock which it cannot have. It must be closed.
///
/// *Race:* another process may use the file by now. It is removed as if that process had been called
/// with `--unlink`: see [`remove`].
#[cold]
pub(super) fn remove_new(path: &OsStr) {
    // The reason why the lock failed is being reported, and is more important.
    let _ = remove(path, LockApi::Flock);
}

/// Whether an error means that another process has removed or replaced the file: there is nothing
/// left to remove.
fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::STALE)
}

const NOT_REGULAR: &str = "it is not a regular file";

/// Returns why the file may be more than a lock file.
fn reason_to_keep(stat: &Stat) -> Option<&'static str> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Some("it is a directory"),
        FileType::RegularFile if stat.st_size > 0 => Some("it is not empty"),
        FileType::RegularFile if stat.st_nlink > 1 => Some("it has other names (hard links)"),
        FileType::RegularFile => None,
        _ => Some(NOT_REGULAR),
    }
}
