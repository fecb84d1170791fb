//! The terms of a lock elsewhere: how long it outlasts its last renewal, and when the command is
//! stopped before that.

use std::time::Duration;

/// The least margin.
const MIN_MARGIN: Duration = Duration::from_millis(500);

/// The margin is this part of the time to live: it has to cover how much the clocks of two machines
/// differ in speed, and the time that it takes to kill the command.
const MARGIN_DIVISOR: u32 = 50;

/// The terms of a lock. All times are readings of `CLOCK_BOOTTIME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long the lock outlasts its last renewal.
    pub ttl: Duration,
    /// How long the command has between `SIGTERM` and `SIGKILL`.
    pub grace: Duration,
}

impl Terms {
    /// The shortest time to live: renewals, the grace period and the margin have to fit in.
    pub const MIN_TTL: Duration = Duration::from_secs(5);
    /// The longest time to live.
    pub const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);
    /// The time to live that is used by default.
    pub const DEFAULT_TTL: Duration = Duration::from_secs(30);
    /// The grace period that is used by default, if the time to live is at least three times as
    /// long.
    pub const DEFAULT_GRACE: Duration = Duration::from_secs(5);

    /// Completes terms of which only a part was given.
    pub fn new(ttl: Option<Duration>, grace: Option<Duration>) -> Self {
        let ttl = ttl.unwrap_or(Self::DEFAULT_TTL);
        let grace = grace.unwrap_or(Self::DEFAULT_GRACE.min(ttl / 3));
        Self { ttl, grace }
    }

    /// Returns when a command is killed whose lock lasts until then.
    pub fn kill_at(&self, until: Duration) -> Duration {
        until.saturating_sub(self.kill_margin())
    }

    /// Returns when a command is asked to stop whose lock lasts until then.
    pub fn stop_at(&self, until: Duration) -> Duration {
        until.saturating_sub(self.stop_margin())
    }

    fn kill_margin(&self) -> Duration {
        MIN_MARGIN.max(self.ttl / MARGIN_DIVISOR)
    }

    /// Returns how long before the end of its lock a command is asked to stop.
    pub fn stop_margin(&self) -> Duration {
        self.kill_margin().saturating_add(self.grace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_short_time_to_live_shortens_the_default_grace() {
        assert_eq!(Terms::new(None, None).grace, 5 * SECOND);
        assert_eq!(Terms::new(Some(6 * SECOND), None).grace, 2 * SECOND);
        assert_eq!(
            Terms::new(Some(6 * SECOND), Some(3 * SECOND)).grace,
            3 * SECOND
        );
    }

    #[test]
    fn the_command_is_stopped_and_killed_before_the_end() {
        let until = 100 * SECOND;
        let terms = Terms::new(Some(6 * SECOND), Some(2 * SECOND));
        assert_eq!(terms.kill_at(until), until - SECOND / 2);
        assert_eq!(terms.stop_at(until), until - SECOND / 2 - 2 * SECOND);
        let terms = Terms::new(Some(100 * SECOND), Some(10 * SECOND));
        assert_eq!(terms.kill_at(until), until - 2 * SECOND);
        assert_eq!(terms.kill_at(SECOND), Duration::ZERO);
    }
}
