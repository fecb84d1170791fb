//! The state of a wait, and the time that is left of it.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::{Duration, Instant};

/// The state of a wait. When the child exits, the kernel stores 0 (set_tid_address(2)).
#[derive(Debug)]
pub(in crate::sys) struct WaitState(pub(super) AtomicU32);

/// The value until something else happens.
pub(super) const WAITING: u32 = 1;
/// The value after an interruption.
const INTERRUPTED: u32 = 2;

impl WaitState {
    pub(in crate::sys) const fn new() -> Self {
        Self(AtomicU32::new(WAITING))
    }

    /// Prepares for a wait.
    pub(in crate::sys) fn reset(&self) {
        self.0.store(WAITING, Release);
    }

    /// Ends the wait, even if it has not begun yet. May be called in a signal handler.
    pub(in crate::sys) fn interrupt(&self) {
        let _ = (self.0).compare_exchange(WAITING, INTERRUPTED, Release, Acquire);
    }
}

/// Returns the time that is left, zero if it is up.
pub(super) fn left_until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
