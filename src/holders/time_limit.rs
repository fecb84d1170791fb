//! How long a lookup may take.

use std::time::{Duration, Instant};

use crate::sys::clock;

/// A limit for the processor time of this thread, so that a lookup on a busy machine finds as much,
/// and one for the real time.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimit {
    processor: Duration,
    wall: Instant,
}

impl TimeLimit {
    /// Creates a limit that starts now.
    pub fn start(processor: Duration, wall: Duration) -> Self {
        Self {
            processor: clock::thread_time() + processor,
            wall: Instant::now() + wall,
        }
    }

    /// Returns whether the time is up.
    pub fn is_over(&self) -> bool {
        clock::thread_time() >= self.processor || Instant::now() >= self.wall
    }

    /// Returns the limit that leaves half of the remaining time.
    #[must_use]
    pub fn half(&self) -> Self {
        let processor = self.processor.saturating_sub(clock::thread_time());
        let wall = self.wall.saturating_duration_since(Instant::now());
        Self::start(processor / 2, wall / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_time_can_run_out() {
        let (none, hour) = (Duration::ZERO, Duration::from_secs(3600));
        let is_over = |processor, wall| TimeLimit::start(processor, wall).is_over();
        assert!(is_over(none, hour) && is_over(hour, none));
        assert!(!is_over(hour, hour) && !TimeLimit::start(hour, hour).half().is_over());
        assert!(TimeLimit::start(none, hour).half().is_over());
    }
}
