//! Open file description locks: byte ranges by fcntl(2) that belong to the open file, not to the process.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What to do with the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A read lock: needs a descriptor opened for reading.
    Read,
    /// A write lock: needs a descriptor opened for writing.
    Write,
    /// Drop what this open file description holds of the range.
    Unlock,
}

/// Whether a call waits for the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    /// It fails if the lock is not free.
    No,
    /// It waits until the lock is free.
    Yes,
}

/// fcntl(`F_OFD_SETLK`), or `F_OFD_SETLKW` when it may block – locks `length` bytes from `start` (0: to the end of the
/// file and beyond).
///
/// rustix has process-associated locks only, which vanish when the process closes *any* descriptor of the file.
///
/// # Errors
///
/// `EAGAIN` or `EACCES` on a conflict when it may not block, `EINTR` when a signal handler ran, `EBADF` for a
/// descriptor that is not open or not open for what the lock needs, `ENOLCK`, `EINVAL`.
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
) -> io::Result<()> {
    let mut range = range(operation, start, length);
    let command = if blocking == Blocking::Yes {
        libc::F_OFD_SETLKW
    } else {
        libc::F_OFD_SETLK
    };
    // SAFETY: both commands take a pointer to a `flock`, which outlives the call.
    super::check(unsafe { libc::fcntl(fd.as_raw_fd(), command, &raw mut range) })?;
    Ok(())
}

/// fcntl(`F_OFD_GETLK`) – the first byte and the length (0: to the end) of a lock of fcntl(2), of either kind, that somebody
/// else has on any of the bytes from `start` to `last`; `None` when there is none. It changes nothing, and needs no
/// permission but to have the file open.
///
/// # Errors
///
/// `EBADF`, `EINVAL`; file systems of several machines have more.
///
/// # References
///
/// fcntl_locking(2), "Open file description locks".
pub fn conflict(fd: BorrowedFd<'_>, start: i64, last: i64) -> io::Result<Option<(i64, i64)>> {
    let length = if last == i64::MAX {
        0
    } else {
        last - start + 1
    };
    let mut range = range(Operation::Write, start, length);
    // SAFETY: takes a pointer to a `flock`, which outlives the call.
    super::check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_GETLK, &raw mut range) })?;
    let is_free = range.l_type == libc::F_UNLCK as libc::c_short;
    Ok((!is_free).then_some((range.l_start, range.l_len)))
}

fn range(operation: Operation, start: i64, length: i64) -> libc::flock64 {
    let kind = match operation {
        Operation::Read => libc::F_RDLCK,
        Operation::Write => libc::F_WRLCK,
        Operation::Unlock => libc::F_UNLCK,
    };
    // SAFETY: all zeroes is a valid `flock`; `l_pid` must be zero for these commands.
    let mut range: libc::flock64 = unsafe { std::mem::zeroed() };
    range.l_type = kind as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = start;
    range.l_len = length;
    range
}
