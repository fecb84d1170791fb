//! The place of one process in the queue of a lock: from its row to its release.
//!
//! 1. A session of the server takes its marker, inserts a row, and reads the rows of the lock, in
//!    one transaction.
//! 2. [`place`] tells whether the lock is held. If not, the end of the row that is in the way is
//!    awaited by `LISTEN`, and the rows are read again.
//! 3. That the lock is granted is written to the row before the command starts.
//! 4. At the end, when no process of the command is left, the row is deleted.
//!
//! [`row`] says what is done about the rows of processes that have disappeared.
//!
//! A model has the interleavings of these steps, with lost answers, late statements, sessions that end
//! and a server that starts again: see `docs/design/protocols.md`.
//!
//! *Lost answers:* the ID of the row is random and ours, so what exists with it was created by us.
//!
//! *Time:* a lease lasts from the moment at which an *answered* write to the row was *sent*, by our
//! clock. Others count from the moment at which they have seen that the session has ended, which is
//! later.
//!
//! *Silence:* a connection may be dead without either end noticing. A server ends a session that
//! was not used for half of the time to live. Waiters read the rows several times in that time
//! anyway, because no notification tells them that a session has ended.
//!
//! [`place`]: crate::queue::place
//! [`row`]: super::row

use std::time::Duration;

use super::client::{Answer, Client, RETRY_INTERVAL};
use super::connection::Connection;
use super::error::Error;
use super::row::{Duty, Row};
use super::settings::Settings;
use super::statements::{self, OwnRow};
use crate::clock;
use crate::front::{Answer as Line, Front, Request};
use crate::random;
use crate::record::{self, HolderReports, seconds_since_1970};
use crate::stop::{Stop, WITHDRAWAL_LIMIT};

/// One in this number of holders deletes what processes that have disappeared have left in other
/// queues.
const CLEANUP_INTERVAL: u64 = 16;

/// The lock is held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    /// The number of the entry, which is the token for others.
    pub(super) number: u64,
    /// That of the row.
    pub(super) token: u64,
}

/// The place of one process in the queue.
pub struct Session<'a> {
    pub(super) front: Front,
    pub(super) client: Client<'a>,
    pub(super) row: OwnRow,
    pub(super) request: &'a Request,
    /// When the wait for the lock ends.
    pub(super) deadline: Option<Duration>,
    /// When the lease ends, unless it is renewed.
    pub(super) until: Duration,
    /// When the last statement was sent that may have created the row; `None` if none was.
    pub(super) last_sent: Option<Duration>,
    pub(super) reports: HolderReports,
    is_held: bool,
}

impl<'a> Session<'a> {
    /// Prepares a session, which has not asked any server yet.
    pub fn new(
        front: Front,
        settings: &'a Settings,
        request: &'a Request,
        start: Duration,
    ) -> Self {
        let row = OwnRow {
            id: random::positive(),
            name: settings.name.clone(),
            ttl: request.ttl,
            value: record::value(request, seconds_since_1970()),
            clock: format!("{:016x}", statements::fnv(clock::identity().as_bytes())),
            bound: 0,
        };
        Self {
            front,
            client: Client::new(settings, request.ttl / 2),
            row,
            request,
            deadline: request.wait.and_then(|wait| start.checked_add(wait)),
            until: Duration::ZERO,
            last_sent: None,
            reports: HolderReports::default(),
            is_held: false,
        }
    }

    /// Acquires the lock and holds it until `flock` closes the connection, or reports why it
    /// cannot.
    pub fn run(&mut self) {
        let mut held = None;
        let stop = match self.acquire() {
            Ok(grant) => {
                held = Some(grant.token);
                self.is_held = true;
                self.hold(grant);
                Stop::Released
            }
            Err(stop) => stop,
        };
        self.front.ignore();
        match &stop {
            Stop::Released => self.release(None),
            // First, so that the user's next attempt does not meet our own row.
            Stop::Refused => {
                self.release(Some(WITHDRAWAL_LIMIT));
                self.front.send(&Line::Refused);
            }
            Stop::Failed(status, text) => {
                let status = *status;
                self.front.send(&Line::Error { status, text });
                self.release(Some(self.limit()));
            }
        }
        if held.is_some_and(|token| token.is_multiple_of(CLEANUP_INTERVAL)) {
            self.clean_up();
        }
        self.client.close(&self.front);
    }

    /// Executes statements that may create the row or make it last longer.
    pub(super) fn query(
        &mut self,
        sql: &dyn Fn(&OwnRow, &Connection) -> String,
    ) -> Result<Answer, Error> {
        let limit = self.limit();
        self.client.connect(&self.front, limit)?;
        let row = &self.row;
        let result = self
            .client
            .query(&self.front, &|connection| sql(row, connection), limit);
        self.last_sent = Some(clock::now());
        result
    }

    /// Executes statements that write to our row if it is still ours, and returns whether it is.
    /// Then the lease lasts longer.
    pub(super) fn write(
        &mut self,
        sql: &dyn Fn(&OwnRow, &Connection) -> String,
    ) -> Result<bool, Error> {
        let answer = self.query(sql)?;
        let is_ours = !answer.rows.is_empty();
        if is_ours {
            self.until = answer.sent + self.request.ttl;
        }
        Ok(is_ours)
    }

    /// Deletes our row, in attempts until that is answered, or has no use any more.
    ///
    /// One attempt would not be enough: while a server starts again, it fails, and the next process
    /// would wait for the time to live.
    fn release(&mut self, limit: Option<Duration>) {
        let Some(sent) = self.last_sent else { return };
        let end = match limit {
            Some(limit) => clock::now() + limit,
            None => sent + self.request.ttl,
        };
        let row = &self.row;
        let each = self.limit();
        while clock::now() < end {
            let limit = each.min(end.saturating_sub(clock::now()));
            match self.client.query(&self.front, &|_| row.release(), limit) {
                Ok(_) | Err(Error::NoTable) => return,
                Err(_) => self.client.use_next_server(),
            }
            // The end of the connection to `flock` does not matter any more.
            let _ = self.front.wait(&[], Some(clock::now() + RETRY_INTERVAL));
        }
    }

    /// Deletes what is left of processes that have disappeared, in other queues, which may never be
    /// used again.
    fn clean_up(&mut self) {
        let (row, limit) = (&self.row, self.limit());
        let query = |client: &mut Client<'_>, sql: &str| {
            client.query(&self.front, &|_| sql.to_owned(), limit)
        };
        if let Ok(answer) = query(&mut self.client, &row.list_abandoned()) {
            let rows = answer.rows.iter().filter_map(Row::decode);
            let (sql, _) = duties(row, &Vec::from_iter(rows));
            if let Some(sql) = sql {
                let _ = query(&mut self.client, &sql);
            }
        }
    }

    /// Returns how long an attempt may take. While the lock is held, several have to fit into the
    /// time that is left after a missed renewal.
    pub(super) fn limit(&self) -> Duration {
        let seconds = Duration::from_secs;
        match (self.is_held, self.is_nonblocking()) {
            (true, _) => (self.request.ttl / 10).clamp(seconds(1), seconds(3)),
            (false, false) => (self.request.ttl / 4).clamp(seconds(2), seconds(5)),
            // The only attempt.
            (false, true) => seconds(5),
        }
    }

    pub(super) fn is_nonblocking(&self) -> bool {
        self.request.wait == Some(Duration::ZERO)
    }
}

/// Returns the statements that are to be executed because of rows without a session, other than
/// ours, and when to look at them again.
pub(super) fn duties(own: &OwnRow, rows: &[Row]) -> (Option<String>, Option<Duration>) {
    let now = clock::now();
    let (mut sql, mut look_again) = (Vec::new(), None::<Duration>);
    let mut others = Vec::from_iter(rows.iter().filter(|row| row.id != own.id));
    // In the same order in all processes, which could wait for each other otherwise.
    others.sort_by_key(|row| row.id);
    for row in others {
        match row.duty(now) {
            None => {}
            Some(Duty::Delete) => sql.push(own.delete(row)),
            Some(Duty::Note) => sql.push(own.note(row, now)),
            Some(Duty::WaitUntil(time)) => {
                look_again = Some(look_again.map_or(time, |other| other.min(time)));
            }
        }
    }
    ((!sql.is_empty()).then(|| sql.join("; ")), look_again)
}
