//! Waiters that are stopped (Ctrl-Z), and let others pass.
//!
//! The value of a key says whether its process is stopped. A waiter that would hold the lock without
//! the stopped ones moves them behind itself: see [`overtaken`].
//!
//! *Races:* a process that is continued takes its mark back before it lists the keys and may find
//! that it holds the lock, while another one moves it. Both are transactions that require that the
//! key has not changed since it was read, so one of them is first: either the other one finds no
//! mark, or this one finds its new number. A request for a mark that is late, because another attempt
//! was made, finds that the key has changed, even if the mark was taken back: that is a write, too.
//! A model has these interleavings: see `docs/design/protocols.md`.
//!
//! [`overtaken`]: crate::queue::overtaken

use super::api::{self, Listing, Replacement};
use super::client::RETRY_INTERVAL;
use super::session::{Renewal, Session};
use crate::clock;
use crate::front::{Wakeup, has_come};
use crate::queue;
use crate::record;
use crate::stop::Stop;

/// How many keys one transaction writes. By default, etcd allows 128.
const MAX_OPERATIONS: usize = 100;

impl Session<'_> {
    /// Lists the keys, or, if `flock` is stopped, lets others pass before that. Returns `None` if our
    /// key has vanished.
    pub(super) fn list_unless_stopped(
        &mut self,
        up_to: Option<u64>,
    ) -> Result<Option<Listing>, Stop> {
        // One that does not wait holds up no other.
        let is_stopped = |this: &Self| !this.is_nonblocking() && this.front.is_stopped();
        if !is_stopped(self) {
            let listing = self.list(up_to)?;
            if !is_stopped(self) {
                return Ok(Some(listing));
            }
        }
        self.stand_aside()
    }

    /// Lets others pass until `flock` is continued, and returns all keys then, or `None` if our key
    /// has vanished.
    pub(super) fn stand_aside(&mut self) -> Result<Option<Listing>, Stop> {
        loop {
            if !self.write_whether_stopped(true)? {
                return Ok(None);
            }
            self.wait_until_continued()?;
            if !self.write_whether_stopped(false)? {
                return Ok(None);
            }
            let listing = self.list(None)?;
            if !self.front.is_stopped() {
                return Ok(Some(listing));
            }
        }
    }

    /// Renews the lease until `flock` is continued.
    fn wait_until_continued(&mut self) -> Result<(), Stop> {
        while self.front.is_stopped() {
            if self.deadline.is_some_and(has_come) {
                return Err(Stop::Refused);
            }
            if has_come(self.lease.renew_at) && self.renew_until_answered()? == Renewal::Unknown {
                // Whether the key exists is found out when `flock` is continued.
                self.lease.renew_at = clock::now() + RETRY_INTERVAL;
            }
            let until = self.lease.renew_at;
            let until = self.deadline.map_or(until, |deadline| deadline.min(until));
            if self.front.wait_or_notice(&[], Some(until))? == Wakeup::TimedOut {
                self.front.look_whether_stopped();
            }
        }
        Ok(())
    }

    /// Writes to our key whether `flock` is stopped. Returns false if the key has vanished.
    fn write_whether_stopped(&mut self, is_stopped: bool) -> Result<bool, Stop> {
        let key = self.key();
        loop {
            let listing = self.list_by(&api::list_key(&key))?;
            let Some(own) = listing.find(&key) else {
                return Ok(false);
            };
            let replacement = Replacement {
                key: &key,
                version: own.version,
                value: own.value_with(own.entry.number, is_stopped),
            };
            let call = api::replace(&[replacement], None);
            if self.replace(&call)? {
                return Ok(true);
            }
        }
    }

    /// Moves processes that are stopped and in the way behind this one. Returns whether the keys are
    /// to be listed again.
    pub(super) fn overtake(&mut self, listing: &Listing) -> Result<bool, Stop> {
        let mut records = listing.records.iter();
        if !records.any(|record| record.entry.is_stopped) {
            return Ok(false);
        }
        let key = self.key();
        let entries = record::entries(&listing.records);
        let moved = queue::overtaken(&entries, &key);
        // From the end, so that they stay in order if that takes several transactions.
        let moved = moved.iter().rev().take(MAX_OPERATIONS);
        let replacements = moved.filter_map(|(entry, number)| {
            let record = listing.find(&entry.key)?;
            Some(Replacement {
                key: &record.entry.key,
                version: record.version,
                value: record.value_with(*number, true),
            })
        });
        let replacements = Vec::from_iter(replacements);
        let Some(own) = listing.find(&key).filter(|_| !replacements.is_empty()) else {
            return Ok(false);
        };
        // If one of them has changed, the next listing shows how.
        self.replace(&api::replace(&replacements, Some((&key, own.version))))?;
        Ok(true)
    }

    fn replace(&mut self, call: &api::Call) -> Result<bool, Stop> {
        let result = self.call(call, self.slow_limit());
        let answer = result.map_err(|error| self.stop(error))?;
        Ok(api::is_replaced(&answer.value))
    }
}
