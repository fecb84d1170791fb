//! The lease that our key has.
//!
//! *Race:* etcd revokes a lease that has expired in steps, and a renewal that comes in between is
//! answered as if nothing had happened, although the key is about to be deleted
//! (etcd-io/etcd#14758). A lease cannot have expired before the end that we know of. So a renewal
//! counts only if it was *answered* before that; one that came later is in doubt, until the next one
//! was answered in time. A fifth of the time to live has passed by then, and the key of a lease that
//! was being revoked is gone.

use std::time::Duration;

use crate::random;

/// Clocks of two machines may differ in speed by this part.
const CLOCK_MARGIN: u32 = 50;

/// A lease of ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) id: u64,
    /// When it ends, by our clock, unless it is renewed.
    pub(super) until: Duration,
    /// When the next renewal is due.
    pub(super) renew_at: Duration,
    /// Whether it may have expired before the last renewal.
    pub(super) is_doubtful: bool,
    /// When the last request that may have created or renewed it was sent; `None` if none was.
    pub(super) last_sent: Option<Duration>,
}

impl Lease {
    /// Chooses the ID of a lease that does not exist yet, and that lasts until this time at least if
    /// it is created from now on.
    pub(super) fn new(until: Duration) -> Self {
        // Positive for etcd, and not zero, which would let etcd choose.
        let id = random::positive();
        Self {
            id,
            until,
            renew_at: until,
            is_doubtful: false,
            last_sent: None,
        }
    }

    /// Stores that a request was answered that has created or renewed the lease. When the next
    /// renewal is due is for the caller to say.
    pub(super) fn extend(&mut self, sent: Duration, answered: Duration, ttl: Duration) {
        self.is_doubtful = answered >= self.until.saturating_sub(ttl / CLOCK_MARGIN);
        self.until = sent + ttl;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_lasts_from_the_request_on() {
        let mut lease = Lease::new(100 * SECOND);
        lease.extend(10 * SECOND, 15 * SECOND, 30 * SECOND);
        assert_eq!(lease.until, 40 * SECOND);
        assert!(!lease.is_doubtful);
    }

    #[test]
    fn a_late_answer_is_in_doubt_until_the_next_one() {
        let mut lease = Lease::new(40 * SECOND);
        // It was sent before the lease ended, but may have arrived after that.
        lease.extend(39 * SECOND, 40 * SECOND, 30 * SECOND);
        assert!(lease.is_doubtful);
        assert_eq!(lease.until, 69 * SECOND);
        lease.extend(49 * SECOND, 50 * SECOND, 30 * SECOND);
        assert!(!lease.is_doubtful);
        // Their clock may be faster.
        lease.extend(78 * SECOND, 79 * SECOND, 30 * SECOND);
        assert!(lease.is_doubtful);
    }
}
