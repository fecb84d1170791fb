//! How long the lock is ours.
//!
//! The helper numbers its renewals, and remembers when it sent each of them. The holder answers with
//! the number. The lock is ours for the time to live from the moment on at which the last *answered*
//! renewal was *sent*. The request counts as renewal 0.
//!
//! An answer that comes late gives no more time than the holder does: what counts is when its
//! renewal was sent.

use std::collections::VecDeque;
use std::time::Duration;

/// Renewals are sent this often while one is unanswered, as a part of the time to live: of those that
/// arrive together when a network recovers, the last one counts.
const RETRY_DIVISOR: u32 = 15;

/// The renewals of a lock.
#[derive(Clone, Debug)]
pub struct Renewals {
    ttl: Duration,
    unanswered: VecDeque<(u64, Duration)>,
    next: u64,
    /// When the last one was sent that was answered.
    answered: Option<Duration>,
    next_at: Duration,
}

impl Renewals {
    /// Starts with a request that is sent now, as number 0.
    pub fn new(ttl: Duration, now: Duration) -> Self {
        Self {
            ttl,
            unanswered: VecDeque::from([(0, now)]),
            next: 1,
            answered: None,
            next_at: now + ttl / 3,
        }
    }

    /// Returns the number of a renewal that is sent now.
    pub fn send(&mut self, now: Duration) -> u64 {
        let number = self.next;
        self.next += 1;
        self.next_at = now + self.ttl / RETRY_DIVISOR;
        self.unanswered.push_back((number, now));
        number
    }

    /// Stores that a renewal was answered, and with it all earlier ones.
    pub fn answer(&mut self, number: u64) {
        while let Some((first, sent)) = self.unanswered.front().copied()
            && first <= number
        {
            self.unanswered.pop_front();
            self.answered = Some(sent);
            if self.unanswered.is_empty() {
                self.next_at = sent + self.ttl / 3;
            }
        }
    }

    /// Returns when the next one is due.
    pub fn next_at(&self) -> Duration {
        self.next_at
    }

    /// Returns until when the lock is ours, if it is held; zero if nothing was answered.
    pub fn until(&self) -> Duration {
        self.answered.map_or(Duration::ZERO, |sent| sent + self.ttl)
    }

    /// Whether enough time is left for a command to start.
    pub fn are_fresh(&self, now: Duration) -> bool {
        self.until() >= now + self.ttl / 6 * 5
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn renewals() -> Renewals {
        Renewals::new(30 * SECOND, 100 * SECOND)
    }

    #[test]
    fn time_counts_from_the_sending_of_an_answered_renewal() {
        let mut renewals = renewals();
        assert_eq!(renewals.until(), Duration::ZERO);
        renewals.answer(0);
        assert_eq!(renewals.until(), 130 * SECOND);
        assert_eq!(renewals.send(110 * SECOND), 1);
        assert_eq!(renewals.send(112 * SECOND), 2);
        assert_eq!(renewals.until(), 130 * SECOND);
        renewals.answer(1);
        assert_eq!(renewals.until(), 140 * SECOND);
    }

    #[test]
    fn an_answer_counts_for_earlier_renewals() {
        let mut renewals = renewals();
        renewals.send(110 * SECOND);
        renewals.send(112 * SECOND);
        renewals.answer(2);
        assert_eq!(renewals.until(), 142 * SECOND);
        // Neither old answers nor invented ones give time.
        renewals.answer(1);
        renewals.answer(99);
        assert_eq!(renewals.until(), 142 * SECOND);
    }

    #[test]
    fn unanswered_renewals_are_repeated_sooner() {
        let mut renewals = renewals();
        renewals.answer(0);
        assert_eq!(renewals.next_at(), 110 * SECOND);
        renewals.send(110 * SECOND);
        assert_eq!(renewals.next_at(), 112 * SECOND);
        renewals.send(112 * SECOND);
        renewals.answer(1);
        assert_eq!(renewals.next_at(), 114 * SECOND);
        renewals.answer(2);
        assert_eq!(renewals.next_at(), 122 * SECOND);
    }

    #[test]
    fn a_command_needs_most_of_the_time() {
        let mut renewals = renewals();
        assert!(!renewals.are_fresh(100 * SECOND));
        renewals.answer(0);
        assert!(renewals.are_fresh(105 * SECOND));
        assert!(!renewals.are_fresh(106 * SECOND));
    }
}
