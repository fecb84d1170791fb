//! Descriptors that somebody else opened.

use std::os::fd::{BorrowedFd, RawFd};

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
