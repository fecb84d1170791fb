//! Open file description locks of fcntl(2): a range of bytes, also over NFS.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use crate::lock::Mode;
use crate::sys::ofd::{self, Blocking, Operation};

pub(super) fn lock(
    fd: BorrowedFd<'_>,
    mode: Mode,
    blocking: Blocking,
    start: i64,
    length: i64,
) -> Result<(), Errno> {
    let operation = match mode {
        Mode::Shared => Operation::Read,
        Mode::Exclusive => Operation::Write,
        Mode::Unlocked => Operation::Unlock,
    };
    ofd::set(fd, operation, start, length, blocking)
}
