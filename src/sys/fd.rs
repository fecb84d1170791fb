//! Descriptors by number, and keeping descriptors 0 to 2 free.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{Errno, FdFlags};
use rustix::process::Pid;

/// The commands of fcntl(2) for the signal of asynchronous I/O, which libc does not define.
const F_SETSIG: libc::c_int = 10;
const F_GETSIG: libc::c_int = 11;

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

/// Closes this descriptor and all higher ones, which must not be used any more: in a child that
/// is about to execute a program, or is to keep nothing of its parent's open.
///
/// # References
///
/// close_range(2), which exists since Linux 5.9; before that, each number is closed by itself.
pub fn close_from(first: RawFd) {
    // SAFETY: takes numbers. The caller no longer uses these descriptors.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0_u32) };
    if result == -1 {
        // SAFETY: takes a number.
        let limit = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
        (first..limit.try_into().unwrap_or(RawFd::MAX)).for_each(close);
    }
}

/// Marks an open file description with a number from 1 to 31. All its duplicates have the mark,
/// also in other processes; other open file descriptions, even of the same file, have none.
///
/// The mark is the signal that the kernel would send for asynchronous I/O (`F_SETSIG`), which is
/// not enabled. kcmp(2), which compares open file descriptions, needs a second one to compare with,
/// and containers may forbid it; `F_DUPFD_QUERY` exists since Linux 6.10.
///
/// # Errors
///
/// `ENOMEM`. `EBADF`: opened with `O_PATH`.
pub fn set_mark(fd: impl AsFd, mark: i32) -> io::Result<()> {
    // SAFETY: takes a number.
    super::check(unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), F_SETSIG, mark) })?;
    Ok(())
}

/// Returns the mark of an open file description, 0 if it has none, or `None` if the descriptor is
/// not open.
pub fn mark(fd: BorrowedFd<'_>) -> Option<i32> {
    // SAFETY: takes no argument.
    super::check(unsafe { libc::fcntl(fd.as_raw_fd(), F_GETSIG) }).ok()
}

/// Stores which process an open file description belongs to (`F_SETOWN`): the one that would get the
/// signals of asynchronous I/O, which is not enabled.
pub fn set_owner(fd: impl AsFd, owner: Pid) {
    let owner = owner.as_raw_nonzero().get();
    // SAFETY: takes a number.
    unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_SETOWN, owner) };
}

/// Returns the process that an open file description belongs to, if that has been stored.
pub fn owner(fd: BorrowedFd<'_>) -> Option<Pid> {
    // SAFETY: takes no argument.
    let owner = super::check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETOWN) }).ok()?;
    Pid::from_raw(owner.max(0))
}

/// Duplicates a descriptor, with these flags, at the lowest free number from `min` on. With the
/// system call of rustix, an inheritable one would take two.
///
/// # Errors
///
/// `EMFILE`, `EINVAL`: no descriptor from `min` on is free or within the limit.
pub fn duplicate(fd: impl AsFd, min: RawFd, flags: FdFlags) -> io::Result<OwnedFd> {
    let command = if flags.contains(FdFlags::CLOEXEC) {
        libc::F_DUPFD_CLOEXEC
    } else {
        libc::F_DUPFD
    };
    // SAFETY: takes a number.
    let number = super::check(unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), command, min) })?;
    // SAFETY: a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
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
