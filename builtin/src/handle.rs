//! Descriptors with a lock elsewhere, which the external program acquires and releases.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use fdlock::handle::may_be_marked;
use fdlock::sys::fd;

use crate::ffi::Bash;

/// The descriptors below 64 that had no such lock, when the shell had forked this many children.
static UNMARKED: AtomicU64 = AtomicU64::new(0);
static CHILDREN: AtomicI32 = AtomicI32::new(0);

/// Returns whether a descriptor may have a lock elsewhere, which `flock -u` is to release.
///
/// A program that the shell has started since the last call may have acquired one; otherwise, the
/// kernel need not be asked again. (Not noticed until the next child: a lock that another process
/// acquires for a descriptor that it shares with the shell.)
pub fn may_have_lock(bash: &Bash, number: RawFd) -> bool {
    let children = bash.children_forked();
    if CHILDREN.swap(children, Ordering::Relaxed) != children {
        forget();
    }
    let bit = u32::try_from(number)
        .ok()
        .and_then(|bit| 1_u64.checked_shl(bit));
    let bit = bit.unwrap_or_default();
    if UNMARKED.load(Ordering::Relaxed) & bit != 0 {
        return false;
    }
    let is_marked = fd::inherited(number).is_some_and(may_be_marked);
    if !is_marked {
        UNMARKED.fetch_or(bit, Ordering::Relaxed);
    }
    is_marked
}

/// Has the kernel asked again: the shell has been forked.
pub fn forget() {
    UNMARKED.store(0, Ordering::Relaxed);
}
