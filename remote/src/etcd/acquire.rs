//! From a request to the lock: entering the queue, and waiting in it.

use super::api::{self, Event, Listing};
use super::client::RETRY_INTERVAL;
use super::error::Error;
use super::session::{Grant, Renewal, Session, not_understood};
use super::watch::Watch;
use crate::clock;
use crate::front::has_come;
use crate::queue::{self, Entry, Place, SPACING};
use crate::record::{self, seconds_since_1970};
use crate::stop::Stop;

/// A [`Place`] that does not borrow.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Holds(u64),
    Behind(Obstacle),
    NoSlot,
    Absent,
}

/// What a process waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Obstacle {
    /// The key in its way.
    key: Vec<u8>,
    /// The key in its way before that.
    next: Option<Vec<u8>>,
    /// Whether the process holds the lock as soon as the key has vanished.
    is_last: bool,
}

/// Why a wait is over.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wakeup {
    /// The keys that were deleted; empty if a key was only written.
    Changed(Vec<Vec<u8>>),
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
    ///
    /// *Why the deletion of the last key in the way is enough, without another listing:* keys in the
    /// way before our own can only vanish, or move behind it, whatever has happened since the
    /// listing. So the key that is next to it is watched too, and the listing that shows it gone is
    /// made while the last holder has the lock, not after that. Our own key may have been deleted
    /// meanwhile: the end of its lease shows in the time that is left of it, which
    /// [`Self::confirm`] checks, and a deletion by an administrator is reported by the same watch,
    /// at the latest while the lock is held.
    fn wait_until_held(&mut self, mut listing: Listing) -> Result<Option<Grant>, Stop> {
        let key = self.key();
        let mut watch: Option<Watch> = None;
        if self.front.is_stopped() && !self.is_nonblocking() {
            match self.stand_aside()? {
                Some(now) => listing = now,
                None => return Ok(None),
            }
        }
        loop {
            let own = listing.find(&key).map(|own| own.entry.number);
            let up_to = own.map(|number| number / SPACING);
            if self.overtake(&listing)? {
                match self.list_unless_stopped(up_to)? {
                    Some(now) => listing = now,
                    None => return Ok(None),
                }
                continue;
            }
            let revision = listing.revision;
            let (keys, enough) = match self.place(&listing) {
                Standing::Absent => return Ok(None),
                Standing::Holds(_) if !self.is_nonblocking() && self.front.is_stopped_now() => {
                    match self.stand_aside()? {
                        Some(now) => listing = now,
                        None => return Ok(None),
                    }
                    continue;
                }
                Standing::Holds(token) => return self.confirm(token, revision, watch),
                _ if self.is_nonblocking() => return Err(Stop::Refused),
                Standing::Behind(obstacle) => {
                    let enough = obstacle.is_last.then(|| obstacle.key.clone());
                    let keys = [Some(obstacle.key), obstacle.next, Some(key.clone())];
                    (keys.into_iter().flatten().collect(), enough)
                }
                Standing::NoSlot => (Vec::new(), None),
            };
            self.report_holder(&listing);
            // A watch for the same goes on: it reports what has happened since it began.
            let mut current = match watch.take() {
                Some(watch) if watch.covers(&keys) => watch,
                _ if keys.is_empty() => Watch::of_all(&self.name, revision + 1),
                _ => Watch::of_keys(keys, revision + 1),
            };
            match self.wait_for_change(&mut current)? {
                Wakeup::Changed(deleted)
                    if enough.is_some_and(|enough| deleted.contains(&enough))
                        && !deleted.contains(&key)
                        && !self.front.is_stopped_now() =>
                {
                    return self.confirm(own.unwrap_or_default(), revision, Some(current));
                }
                Wakeup::Changed(_) | Wakeup::Recheck => watch = Some(current),
                Wakeup::Ended => {}
            }
            match self.list_unless_stopped(up_to)? {
                Some(now) => listing = now,
                None => return Ok(None),
            }
        }
    }

    /// Waits until something may have changed, and renews the lease when that is due.
    fn wait_for_change(&mut self, watch: &mut Watch) -> Result<Wakeup, Stop> {
        loop {
            if self.deadline.is_some_and(has_come) {
                return Err(Stop::Refused);
            }
            if self.front.is_stopped() {
                return Ok(Wakeup::Recheck);
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
                Ok(Some(Event::Changed(keys))) => return Ok(Wakeup::Changed(keys)),
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
    fn confirm(
        &mut self,
        token: u64,
        revision: u64,
        watch: Option<Watch>,
    ) -> Result<Option<Grant>, Stop> {
        let ttl = self.request.ttl;
        let is_long_enough = self.lease.until >= clock::now() + ttl / 6 * 5;
        let is_doubtful = self.lease.is_doubtful;
        if !is_doubtful && !is_long_enough && self.renew_until_answered()? == Renewal::Unknown {
            return Ok(None);
        }
        // A renewal may have been answered too late.
        let grant = (!self.lease.is_doubtful).then_some(Grant {
            token,
            revision,
            watch,
        });
        Ok(grant)
    }

    fn place(&self, listing: &Listing) -> Standing {
        let entries = record::entries(&listing.records);
        match queue::place(&entries, &self.key()) {
            Place::Holds { token } => Standing::Holds(token),
            Place::Waits {
                obstacle,
                next,
                is_last,
            } => Standing::Behind(Obstacle {
                key: obstacle.key.clone(),
                next: next.map(|next| next.key.clone()),
                // How many have a slot is counted in a listing.
                is_last: is_last && self.request.slots.is_none(),
            }),
            Place::WaitsForSlot => Standing::NoSlot,
            // Cannot be: the mark is taken back before the keys are listed.
            Place::Stopped => Standing::NoSlot,
            Place::Lost => Standing::Absent,
        }
    }

    /// Returns the revision of a listing at which a new key would hold the lock at once.
    fn check_free(&mut self, listing: &Listing) -> Result<u64, Stop> {
        let own = Entry {
            key: self.key(),
            number: u64::MAX,
            claim: record::claim(self.request),
            is_stopped: false,
        };
        let mut entries = record::entries(&listing.records);
        entries.retain(|entry| !entry.is_stopped);
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
