//! Descriptors by number, and keeping descriptors 0 to 2 free.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::{Errno, FdFlags};

/// Returns the inherited descriptor of this number, or `None` if the number is negative.
///
/// Only the kernel knows whether the descriptor is open. If it is not, system calls fail with
/// `EBADF`, which is the error to report.
pub fn inherited(number: RawFd) -> Option<BorrowedFd<'static>> {
    // SAFETY: not −1. This process closes no descriptor that it did not open, so an open one stays
    // open; if it is not open, system calls fail with EBADF and touch nothing.
    (number >= 0).then(|| unsafe { BorrowedFd::borrow_raw(number) })
}

/// Closes the descriptor of this number, which must not belong to an [`OwnedFd`].
pub fn close(number: RawFd) {
    // SAFETY: takes a number. Borrows from `inherited` are no longer in use: their users have
    // returned.
    unsafe { libc::close(number) };
}

/// Moves a descriptor above 2. A caller that has closed 0, 1 or 2 expects the command to find them
/// closed, not open on a lock.
///
/// # Errors
///
/// `EMFILE`: no descriptor is left.
pub fn dup_above_stderr(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    // EINVAL means that the minimum is above the limit of descriptors.
    let map_limit = |errno| {
        if errno == Errno::INVAL {
            Errno::MFILE
        } else {
            errno
        }
    };
    let above = rustix::io::fcntl_dupfd_cloexec(&fd, 3).map_err(map_limit)?;
    rustix::io::fcntl_setfd(&above, FdFlags::empty())?;
    Ok(above)
}
