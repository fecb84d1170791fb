//! While the lock is held: renewals, over a new connection if the old one has ended.

use std::time::Duration;

use super::client::RETRY_INTERVAL;
use super::error::Error;
use super::session::{Grant, Session};
use crate::clock;
use crate::front::{Answer as Line, Released};

/// The message when the row has been deleted by another process or an administrator.
const DELETED: &str = "its row in PostgreSQL was deleted";

impl Session<'_> {
    /// Reports the grant, and holds the lock until `flock` closes the connection.
    pub(super) fn hold(&mut self, grant: Grant) {
        let (token, until) = (grant.number, self.until);
        self.front.send(&Line::Granted { token, until });
        if self.hold_until_lost(grant.token).is_ok() {
            // Another process may hold the lock already, so the command is killed at once.
            self.front.send(&Line::Lost(DELETED));
            // What the command leaves behind is no concern of the lock any more.
            let _ = self.front.wait(&[], None);
        }
    }

    /// Renews the lease until our row has been deleted.
    fn hold_until_lost(&mut self, token: u64) -> Result<(), Released> {
        let mut renew_at = self.renewal_time();
        loop {
            let result = match self.client.connection() {
                Some(connection) => match connection.wait(&self.front, renew_at) {
                    Ok(true) => continue,
                    Ok(false) => self.renew(token),
                    Err(error) => {
                        self.client.disconnect();
                        match error {
                            Error::Released => Err(error),
                            // It has ended: the new one is opened at once.
                            _ => self.resume(token),
                        }
                    }
                },
                None => self.resume(token),
            };
            match result {
                Ok(true) => {
                    self.front.send(&Line::Until(self.until));
                    renew_at = self.renewal_time();
                }
                Ok(false) | Err(Error::NoTable) => return Ok(()),
                Err(Error::Released) => return Err(Released),
                Err(Error::NoAnswer(_) | Error::Unusable(..)) => {
                    self.client.use_next_server();
                    self.front.wait(&[], Some(clock::now() + RETRY_INTERVAL))?;
                }
            }
        }
    }

    fn renewal_time(&self) -> Duration {
        let ttl = self.request.ttl;
        (self.until + self.request.renewal_interval(ttl)).saturating_sub(ttl)
    }

    /// Proves that the row is still ours. Returns false if it does not exist.
    pub(super) fn renew(&mut self, token: u64) -> Result<bool, Error> {
        let is_ours = self.write(&|row, connection| row.renew(connection.marker, token))?;
        // Its marker may be that of an earlier connection, whose statement was late.
        Ok(is_ours || self.resume(token)?)
    }

    /// Makes the row that of the present connection. Returns false if it does not exist.
    fn resume(&mut self, token: u64) -> Result<bool, Error> {
        self.write(&|row, connection| row.resume(connection.marker, token))
    }
}
