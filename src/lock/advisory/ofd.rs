//! Open file description locks: a range of bytes, for this open file description, and over NFS too.

use std::io;
use std::os::fd::BorrowedFd;

use crate::lock::{Block, Mode};
use crate::sys::ofd::{self, Operation};

pub(in crate::lock) fn lock(
    fd: BorrowedFd<'_>,
    mode: Mode,
    block: Block,
    start: i64,
    length: i64,
) -> io::Result<()> {
    let operation = match mode {
        Mode::Shared => Operation::Read,
        Mode::Exclusive => Operation::Write,
        Mode::Unlocked => Operation::Unlock,
    };
    ofd::set(fd, operation, start, length, block == Block::Yes)
}
