//! Removing a lock file after use.

use std::ffi::OsStr;
use std::os::fd::AsFd;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::advisory::{self, LockApi};
use super::fair::{search, slots};
use super::file::{OpenError, access_for, open_as};
use super::file_id::FileId;
use super::{Acquired, Error, Mode};

/// Removes a lock file, unless another process holds or waits for the lock: that process removes
/// it.
///
/// The caller must have released the lock. The command may have left a process behind that
/// inherited the descriptor, and with it the lock; if the exclusive lock can be acquired again
/// without waiting, no process holds it any more.
///
/// *Race:* a process that opened the file before it was removed may lock it afterwards, while the
/// next process creates a new one: two holders. The first compares its file with the path once it
/// has the lock ([`acquire()`](super::file::acquire)), finds another file or none, and starts
/// again. And no process removes the file of another: only a process that holds the exclusive lock
/// on the file at the path removes it, while it holds that lock, so the file that it checked is the
/// one that it removes.
///
/// Only an empty regular file with a single name can be nothing but a lock file. Any other file is
/// left alone, because the user may have named the wrong one: in `flock --unlink ./sync --all`, the
/// lock file was forgotten. (A program that ignores the lock may write to the file, or link it,
/// between the check and unlink(2). unlink(2) cannot be made conditional.)
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
    let failed = |errno: Errno| Error::Remove {
        path: path.to_owned(),
        error: errno.into(),
    };
    let access = access_for(api, Mode::Exclusive) | rustix::fs::OFlags::NOFOLLOW;
    let (fd, opened) = match open_as(path, access) {
        Ok(opened) => opened,
        Err(OpenError::System(Errno::NOENT | Errno::NOTDIR)) => return Ok(()),
        Err(OpenError::System(Errno::LOOP)) => return Err(not_removed("it is a symbolic link")),
        Err(OpenError::System(errno)) => return Err(failed(errno)),
        Err(OpenError::Unsuitable(_)) => return Err(not_removed(NOT_REGULAR)),
    };
    let fd = fd.as_fd();
    let is_free = advisory::try_acquire(fd, api, Mode::Exclusive)
        .is_ok_and(|outcome| outcome == Acquired::Held(()));
    // The lock does not exclude all waiters of the queue, nor the holders of slots.
    let is_in_use = || search::has_waiters(fd) || slots::any_slot_held(fd);
    if !is_free || is_in_use() {
        return Ok(());
    }
    // The state of the file now that no other process holds the lock.
    match rustix::fs::lstat(path) {
        Ok(stat) if FileId::from_stat(&stat) == FileId::from_stat(&opened) => {
            if let Some(reason) = reason_to_keep(&stat) {
                return Err(not_removed(reason));
            }
        }
        // Another process has replaced or removed it.
        _ => return Ok(()),
    }
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(failed(errno)),
    }
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
