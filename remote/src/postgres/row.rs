//! The rows of a lock, each of which is the entry of a process, and what is done about those of
//! processes that have disappeared.
//!
//! A row contains the number of a lock in the server that only the session of its process holds:
//! its *marker*. When the session ends, for whatever reason, the server releases that lock. A
//! process that reconnects has a new session, and stores the new marker in its row.
//!
//! The row of a process that was never granted the lock can be deleted as soon as it has no
//! session: its process finds that out before it starts a command, and queues again.
//!
//! *Why a row may be deleted after its time to live:* the last renewal that the holder counts from was
//! sent before the marker was seen to be free, because a renewal requires it. A process that has seen
//! that waits for the time to live, by a clock of its own, and deletes the row only if it still has
//! the same marker. A model checks this: see `docs/design/protocols.md`. Nothing depends on why the
//! session has ended: a network, a proxy, an operator, or a crash.
//!
//! *Why the time is stored in the row:* a process that does not wait (`-n`) cannot count it itself.
//! If all of them did not wait, a row would stay forever. So the first process that sees a free
//! marker notes the time of its clock in the row, and processes that have the same clock go by
//! that.

use std::time::Duration;

use super::connection;
use crate::queue::SPACING;
use crate::record::Record;

/// The row of a process.
#[derive(Clone, Debug)]
pub struct Row {
    /// The entry in the queue.
    pub record: Record,
    /// What identifies it.
    pub id: u64,
    /// The number that the server has given it.
    pub token: u64,
    /// The value of the entry.
    pub value: String,
    /// The lock that its session holds.
    pub marker: u64,
    /// Whether the lock has been granted to its process, whose command may run.
    pub is_granted: bool,
    /// Whether its session exists.
    pub has_session: bool,
    /// How long the lock outlasts its last renewal.
    pub ttl: Duration,
    /// When its marker was first seen to be free, by our clock.
    pub sighted: Option<Duration>,
}

/// What any process does about a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// It is to be deleted, unless it changes before that.
    Delete,
    /// It is to be noted that its session has ended.
    Note,
    /// It is to be looked at again at this time.
    WaitUntil(Duration),
}

impl Row {
    /// Decodes the columns of `statements::COLUMNS`.
    pub fn decode(columns: &connection::Row) -> Option<Self> {
        let text = |index: usize| columns.get(index)?.as_deref();
        let number = |index| text(index)?.parse::<u64>().ok();
        let flag = |index| Some(text(index)? == "t");
        let (id, token) = (number(0)?, number(1)?);
        let key = id.to_string().into_bytes();
        let value = text(5)?.to_owned();
        Some(Self {
            record: Record::new(key, token.checked_mul(SPACING)?, value.as_bytes()),
            id,
            token,
            value,
            marker: number(2)?,
            is_granted: flag(3)?,
            has_session: flag(6)?,
            ttl: Duration::from_millis(number(4)?),
            sighted: number(7).map(Duration::from_millis),
        })
    }

    /// Returns what a process has to do about this row, which is another one's.
    pub fn duty(&self, now: Duration) -> Option<Duty> {
        if self.has_session {
            return None;
        }
        Some(match self.sighted {
            _ if !self.is_granted => Duty::Delete,
            None => Duty::Note,
            Some(sighted) if now >= sighted + self.ttl => Duty::Delete,
            Some(sighted) => Duty::WaitUntil(sighted + self.ttl),
        })
    }
}

#[cfg(test)]
mod tests;
