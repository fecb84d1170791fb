//! While the lock is held: renewals, and a watch for the deletion of our key.

use std::time::Duration;

use super::api::{self, Event};
use super::client::{Attempts, RETRY_INTERVAL};
use super::error::Error;
use super::session::{Grant, Renewal, Session};
use super::watch::Watch;
use crate::clock;
use crate::front::{Answer as Line, has_come};
use crate::stop::Stop;

/// How long the lock is held before its key is watched, unless it is already: the watch takes more of
/// the server's time than all other calls, and a short command does without.
const UNWATCHED_TIME: Duration = Duration::from_millis(200);

/// What a call tells about the lock.
enum Finding {
    Held,
    Lost(&'static str),
    Unknown,
}

impl Session<'_> {
    /// Reports the grant, and holds the lock until `flock` closes the connection.
    pub(super) fn hold(&mut self, grant: Grant) {
        let token = grant.token;
        let until = self.lease.until;
        self.front.send(&Line::Granted { token, until });
        let result = self.hold_until_lost(grant);
        if let Ok(why) = result {
            // Another process may hold the lock already, so the command is killed at once.
            self.front.send(&Line::Lost(why));
            // What the command leaves behind is no concern of the lock any more.
            let _ = self.front.wait(&[], None);
        }
    }

    /// Renews the lease and watches the key. Returns why the lock is lost.
    ///
    /// *Race:* an answer that the lease does not exist may come from a member that has just become
    /// the leader and has not learned of it. So the lock is lost only if our key does not exist,
    /// which a majority confirms.
    fn hold_until_lost(&mut self, grant: Grant) -> Result<&'static str, Stop> {
        let key = self.key();
        let token = grant.token;
        let mut watch = grant.watch;
        if watch.is_none() {
            watch = Some(Watch::of_keys(vec![key.clone()], grant.revision + 1));
            self.pause(self.lease.renew_at.min(clock::now() + UNWATCHED_TIME))?;
        }
        let mut watch_again_at = Duration::ZERO;
        loop {
            if has_come(self.lease.renew_at) {
                match self.renew(token)? {
                    Finding::Lost(why) => return Ok(why),
                    Finding::Held => self.front.send(&Line::Until(self.lease.until)),
                    Finding::Unknown => self.lease.renew_at = clock::now() + RETRY_INTERVAL,
                }
                continue;
            }
            let renew_at = self.lease.renew_at;
            let Some(current) = &mut watch else {
                if !has_come(watch_again_at) {
                    self.pause(renew_at.min(watch_again_at))?;
                    continue;
                }
                match self.find_key(token)? {
                    (Finding::Lost(why), _) => return Ok(why),
                    (Finding::Held, revision) => {
                        watch = Some(Watch::of_keys(vec![key.clone()], revision + 1));
                    }
                    (Finding::Unknown, _) => watch_again_at = clock::now() + RETRY_INTERVAL,
                }
                continue;
            };
            let limit = self.fast_limit();
            match current.poll(&mut self.client, &self.front, renew_at, limit) {
                Ok(Some(Event::Changed(deleted))) if deleted.contains(&key) => {
                    return Ok("its key in etcd was deleted");
                }
                // Another key that was in the way, or `flock` is stopped.
                Ok(Some(Event::Changed(_)) | None) => {}
                Ok(Some(_)) | Err(Error::NoAnswer(_) | Error::Final(..)) => {
                    watch = None;
                    watch_again_at = clock::now() + RETRY_INTERVAL;
                }
                Err(Error::Released) => return Err(Stop::Released),
                Err(Error::NotFound | Error::Exists) => watch = None,
            }
        }
    }

    /// Asks every server once to renew the lease, until one answers.
    fn renew(&mut self, token: u64) -> Result<Finding, Stop> {
        let attempts = self.attempts();
        let call = api::renew(self.lease.id);
        match self.client.call(&self.front, &call, attempts, &mut |_| {}) {
            Ok(answer) => match self.extend(&answer) {
                Ok(Renewal::Renewed) if self.lease.is_doubtful => {
                    Ok(Finding::Lost("its lease was not renewed in time"))
                }
                Ok(Renewal::Renewed) => Ok(Finding::Held),
                Ok(Renewal::Unknown) => match self.find_key(token)? {
                    // The next renewal will tell.
                    (Finding::Held, _) => Ok(Finding::Unknown),
                    (finding, _) => Ok(finding),
                },
                Err(_) => Ok(Finding::Unknown),
            },
            Err(Error::Released) => Err(Stop::Released),
            Err(_) => Ok(Finding::Unknown),
        }
    }

    /// Asks whether our key still exists, and returns the revision in which it does.
    fn find_key(&mut self, token: u64) -> Result<(Finding, u64), Stop> {
        let attempts = self.attempts();
        let call = api::list_key(&self.key());
        let answer = match self.client.call(&self.front, &call, attempts, &mut |_| {}) {
            Ok(answer) => answer,
            Err(Error::Released) => return Err(Stop::Released),
            Err(_) => return Ok((Finding::Unknown, 0)),
        };
        let Some(listing) = api::listing(&answer.value, &self.name) else {
            return Ok((Finding::Unknown, 0));
        };
        let key = self.key();
        let mut entries = listing.records.iter().map(|record| &record.entry);
        let is_ours = entries.any(|entry| entry.key == key && entry.number == token);
        Ok(match is_ours {
            true => (Finding::Held, listing.revision),
            false => (Finding::Lost("its lease in etcd has ended"), 0),
        })
    }

    fn attempts(&self) -> Attempts {
        Attempts {
            each: self.fast_limit(),
            until: None,
            once: true,
        }
    }
}
