//! What a scan finds.

use std::collections::BTreeSet;
use std::os::fd::RawFd;

use rustix::io::Errno;
use rustix::process::Pid;

use crate::sys::procfs::locks::{FileKey, LockRecord};
use crate::sys::procfs::syscall::BlockedCall;

/// A descriptor whose open file description holds a lock on one of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::holders) struct FdLock {
    pub pid: Pid,
    pub fd: RawFd,
    pub record: LockRecord,
}

/// A thread that is blocked in a lock call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::holders) struct BlockedThread {
    pub pid: Pid,
    /// The file that its descriptor is open on.
    pub file: FileKey,
    pub call: BlockedCall,
}

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub(in crate::holders) struct Scan {
    pub fd_locks: Vec<FdLock>,
    pub blocked: Vec<BlockedThread>,
    /// The processes that have one of the files open, if waiters were searched for in all threads.
    pub openers: Vec<Pid>,
    /// The processes whose descriptors are visible, by PID.
    pub(super) visible: Vec<i32>,
    /// The number of processes whose descriptors are hidden.
    pub hidden: usize,
    /// The number of locks on ranges of bytes beyond [`MAX_RANGES`](super::MAX_RANGES).
    pub omitted: usize,
    /// The locks for which not all descriptors of a process are listed.
    pub uncounted: BTreeSet<LockRecord>,
    /// Why a process could not be examined: descriptors or memory are exhausted.
    pub error: Option<Errno>,
    /// Whether the time limit was reached.
    pub is_cut_short: bool,
}

impl Scan {
    /// Adds a process whose descriptors are visible.
    pub fn add_visible(&mut self, pid: Pid) {
        let pid = pid.as_raw_nonzero().get();
        if let Err(index) = self.visible.binary_search(&pid) {
            self.visible.insert(index, pid);
        }
    }

    /// Returns whether the descriptors of a process are visible.
    pub fn is_visible(&self, pid: Pid) -> bool {
        let pid = pid.as_raw_nonzero().get();
        self.visible.binary_search(&pid).is_ok()
    }
}
