//! flock(2): a lock on the whole file that belongs to the open file description.

use std::os::fd::BorrowedFd;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::lock::Mode;
use crate::sys;
use crate::sys::ofd::Blocking;

pub(super) fn lock(fd: BorrowedFd<'_>, mode: Mode, blocking: Blocking) -> Result<(), Errno> {
    let operation = match (mode, blocking) {
        (Mode::Shared, Blocking::Yes) => FlockOperation::LockShared,
        (Mode::Shared, Blocking::No) => FlockOperation::NonBlockingLockShared,
        (Mode::Exclusive, Blocking::Yes) => FlockOperation::LockExclusive,
        (Mode::Exclusive, Blocking::No) => FlockOperation::NonBlockingLockExclusive,
        (Mode::Unlocked, _) => FlockOperation::Unlock,
    };
    match blocking {
        Blocking::No => sys::repeat_if_interrupted(|| rustix::fs::flock(fd, operation)),
        Blocking::Yes => rustix::fs::flock(fd, operation),
    }
}
