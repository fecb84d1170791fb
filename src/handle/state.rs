//! What the guards of a lock know, in memory that they share: what one of them has found out or
//! decided is not lost with it.

use std::io;
use std::time::Duration;

use crate::sys::shared_memory::SharedU64;

/// The memory. Times are readings of `CLOCK_BOOTTIME`.
#[derive(Debug)]
pub(super) struct State {
    until: SharedU64,
    /// When the processes are killed; 0 if they have not been asked to terminate.
    kill_at: SharedU64,
}

impl State {
    /// Creates the memory for a lock that lasts until then.
    pub fn new(end: Duration) -> io::Result<Self> {
        let [until, kill_at] = SharedU64::several()?;
        let state = Self { until, kill_at };
        state.set_until(end);
        Ok(state)
    }

    /// Returns until when the lock lasts.
    pub fn until(&self) -> Duration {
        Duration::from_nanos(self.until.get())
    }

    /// Stores until when the lock lasts.
    pub fn set_until(&self, until: Duration) {
        self.until.set(nanos(until));
    }

    /// Returns when the processes are killed, if they have been asked to terminate.
    pub fn kill_at(&self) -> Option<Duration> {
        Some(self.kill_at.get())
            .filter(|at| *at != 0)
            .map(Duration::from_nanos)
    }

    /// Decides when the processes are killed. Nothing changes that any more.
    pub fn set_kill_at(&self, at: Duration) {
        self.kill_at.set(nanos(at).max(1));
    }
}

fn nanos(time: Duration) -> u64 {
    time.as_nanos().try_into().unwrap_or(u64::MAX)
}
