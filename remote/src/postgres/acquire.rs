//! From a request to the lock: entering the queue, and waiting in it.

use std::time::Duration;

use super::client::{Answer, RETRY_INTERVAL};
use super::error::Error;
use super::row::Row;
use super::session::{Grant, Session, duties};
use super::statements::{self, OwnRow};
use crate::clock;
use crate::front::{Answer as Line, has_come};
use crate::queue::{self, Entry, Place, SPACING};
use crate::record::{self, Record};
use crate::stop::{NOT_REACHED, Stop};

/// How long after the end of the wait another attempt may begin. With a short wait, every server is
/// tried once.
const ANSWER_SLACK: Duration = Duration::from_millis(500);

/// Why an attempt has not led to the lock.
pub(super) enum Failure {
    /// The lock was not free in time.
    Refused,
    /// A statement or the connection has failed.
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// The rows of the lock, and when the statement for them was sent.
pub(super) struct Reading {
    pub(super) rows: Vec<Row>,
    pub(super) records: Vec<Record>,
    sent: Duration,
}

impl Reading {
    pub(super) fn new(answer: &Answer) -> Result<Self, Error> {
        let rows = answer.rows.iter().map(Row::decode);
        let rows: Option<Vec<Row>> = rows.collect();
        let rows = rows.ok_or_else(Error::not_understood)?;
        Ok(Self {
            records: rows.iter().map(|row| row.record.clone()).collect(),
            rows,
            sent: answer.sent,
        })
    }

    pub(super) fn find(&self, id: u64) -> Option<&Row> {
        self.rows.iter().find(|row| row.id == id)
    }
}

impl Session<'_> {
    /// Acquires the lock, with the next server if one fails.
    ///
    /// A connection that has ended is opened again, and the attempt is repeated: it finds the row
    /// that an earlier one has inserted, with its place in the queue, unless another process has
    /// deleted it.
    pub(super) fn acquire(&mut self) -> Result<Grant, Stop> {
        let servers = self.client.server_count();
        let (mut failures, mut refusals) = (0, 0);
        let mut has_warned = false;
        loop {
            let mut has_answered = false;
            let error = match self.try_to_acquire(&mut has_answered) {
                Ok(grant) => return Ok(grant),
                Err(Failure::Refused) => return Err(Stop::Refused),
                Err(Failure::Error(error)) => error,
            };
            if has_answered {
                (failures, refusals, has_warned) = (0, 0, false);
            }
            let (text, refusal) = match error {
                Error::Released => return Err(Stop::Released),
                Error::NoAnswer(text) => (text, None),
                Error::NoTable => (String::new(), Some(65)),
                Error::Unusable(status, text) => (text, Some(status)),
            };
            failures += 1;
            refusals += usize::from(refusal.is_some());
            self.client.use_next_server();
            if failures % servers == 0 {
                // One server of several may be a replica, while the primary server is only down.
                if let Some(status) = refusal.filter(|_| refusals >= servers) {
                    return Err(Stop::Failed(status, text));
                }
                let is_over = |deadline| has_come(deadline + ANSWER_SLACK);
                if self.is_nonblocking() || self.deadline.is_some_and(is_over) {
                    let text = format!("PostgreSQL is not reached: {text}");
                    return Err(Stop::Failed(NOT_REACHED, text));
                }
                // A single connection may end for any reason.
                if !has_answered && !std::mem::replace(&mut has_warned, true) {
                    let text = format!("PostgreSQL is not reached, trying again: {text}");
                    self.front.send(&Line::Warning(&text));
                }
                refusals = 0;
                let pause = Some(clock::now() + RETRY_INTERVAL);
                let waited = self.front.wait(&[], pause);
                waited?;
            }
        }
    }

    fn try_to_acquire(&mut self, has_answered: &mut bool) -> Result<Grant, Failure> {
        // A process that does not wait does not enter the queue either, even for a moment: others
        // that do not wait would be refused a lock that no process holds. So it does only if no row
        // was inserted since it has found the lock free; to begin with, if the queue is empty.
        let mut after = self.is_nonblocking().then_some(0);
        loop {
            let mut reading = self.enter(after)?;
            *has_answered = true;
            while let Some(own) = self.clean(&mut reading)? {
                if !self.has_marker(&own) {
                    break;
                }
                if !own.has_session {
                    let text = "it does not keep locks for sessions".to_owned();
                    return Err(Error::Unusable(65, text).into());
                }
                let number = own.record.entry.number;
                let is_stopped = own.record.entry.is_stopped || self.front.is_stopped();
                // Where the rows before our own end.
                let bound = own.token.max(number / SPACING);
                let is_partial = std::mem::replace(&mut self.row.bound, bound) < bound;
                if is_stopped && !self.is_nonblocking() {
                    self.stand_aside()?;
                } else if is_partial && bound > own.token || self.overtake(&reading, &own)? {
                    // They are to be read again.
                } else if self.is_free(&reading, &own)?
                    && (self.is_nonblocking() || !self.front.is_stopped_now())
                {
                    if self.confirm(&reading, &own)? {
                        let token = own.token;
                        return Ok(Grant { number, token });
                    }
                    break;
                }
                reading = Reading::new(&self.query(&|row, _| row.list())?)?;
            }
            after = match after {
                Some(_) if reading.find(self.row.id).is_none() => Some(self.check_free(&reading)?),
                after => after,
            };
        }
    }

    /// Enters the queue, and creates the table if it does not exist.
    fn enter(&mut self, after: Option<u64>) -> Result<Reading, Error> {
        let enter = |row: &OwnRow, marker| row.enter(marker, after);
        let answer = match self.query(&|row, connection| enter(row, connection.marker)) {
            Err(Error::NoTable) => {
                match self.query(&|_, _| statements::create()) {
                    Ok(_) => {}
                    Err(Error::Unusable(_, text)) => {
                        let text =
                            format!("there is no table flock.entry, nor can it be created: {text}");
                        return Err(Error::Unusable(65, text));
                    }
                    Err(error) => return Err(error),
                }
                self.query(&|row, connection| enter(row, connection.marker))
            }
            answer => answer,
        };
        let reading = Reading::new(&answer?)?;
        if reading.find(self.row.id).is_none() {
            // There is nothing to be deleted.
            self.last_sent = None;
        }
        Ok(reading)
    }

    /// Whether our row has the marker of this session.
    pub(super) fn has_marker(&mut self, own: &Row) -> bool {
        let marker = self.client.connection().map(|connection| connection.marker);
        Some(own.marker) == marker
    }

    /// Does what is to be done about processes that have disappeared, until that is nothing, and
    /// returns our own row.
    fn clean(&mut self, reading: &mut Reading) -> Result<Option<Row>, Error> {
        while let (Some(sql), _) = duties(&self.row, &reading.rows) {
            self.query(&|_, _| sql.clone())?;
            *reading = Reading::new(&self.query(&|row, _| row.list())?)?;
        }
        Ok(reading.find(self.row.id).cloned())
    }

    /// Returns whether the lock is free for us. Otherwise, waits until that may have changed.
    ///
    /// *Race:* the row that is in the way may be deleted after it was read, and before the server
    /// knows that we want to be notified. So after the server has confirmed that, the rows are read
    /// again before anything is awaited.
    fn is_free(&mut self, reading: &Reading, own: &Row) -> Result<bool, Failure> {
        let key = &own.record.entry.key;
        let entries = record::entries(&reading.records);
        let channel = match queue::place(&entries, key) {
            Place::Holds { .. } => return Ok(true),
            // Cannot be: our row is among those that were read.
            Place::Lost => return Ok(false),
            _ if self.is_nonblocking() => return Err(Failure::Refused),
            Place::Waits { obstacle, .. } => self.row.channel(Some(obstacle)),
            Place::WaitsForSlot | Place::Stopped => self.row.channel(None),
        };
        self.reports.report(&self.front, &reading.records, key);
        if self.deadline.is_some_and(has_come) {
            return Err(Failure::Refused);
        }
        match self.client.connection() {
            Some(connection) if connection.channel.as_ref() == Some(&channel) => {
                let (_, look_again) = duties(&self.row, &reading.rows);
                let times = [look_again, self.deadline].into_iter().flatten();
                let check = clock::now() + check_interval(self.request.ttl);
                let until = times.fold(check, Duration::min);
                let result = connection.wait(&self.front, until);
                if let Err(error) = result {
                    self.client.disconnect();
                    return Err(error.into());
                }
            }
            _ => {
                self.query(&|_, _| statements::listen(&channel))?;
                if let Some(connection) = self.client.connection() {
                    connection.channel = Some(channel);
                }
            }
        }
        Ok(false)
    }

    /// Stores that the lock is granted, and makes sure that enough time is left for the command.
    /// Returns false if our row was deleted meanwhile.
    fn confirm(&mut self, reading: &Reading, own: &Row) -> Result<bool, Error> {
        let ttl = self.request.ttl;
        // With our marker, and a session that has it.
        self.until = reading.sent + ttl;
        let is_long_enough = |until| until >= clock::now() + ttl / 6 * 5;
        if own.is_granted && is_long_enough(self.until) {
            return Ok(true);
        }
        let grant = self.write(&|row, connection| row.grant(connection.marker))?;
        Ok(grant && (is_long_enough(self.until) || self.renew(own.token)?))
    }

    /// Returns the highest token if a process that arrives now would hold the lock at once.
    fn check_free(&mut self, reading: &Reading) -> Result<u64, Failure> {
        let own = Entry {
            key: Vec::new(),
            number: u64::MAX,
            claim: record::claim(self.request),
            is_stopped: false,
        };
        let mut entries = record::entries(&reading.records);
        entries.retain(|entry| !entry.is_stopped);
        entries.push(own);
        match queue::place(&entries, b"") {
            Place::Holds { .. } => {
                let tokens = reading.rows.iter().map(|row| row.token);
                Ok(tokens.max().unwrap_or_default())
            }
            _ => {
                self.reports.report(&self.front, &reading.records, b"");
                Err(Failure::Refused)
            }
        }
    }
}

/// How often a waiter looks whether the sessions of others have ended.
pub(super) fn check_interval(ttl: Duration) -> Duration {
    (ttl / 10).clamp(Duration::from_millis(500), Duration::from_secs(2))
}
