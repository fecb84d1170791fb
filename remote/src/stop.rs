//! Why a helper does not hold the lock.

use std::time::Duration;

use crate::front::Released;

/// How long a withdrawal from the queue may delay the answer that the lock was not free in time.
pub const WITHDRAWAL_LIMIT: Duration = Duration::from_secs(1);

/// The exit status if no server answers.
pub const NOT_REACHED: u8 = 66;

/// Why the lock is not held, or not any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// `flock` has closed its connection.
    Released,
    /// The lock was not free in time.
    Refused,
    /// It failed: the exit status, and the reason.
    Failed(u8, String),
}

impl From<Released> for Stop {
    fn from(_: Released) -> Self {
        Self::Released
    }
}
