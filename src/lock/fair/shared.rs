//! The wait of the first in the queue for the lock of an open file description that other processes
//! may share: the descriptor of a script.
//!
//! The first in the queue blocks in flock(2) on its ticket's open file description. If another
//! process acquires the lock for the shared one meanwhile, without a ticket, this process has what
//! it waits for. But the kernel wakes it only when that lock is released: never, if all others exit.
//!
//! *Why it looks from time to time:* the kernel tells no process that a lock was acquired. A wait for
//! the shared description's own lock would end then, but it could also be granted to this process
//! out of turn. That could not be undone, because another process may have been granted the same
//! lock in that moment. And that process makes one system call, and may run another program.
//!
//! *Why the time between two looks doubles:* to look, this process leaves the kernel's queue, where
//! processes without a ticket wait, too. If it lost its place there again and again, they could keep
//! it waiting forever.

use std::time::{Duration, Instant};

use crate::lock::Deadline;

/// When it looks for the first time.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// When to look whether the shared description has the lock.
pub(super) struct Looks {
    interval: Duration,
}

impl Looks {
    pub(super) fn new() -> Self {
        Self {
            interval: FIRST_LOOK,
        }
    }

    /// Returns the end of the wait until the next look, or the deadline if that is earlier.
    pub(super) fn next(&mut self, deadline: Deadline) -> Deadline {
        let look_at = Instant::now().checked_add(self.interval);
        self.interval = self.interval.saturating_mul(2);
        look_at.map_or(deadline, |look_at| deadline.at_most(look_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_become_rare_and_end_with_the_deadline() {
        let mut looks = Looks::new();
        let mut last = Instant::now();
        for factor in [1, 2, 4] {
            let instant = looks.next(Deadline::Never).instant().expect("a look");
            assert!(instant >= last + factor * FIRST_LOOK);
            last = Instant::now();
        }
        let deadline = Instant::now() + FIRST_LOOK;
        assert_eq!(looks.next(Deadline::At(deadline)).instant(), Some(deadline));
    }
}
