//! Descriptors that somebody else opened.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::{Errno, FdFlags};

/// The caller's descriptor of this number, open or not.
///
/// Whether it is open only the kernel knows: a call on one that is not fails with `EBADF`, which is what the user is
/// to be told. `None` for a negative number, which no descriptor has.
pub fn inherited(number: RawFd) -> Option<BorrowedFd<'static>> {
    // SAFETY: not −1. This process closes no descriptor that it did not open, so what is open stays so; on one that
    // never was, system calls fail with EBADF and touch nothing.
    (number >= 0).then(|| unsafe { BorrowedFd::borrow_raw(number) })
}

/// close(2) – closes the descriptor of this number, which nobody here has as an [`OwnedFd`](std::os::fd::OwnedFd).
pub fn close(number: RawFd) {
    // SAFETY: takes a number. What is borrowed from `inherited` is used no more: its users have returned.
    unsafe { libc::close(number) };
}

/// A caller who closed 0, 1 or 2 wants the command to find them closed, not open on a lock.
///
/// # Errors
///
/// `EMFILE`: no descriptor is left.
pub fn dup_above_stderr(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    // A minimum above the limit of descriptors is called invalid; it is the limit that is the matter.
    let full = |error| {
        if error == Errno::INVAL {
            Errno::MFILE
        } else {
            error
        }
    };
    let above = rustix::io::fcntl_dupfd_cloexec(&fd, 3).map_err(full)?;
    rustix::io::fcntl_setfd(&above, FdFlags::empty())?;
    Ok(above)
}
