//! The place of one process in the queue of a lock: from its lease to its release.
//!
//! 1. A lease with an ID of our choice is granted.
//! 2. One transaction creates the key with that lease and lists all keys of the lock.
//! 3. [`place`] tells whether the lock is held. If not, the deletion of the last two keys that are
//!    in the way is awaited, by a watch that begins after the listing. When only one was left, the
//!    lock is held. Otherwise, the keys are listed again.
//! 4. At the end, the lease is revoked, which deletes the key.
//!
//! *Lost answers:* the ID is random, so what exists with it is ours. A grant or a transaction whose
//! answer is lost is repeated, and finds what it has created. If `flock` exits meanwhile, the lease
//! is revoked although it may not have been granted yet. A grant that arrives after that leaves a
//! lease without a key, which hinders no process; a transaction that arrives after that fails.
//!
//! *Time:* a lease lasts from the moment at which an *answered* request was *sent*, by our clock.
//! etcd counts from a later moment, so no other process is granted the lock before our time is over.
//! While the process waits, this matters only for its place: a key that has vanished is created again
//! at the end of the queue. [`place`] never calls a process whose key has vanished a holder.
//!
//! *Silence:* a connection may be dead without either end noticing. So the lease is renewed, and the
//! keys are listed, every third of the time to live, over another connection than the watch.
//!
//! A model visits all orders in which messages are lost or late, leaders are elected and leases
//! expire: see `docs/design/protocols.md`.
//!
//! [`place`]: crate::queue::place

use std::time::Duration;

use super::api::{self, Call, Listing};
use super::client::{Answer, Attempts, Client};
use super::error::{Error, NOT_UNDERSTOOD};
use super::key;
use super::lease::Lease;
use super::settings::Settings;
use super::watch::Watch;
use crate::clock;
use crate::front::{Answer as Line, Front, Request};
use crate::record::HolderReports;
use crate::stop::{NOT_REACHED, Stop, WITHDRAWAL_LIMIT};

/// How long after the end of the wait an answer may arrive. With a short wait, the lock is tried once.
const ANSWER_SLACK: Duration = Duration::from_millis(500);

/// How long all servers may take for a lock that is not waited for.
const NONBLOCKING_LIMIT: Duration = Duration::from_secs(20);

/// The lock is held.
pub(super) struct Grant {
    /// The revision in which our key was created.
    pub(super) token: u64,
    /// A revision in which our key existed.
    pub(super) revision: u64,
    /// A watch for its deletion since then, if there is one already.
    pub(super) watch: Option<Watch>,
}

/// The answer to a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease lasts until a later time now.
    Renewed,
    /// The server does not know the lease.
    Unknown,
}

/// The place of one process in the queue.
pub struct Session<'a> {
    pub(super) front: Front,
    pub(super) client: Client,
    pub(super) lease: Lease,
    pub(super) name: Vec<u8>,
    pub(super) request: &'a Request,
    /// When the wait for the lock ends.
    pub(super) deadline: Option<Duration>,
    /// Whether the user knows that no server is reached.
    has_warned: bool,
    pub(super) reports: HolderReports,
}

impl<'a> Session<'a> {
    /// Prepares a session, which has not asked any server yet.
    pub fn new(front: Front, settings: &Settings, request: &'a Request, start: Duration) -> Self {
        Self {
            front,
            client: Client::new(settings),
            lease: Lease::new(start),
            name: settings.name.clone(),
            request,
            deadline: request.wait.and_then(|wait| start.checked_add(wait)),
            has_warned: false,
            reports: HolderReports::default(),
        }
    }

    /// Acquires the lock and holds it until `flock` closes the connection, or reports why it cannot.
    pub fn run(&mut self) {
        let stop = match self.acquire() {
            Ok(grant) => {
                self.hold(grant);
                Stop::Released
            }
            Err(stop) => stop,
        };
        self.front.ignore();
        match &stop {
            Stop::Released => {}
            Stop::Refused => {
                // First, so that the user's next attempt does not meet our own key.
                let limit = clock::now() + WITHDRAWAL_LIMIT;
                if self.revoke(limit) {
                    self.lease = Lease::new(limit);
                }
                self.front.send(&Line::Refused);
            }
            Stop::Failed(status, text) => {
                let status = *status;
                self.front.send(&Line::Error { status, text });
                // Otherwise every server has answered that it does not do this.
                if status != NOT_REACHED {
                    self.release_unanswered();
                    return;
                }
            }
        }
        self.release();
    }

    pub(super) fn grant_lease(&mut self) -> Result<(), Stop> {
        let ttl = self.request.ttl;
        self.lease = Lease::new(clock::now() + ttl);
        let seconds = ttl
            .as_millis()
            .div_ceil(1000)
            .try_into()
            .unwrap_or(u64::MAX);
        let call = api::grant(self.lease.id, seconds);
        match self.call(&call, self.slow_limit()) {
            Ok(answer) => {
                // This request has created it, not an earlier attempt.
                self.lease.until = answer.sent + ttl;
                match self.extend(&answer)? {
                    Renewal::Renewed => Ok(()),
                    Renewal::Unknown => Err(not_understood()),
                }
            }
            // The answer to an earlier attempt was lost. When it was granted is not known, but it
            // can be renewed.
            Err(Error::Exists) => self.renew_until_answered().map(|_| ()),
            Err(error) => Err(self.stop(error)),
        }
    }

    pub(super) fn list(&mut self, up_to: Option<u64>) -> Result<Listing, Stop> {
        self.list_by(&api::list(&self.name, up_to))
    }

    pub(super) fn list_by(&mut self, call: &Call) -> Result<Listing, Stop> {
        let last_sent = self.lease.last_sent;
        let result = self.call(call, self.slow_limit());
        // It creates and renews no lease: none has to be revoked because of it.
        self.lease.last_sent = last_sent;
        let answer = result.map_err(|error| self.stop(error))?;
        api::listing(&answer.value, &self.name).ok_or_else(not_understood)
    }

    pub(super) fn renew_until_answered(&mut self) -> Result<Renewal, Stop> {
        let result = self.call(&api::renew(self.lease.id), self.fast_limit());
        let answer = result.map_err(|error| self.stop(error))?;
        self.extend(&answer)
    }

    /// Stores the time that an answer has given us.
    pub(super) fn extend(&mut self, answer: &Answer) -> Result<Renewal, Stop> {
        let ttl = self.request.ttl;
        match api::seconds(&answer.value).ok_or_else(not_understood)? {
            0 => Ok(Renewal::Unknown),
            // etcd may grant more than was asked for, but never less.
            seconds => {
                let ttl = ttl.min(Duration::from_secs(seconds));
                self.lease.extend(answer.sent, clock::now(), ttl);
                self.lease.renew_at = answer.sent + self.request.renewal_interval(ttl);
                Ok(Renewal::Renewed)
            }
        }
    }

    pub(super) fn call(&mut self, call: &Call, each: Duration) -> Result<Answer, Error> {
        let once = self.is_nonblocking();
        let until = match once {
            true => Some(clock::now() + NONBLOCKING_LIMIT),
            false => self.deadline.map(|deadline| deadline + ANSWER_SLACK),
        };
        let attempts = Attempts { each, until, once };
        let sent = self.client.sent();
        let (front, has_warned) = (&self.front, &mut self.has_warned);
        let answer = self.client.call(front, call, attempts, &mut |why| {
            if !std::mem::replace(has_warned, true) {
                let text = format!("etcd is not reached, trying again: {why}");
                front.send(&Line::Warning(&text));
            }
        });
        if answer.is_ok() {
            self.has_warned = false;
        }
        // Whatever was sent before now may have created or renewed the lease.
        if self.client.sent() != sent {
            self.lease.last_sent = Some(clock::now());
        }
        answer
    }

    pub(super) fn stop(&self, error: Error) -> Stop {
        match error {
            Error::Released => Stop::Released,
            Error::NoAnswer(text) => {
                Stop::Failed(NOT_REACHED, format!("etcd is not reached: {text}"))
            }
            Error::Final(status, text) => Stop::Failed(status, text),
            Error::NotFound | Error::Exists => not_understood(),
        }
    }

    /// Revokes the lease, in attempts until that is answered or the lease has ended by itself.
    ///
    /// One attempt would not be enough: during an election, it fails, and the next process would wait
    /// for the rest of the time to live.
    fn release(&mut self) {
        if let Some(sent) = self.lease.last_sent {
            self.revoke(sent + self.request.ttl);
        }
    }

    /// Revokes a lease that does not exist, as far as we have been told: if it does, its key must not
    /// remain in the queue.
    pub(super) fn release_unanswered(&mut self) {
        self.revoke(clock::now() + self.fast_limit());
    }

    /// Returns whether the lease does not exist any more.
    fn revoke(&mut self, until: Duration) -> bool {
        if self.lease.last_sent.is_none() {
            return true;
        }
        let attempts = Attempts {
            each: self.fast_limit(),
            until: Some(until),
            once: false,
        };
        let call = api::revoke(self.lease.id);
        let result = self.client.call(&self.front, &call, attempts, &mut |_| {});
        matches!(result, Ok(_) | Err(Error::NotFound))
    }

    pub(super) fn pause(&self, until: Duration) -> Result<(), Stop> {
        self.front.wait(&[], Some(until))?;
        Ok(())
    }

    pub(super) fn key(&self) -> Vec<u8> {
        key::key(&self.name, self.lease.id)
    }

    pub(super) fn is_nonblocking(&self) -> bool {
        self.request.wait == Some(Duration::ZERO)
    }

    /// Returns how long an attempt may take that etcd answers without writing. Several have to fit
    /// into the time that is left after a missed renewal.
    pub(super) fn fast_limit(&self) -> Duration {
        let (min, max) = (Duration::from_millis(500), Duration::from_secs(3));
        (self.request.ttl / 10).clamp(min, max)
    }

    /// Returns how long an attempt may take that etcd answers when a majority has written it.
    pub(super) fn slow_limit(&self) -> Duration {
        let (min, max) = (Duration::from_secs(2), Duration::from_secs(5));
        match self.is_nonblocking() {
            // The only attempt.
            true => max,
            false => (self.request.ttl / 4).clamp(min, max),
        }
    }
}

pub(super) fn not_understood() -> Stop {
    Stop::Failed(65, NOT_UNDERSTOOD.to_owned())
}
