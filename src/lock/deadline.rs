//! How long to wait.

use std::time::{Duration, Instant};

/// How long a request may wait for a lock that somebody else holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Now,
    /// Until it is free.
    Forever,
    /// At most this long; a time of zero is the same as `Now`.
    For(Duration),
}

impl Wait {
    /// The deadline of a wait that begins at this moment. A time beyond the end of the clock is no deadline.
    pub fn begin(self) -> Deadline {
        match self {
            Self::Now | Self::For(Duration::ZERO) => Deadline::Now,
            Self::Forever => Deadline::Never,
            Self::For(time) => match Instant::now().checked_add(time) {
                Some(until) => Deadline::At(Until(until)),
                None => Deadline::Never,
            },
        }
    }
}

/// When a wait that has begun is over, however many attempts it is made of.
#[derive(Clone, Copy, Debug)]
pub enum Deadline {
    /// Before it has begun.
    Now,
    /// Never.
    Never,
    /// At a moment of the monotonic clock.
    At(Until),
    /// At such a moment, if there is one, or as soon as a signal is handled: for a process that is not ours, whose
    /// signals must not wait.
    Attentive(Option<Until>, Called),
}

/// Says whether the host has something to do that a signal has asked for: it is asked with all signals blocked.
pub type Called = fn() -> bool;

impl Deadline {
    /// The same in a host process: whenever it has something to do, the answer is [`Interrupted`](super::Answer).
    #[must_use]
    pub fn in_host(self, called: Called) -> Self {
        match self {
            Self::Now => Self::Now,
            Self::Never => Self::Attentive(None, called),
            Self::At(until) => Self::Attentive(Some(until), called),
            Self::Attentive(until, _) => Self::Attentive(until, called),
        }
    }

    /// The moment, for a wait that has begun and ends at one.
    pub fn until(self) -> Option<Until> {
        match self {
            Self::Now | Self::Never => None,
            Self::At(until) => Some(until),
            Self::Attentive(until, _) => until,
        }
    }
}

/// A moment to come, or past.
#[derive(Clone, Copy, Debug)]
pub struct Until(Instant);

impl Until {
    /// What is left until then; `None` when it is past.
    pub fn left(self) -> Option<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_now_and_a_time_beyond_the_clock_is_for_ever() {
        assert!(matches!(Wait::For(Duration::ZERO).begin(), Deadline::Now));
        assert!(matches!(Wait::For(Duration::MAX).begin(), Deadline::Never));
    }

    #[test]
    fn the_time_left_runs_out() {
        assert!(Until(Instant::now()).left().is_none());
        assert!(
            Until(Instant::now() + Duration::from_secs(60))
                .left()
                .is_some()
        );
    }
}
