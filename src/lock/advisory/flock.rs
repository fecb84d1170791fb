//! flock(2): the whole file, for this open file description.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::FlockOperation;

use crate::lock::{Block, Mode};

pub(in crate::lock) fn lock(fd: BorrowedFd<'_>, mode: Mode, block: Block) -> io::Result<()> {
    let operation = match (mode, block) {
        (Mode::Shared, Block::Yes) => FlockOperation::LockShared,
        (Mode::Shared, Block::No) => FlockOperation::NonBlockingLockShared,
        (Mode::Exclusive, Block::Yes) => FlockOperation::LockExclusive,
        (Mode::Exclusive, Block::No) => FlockOperation::NonBlockingLockExclusive,
        (Mode::Unlocked, _) => FlockOperation::Unlock,
    };
    Ok(rustix::fs::flock(fd, operation)?)
}
