//! From a request to the lock: entering the queue, and waiting in it.

use super::api::{self, Event, Listing};
use super::client::RETRY_INTERVAL;
use super::error::Error;
use super::key;
use super::session::{Grant, Renewal, Session, not_understood};
use super::watch::Watch;
use crate::clock;
use crate::front::has_come;
use crate::queue::{self, Entry, Place};
use crate::record::{self, seconds_since_1970};
use crate::stop::Stop;

/// A [`Place`] that does not borrow.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Holds(u64),
    Behind(Vec<u8>),
    NoSlot,
    Absent,
}

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wakeup {
    /// Something may have changed.
    Recheck,
    /// The same, and the watch has ended.
    Ended,
}

impl Session<'_> {
    /// Acquires the lock.
    pub(super) fn acquire(&mut self) -> Result<Grant, Stop> {
        // A process that does not wait does not enter the queue either, even for a moment: others
        // that do not wait would be refused a lock that no process holds.
        let mut unchanged = None;
        if self.is_nonblocking() {
            let listing = self.list(None)?;
            unchanged = Some(self.check_free(&listing)?);
        }
        loop {
            self.grant_lease()?;
            while let Some(listing) = self.enter(unchanged)? {
                let place = self.place(&listing);
                if place != Standing::Absent || unchanged.is_none() {
                    match self.wait_until_held(listing)? {
                        Some(grant) => return Ok(grant),
                        // The lease has expired, and with it the key.
                        None => break,
                    }
                }
                // Another process came in between.
                unchanged = Some(self.check_free(&listing)?);
            }
            self.release_unanswered();
        }
    }

    /// Waits, from a listing on, until the lock is held. Returns `None` if our key has vanished.
    ///
    /// The keys after our own are not listed again: they are never in the way, and with many waiters
    /// they are what a listing takes its time for.
    fn wait_until_held(&mut self, mut listing: Listing) -> Result<Option<Grant>, Stop> {
        let key = self.key();
        let mut records = listing.records.iter();
        let own = records.find(|record| record.entry.key == key);
        let own = own.map(|record| record.entry.created);
        let mut watch = None;
        loop {
            let (obstacle, range_end) = match self.place(&listing) {
                Standing::Absent => return Ok(None),
                Standing::Holds(token) => {
                    let revision = listing.revision;
                    return match self.confirm()? {
                        Renewal::Renewed => Ok(Some(Grant { token, revision })),
                        Renewal::Unknown => Ok(None),
                    };
                }
                _ if self.is_nonblocking() => return Err(Stop::Refused),
                Standing::Behind(key) => (key, None),
                Standing::NoSlot => {
                    let (start, end) = key::range(&self.name);
                    (start, Some(end))
                }
            };
            self.report_holder(&listing);
            // A watch for the same goes on: it has reported no deletion since it began.
            if watch
                .as_ref()
                .is_none_or(|watch: &Watch| watch.key != obstacle)
            {
                let call = api::watch(&obstacle, range_end.as_deref(), listing.revision + 1);
                watch = Some(Watch::new(obstacle, call));
            }
            if let Some(current) = &mut watch
                && self.wait_for_deletion(current)? == Wakeup::Ended
            {
                watch = None;
            }
            listing = self.list(own)?;
        }
    }

    /// Waits until something may have changed, and renews the lease when that is due.
    fn wait_for_deletion(&mut self, watch: &mut Watch) -> Result<Wakeup, Stop> {
        loop {
            if self.deadline.is_some_and(has_come) {
                return Err(Stop::Refused);
            }
            if has_come(self.lease.renew_at) {
                if self.renew_until_answered()? == Renewal::Unknown {
                    // The next listing tells whether that is true; it must not be asked in a loop.
                    self.lease.renew_at = clock::now() + RETRY_INTERVAL;
                }
                return Ok(Wakeup::Recheck);
            }
            let until = self.lease.renew_at;
            let until = self.deadline.map_or(until, |deadline| deadline.min(until));
            let limit = self.slow_limit();
            match watch.poll(&mut self.client, &self.front, until, limit) {
                Ok(Some(Event::Deleted)) => return Ok(Wakeup::Recheck),
                Ok(Some(Event::Ended)) => return Ok(Wakeup::Ended),
                Ok(_) => {}
                Err(Error::Released) => return Err(Stop::Released),
                Err(Error::Final(status, text)) => return Err(Stop::Failed(status, text)),
                Err(_) => {
                    watch.close();
                    self.pause(until.min(clock::now() + RETRY_INTERVAL))?;
                }
            }
        }
    }

    /// Makes sure that enough time is left for the command, and that the lease had not expired when
    /// it was renewed. Otherwise, this process queues again: a second renewal at once would prove
    /// nothing, because the lease may still not be revoked.
    fn confirm(&mut self) -> Result<Renewal, Stop> {
        if self.lease.is_doubtful {
            return Ok(Renewal::Unknown);
        }
        let ttl = self.request.ttl;
        let is_long_enough = self.lease.until >= clock::now() + ttl / 6 * 5;
        if !is_long_enough && self.renew_until_answered()? == Renewal::Unknown {
            return Ok(Renewal::Unknown);
        }
        Ok(match self.lease.is_doubtful {
            true => Renewal::Unknown,
            false => Renewal::Renewed,
        })
    }

    fn place(&self, listing: &Listing) -> Standing {
        let entries = record::entries(&listing.records);
        match queue::place(&entries, &self.key()) {
            Place::Holds { token } => Standing::Holds(token),
            Place::Waits(obstacle) => Standing::Behind(obstacle.key.clone()),
            Place::WaitsForSlot => Standing::NoSlot,
            Place::Lost => Standing::Absent,
        }
    }

    /// Returns the revision of a listing at which a new key would hold the lock at once.
    fn check_free(&mut self, listing: &Listing) -> Result<u64, Stop> {
        let own = Entry {
            key: self.key(),
            created: u64::MAX,
            claim: record::claim(self.request),
        };
        let mut entries = record::entries(&listing.records);
        entries.push(own);
        match queue::place(&entries, &self.key()) {
            Place::Holds { .. } => Ok(listing.revision),
            _ => {
                self.report_holder(listing);
                Err(Stop::Refused)
            }
        }
    }

    fn report_holder(&mut self, listing: &Listing) {
        let key = self.key();
        self.reports.report(&self.front, &listing.records, &key);
    }

    /// Enters the queue and returns all keys, or `None` if the lease has expired before that.
    fn enter(&mut self, unchanged: Option<u64>) -> Result<Option<Listing>, Stop> {
        let value = record::value(self.request, seconds_since_1970());
        let call = api::enter(&self.name, self.lease.id, &value, unchanged);
        match self.call(&call, self.slow_limit()) {
            Ok(answer) => {
                let listing = api::entered(&answer.value, &self.name);
                listing.map(Some).ok_or_else(not_understood)
            }
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(self.stop(error)),
        }
    }
}
