//! Waiters that are stopped (Ctrl-Z), and let others pass.
//!
//! The value of a row says whether its process is stopped. A waiter that would hold the lock without
//! the stopped ones moves them behind itself: see [`overtaken`].
//!
//! *Races:* as in etcd (`remote/src/etcd/stopped.rs`). Every write requires that the row has the value
//! that was read, and no two values of a row are the same.
//!
//! A write that is late has no effect either. Its session was given up, and the next one has stored
//! another marker in the row before it did anything else; a write requires the marker of its own
//! session. The value alone would not do: a process that was continued meanwhile writes no other one,
//! and may hold the lock when the late write says that it is stopped. A model has these
//! interleavings: see `docs/design/protocols.md`.
//!
//! [`overtaken`]: crate::queue::overtaken

use super::acquire::{Failure, Reading, check_interval};
use super::error::Error;
use super::row::Row;
use super::session::Session;
use crate::clock;
use crate::front::has_come;
use crate::{queue, record};

impl Session<'_> {
    /// Lets others pass until `flock` is continued, or our row is not that of this session any more.
    /// The rows are to be read again then.
    pub(super) fn stand_aside(&mut self) -> Result<(), Failure> {
        if !self.write_whether_stopped(true)? {
            return Ok(());
        }
        while self.front.is_stopped() {
            if self.deadline.is_some_and(has_come) {
                return Err(Failure::Refused);
            }
            // The server ends a session that is not used.
            self.query(&|row, _| row.list())?;
            let until = clock::now() + check_interval(self.request.ttl);
            let until = self.deadline.map_or(until, |deadline| deadline.min(until));
            let Some(connection) = self.client.connection() else {
                continue;
            };
            match connection.wait(&self.front, until) {
                Ok(true) => {}
                Ok(false) => {
                    self.front.look_whether_stopped();
                }
                Err(error) => {
                    self.client.disconnect();
                    return Err(error.into());
                }
            }
        }
        self.write_whether_stopped(false)?;
        Ok(())
    }

    /// Writes to our row whether `flock` is stopped. Returns false if it has been deleted, or has the
    /// marker of an earlier session, whose statement was late.
    fn write_whether_stopped(&mut self, is_stopped: bool) -> Result<bool, Error> {
        loop {
            let reading = Reading::new(&self.query(&|row, _| row.list())?)?;
            let own = reading.find(self.row.id);
            let Some(own) = own.filter(|own| self.has_marker(own)) else {
                return Ok(false);
            };
            let entry = &own.record.entry;
            if entry.is_stopped && is_stopped {
                return Ok(true);
            }
            let value = own.record.value_with(entry.number, is_stopped);
            let answer = self.query(&|row, _| row.replace(own, &value, own))?;
            if !answer.rows.is_empty() {
                return Ok(true);
            }
        }
    }

    /// Moves processes that are stopped and in the way behind this one. Returns whether the rows are
    /// to be read again.
    pub(super) fn overtake(&mut self, reading: &Reading, own: &Row) -> Result<bool, Error> {
        if !reading.rows.iter().any(|row| row.record.entry.is_stopped) {
            return Ok(false);
        }
        let entries = record::entries(&reading.records);
        let moved = queue::overtaken(&entries, &own.record.entry.key);
        // From the end, so that they stay in order if one of them has changed.
        let statements = moved.iter().rev().filter_map(|(entry, number)| {
            let mut rows = reading.rows.iter();
            let row = rows.find(|row| row.record.entry.key == entry.key)?;
            let value = row.record.value_with(*number, true);
            Some(self.row.replace(row, &value, own))
        });
        let statements = Vec::from_iter(statements).join("; ");
        if statements.is_empty() {
            return Ok(false);
        }
        self.query(&|_, _| statements.clone())?;
        Ok(true)
    }
}
