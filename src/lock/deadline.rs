//! How long to wait.

use std::time::{Duration, Instant};

/// How long a request may wait for a lock that another process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Do not wait.
    NonBlocking,
    /// Wait until the lock is free.
    Infinite,
    /// Wait at most this long. Zero is the same as `NonBlocking`.
    After(Duration),
}

impl Timeout {
    /// Returns the deadline of a wait that starts now. A timeout beyond the end of the clock is
    /// infinite.
    pub fn start(self) -> Deadline {
        match self {
            Self::NonBlocking | Self::After(Duration::ZERO) => Deadline::Immediate,
            Self::Infinite => Deadline::Never,
            Self::After(timeout) => match Instant::now().checked_add(timeout) {
                Some(instant) => Deadline::At(instant),
                None => Deadline::Never,
            },
        }
    }
}

/// When a wait ends, however many attempts it consists of.
#[derive(Clone, Copy, Debug)]
pub enum Deadline {
    /// Before it starts.
    Immediate,
    /// Never.
    Never,
    /// At this instant.
    At(Instant),
    /// At this instant, if there is one, or as soon as a signal is handled: for a host process,
    /// whose signals must not wait.
    Interruptible(Option<Instant>, InterruptCheck),
}

/// Returns whether a signal has arrived that the host process must handle. Called with all signals
/// blocked.
pub type InterruptCheck = fn() -> bool;

impl Deadline {
    /// Returns the same deadline for a host process: the wait also ends when the host has a signal
    /// to handle ([`Refusal::Interrupted`](super::Refusal::Interrupted)).
    #[must_use]
    pub fn interruptible(self, check: InterruptCheck) -> Self {
        match self {
            Self::Immediate => Self::Immediate,
            Self::Never => Self::Interruptible(None, check),
            Self::At(instant) => Self::Interruptible(Some(instant), check),
            Self::Interruptible(instant, _) => Self::Interruptible(instant, check),
        }
    }

    /// Returns an earlier deadline, if this one is later.
    #[must_use]
    pub fn at_most(self, latest: Instant) -> Self {
        let instant = self.instant().map_or(latest, |instant| instant.min(latest));
        match self {
            Self::Immediate => Self::Immediate,
            Self::Never | Self::At(_) => Self::At(instant),
            Self::Interruptible(_, check) => Self::Interruptible(Some(instant), check),
        }
    }

    /// Returns the instant at which a wait that has started ends, if there is one.
    pub fn instant(self) -> Option<Instant> {
        match self {
            Self::Immediate | Self::Never => None,
            Self::At(instant) => Some(instant),
            Self::Interruptible(instant, _) => instant,
        }
    }

    /// Returns whether there is an instant at which a wait that has started ends, and it has passed.
    pub fn has_passed(self) -> bool {
        self.instant()
            .is_some_and(|instant| remaining(instant).is_none())
    }
}

/// Returns the time that is left until the instant, or `None` if it has passed.
pub fn remaining(instant: Instant) -> Option<Duration> {
    let left = instant.saturating_duration_since(Instant::now());
    (!left.is_zero()).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_of_zero_and_beyond_the_clock_have_no_instant() {
        let start = |timeout| Timeout::After(timeout).start();
        assert!(matches!(start(Duration::ZERO), Deadline::Immediate));
        assert!(matches!(start(Duration::MAX), Deadline::Never));
    }

    #[test]
    fn the_remaining_time_runs_out() {
        assert!(remaining(Instant::now()).is_none());
        assert!(remaining(Instant::now() + Duration::from_secs(60)).is_some());
    }
}
