//! Open file description locks: fcntl(2) locks on byte ranges that belong to the open file
//! description, not to the process.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// The operation on a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Acquire a read lock. The descriptor must be open for reading.
    Read,
    /// Acquire a write lock. The descriptor must be open for writing.
    Write,
    /// Release the locks of this open file description on the range.
    Unlock,
}

/// Whether a call waits for the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    /// The call fails if the lock is not free.
    No,
    /// The call waits until the lock is free.
    Yes,
}

/// Locks or unlocks `length` bytes from `start`, by `F_OFD_SETLK` or `F_OFD_SETLKW`. Length 0 means
/// to the end of the file and beyond.
///
/// rustix has only process-associated locks, which are released when the process closes *any*
/// descriptor of the file.
///
/// # Errors
///
/// `EAGAIN` on a conflict in a call that does not block, `EINTR` if a signal handler ran, `EBADF` if
/// the descriptor is not open, or not open for the access that the lock requires, `ENOLCK`, `EINVAL`.
///
/// # References
///
/// fcntl_locking(2), "Open file description locks".
pub fn set(
    fd: BorrowedFd<'_>,
    operation: Operation,
    start: i64,
    length: i64,
    blocking: Blocking,
) -> Result<(), Errno> {
    let mut range = range(operation, start, length);
    let command = if blocking == Blocking::Yes {
        libc::F_OFD_SETLKW
    } else {
        libc::F_OFD_SETLK
    };
    match blocking {
        Blocking::No => super::repeat_if_interrupted(|| call(fd, command, &mut range)),
        Blocking::Yes => call(fd, command, &mut range),
    }
}

/// Returns the first byte and the length (0: to the end) of a lock that another owner holds on any
/// of the bytes from `start` to `last`, or `None` if there is no such lock. Locks of fcntl(2) of
/// either kind count.
///
/// Changes nothing, and requires no permission except that the file is open (`F_OFD_GETLK`).
///
/// # Errors
///
/// `EBADF`, `EINVAL`. Network file systems have others.
///
/// # References
///
/// fcntl_locking(2), "Open file description locks".
pub fn conflict(fd: BorrowedFd<'_>, start: i64, last: i64) -> Result<Option<(i64, i64)>, Errno> {
    let length = if last == i64::MAX {
        0
    } else {
        last - start + 1
    };
    let mut range = range(Operation::Write, start, length);
    super::repeat_if_interrupted(|| call(fd, libc::F_OFD_GETLK, &mut range))?;
    let is_free = range.l_type == libc::F_UNLCK as libc::c_short;
    Ok((!is_free).then_some((range.l_start, range.l_len)))
}

/// Returns whether any lock of fcntl(2) covers a byte, also one that belongs to this open file
/// description (`F_GETLK`). A lock that belongs to this process does not count.
///
/// # Errors
///
/// As for [`conflict`].
///
/// # References
///
/// fcntl_locking(2), "Advisory record locking".
pub fn is_covered(fd: BorrowedFd<'_>, offset: i64) -> Result<bool, Errno> {
    // The number of the command that takes a `flock64`: `F_GETLK64` in the kernel's 32-bit ABI.
    const GETLK: libc::c_int = if cfg!(target_pointer_width = "64") {
        libc::F_GETLK
    } else {
        12
    };
    let mut range = range(Operation::Write, offset, 1);
    super::repeat_if_interrupted(|| call(fd, GETLK, &mut range))?;
    Ok(range.l_type != libc::F_UNLCK as libc::c_short)
}

/// The system call, because fcntl(3) takes offsets of 32 bits where `long` has 32 bits and the C
/// library is glibc.
fn call(fd: BorrowedFd<'_>, command: libc::c_int, range: &mut libc::flock64) -> Result<(), Errno> {
    #[cfg(target_pointer_width = "64")]
    const FCNTL: libc::c_long = libc::SYS_fcntl;
    #[cfg(not(target_pointer_width = "64"))]
    const FCNTL: libc::c_long = libc::SYS_fcntl64;
    // SAFETY: the commands take a pointer to a `flock64`, which outlives the call.
    if unsafe { libc::syscall(FCNTL, fd.as_raw_fd(), command, &raw mut *range) } == -1 {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::INVAL));
    }
    Ok(())
}

fn range(operation: Operation, start: i64, length: i64) -> libc::flock64 {
    let lock_type = match operation {
        Operation::Read => libc::F_RDLCK,
        Operation::Write => libc::F_WRLCK,
        Operation::Unlock => libc::F_UNLCK,
    };
    // SAFETY: all zeroes is a valid `flock64`; `l_pid` must be zero for these commands.
    let mut range: libc::flock64 = unsafe { std::mem::zeroed() };
    range.l_type = lock_type as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = start;
    range.l_len = length;
    range
}
