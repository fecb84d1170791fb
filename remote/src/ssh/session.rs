//! A lock on another machine, from the connection to its release.
//!
//! *The lease:* the lock is ours until the last answered renewal was sent, plus the time to live
//! ([`super::renewals`]). The holder keeps it for longer, from the moment on at which it has received
//! that renewal ([`super::extra_time`]).
//!
//! *A connection that ends* takes nothing with it: the holder keeps the lock for the rest of its
//! time, and so the command may use the rest of ours. It cannot be renewed any more. Only if the
//! holder itself has exited, which the shell reports that has started it, the command is killed at
//! once.
//!
//! *The release* is a message. The end of the connection is not: this process may have been killed,
//! while the command goes on until its time is over. `flock` closes its connection to this process
//! only after the last process of the command has exited, so when this process sends the message, the
//! lock is not needed any more.

use std::time::Duration;

use super::connection::{Connection, Event};
use super::failure::Failure;
use super::message::Message;
use super::renewals::Renewals;
use super::target::Target;
use crate::clock;
use crate::front::{Answer as Line, Front, Released, Request, has_come};
use crate::net::error::text_of;
use crate::stop::{NOT_REACHED, Stop};

/// How long a connection may take, authentication included.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);

/// How long everything may take for a lock that is not waited for.
const NONBLOCKING_LIMIT: Duration = Duration::from_secs(20);

/// How long after the end of the wait an answer may arrive. With a short wait, the lock is tried once.
const ANSWER_SLACK: Duration = Duration::from_millis(1500);

/// How long to wait before the next attempt to connect: twice as long after each, up to the second.
const RETRY_INTERVALS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));

/// Why an attempt has not led to the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
enum AttemptError {
    /// The connection has failed or ended; another one may be better.
    Retry(String),
    /// No other attempt is made.
    Stop(Stop),
}

impl From<Stop> for AttemptError {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl From<Released> for AttemptError {
    fn from(released: Released) -> Self {
        Self::Stop(released.into())
    }
}

impl From<Failure> for AttemptError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotReached(why) => Self::Retry(why),
            Failure::Final(status, text) => Self::Stop(Stop::Failed(status, text)),
        }
    }
}

fn retry<T>(why: &str) -> Result<T, AttemptError> {
    Err(AttemptError::Retry(why.to_owned()))
}

/// A lock on another machine.
pub struct Session<'a> {
    front: Front,
    target: &'a Target,
    request: &'a Request,
    /// The request as it came.
    text: &'a [u8],
    /// When the wait for the lock ends.
    deadline: Option<Duration>,
    /// When there must be an answer.
    answer_by: Option<Duration>,
    /// Whether this process has been in the queue.
    has_queued: bool,
    has_warned: bool,
}

impl<'a> Session<'a> {
    /// Prepares a session, which has not connected yet.
    pub fn new(
        front: Front,
        target: &'a Target,
        request: &'a Request,
        text: &'a [u8],
        start: Duration,
    ) -> Self {
        let slack = match request.wait {
            Some(Duration::ZERO) => NONBLOCKING_LIMIT,
            _ => ANSWER_SLACK,
        };
        let deadline = request.wait.and_then(|wait| start.checked_add(wait));
        Self {
            front,
            target,
            request,
            text,
            deadline,
            answer_by: deadline.and_then(|deadline| deadline.checked_add(slack)),
            has_queued: false,
            has_warned: false,
        }
    }

    /// Acquires the lock and holds it until `flock` closes the connection, or reports why it cannot.
    pub fn run(&mut self) {
        let mut pause = RETRY_INTERVALS.0;
        loop {
            let why = match self.attempt() {
                Ok(()) => return,
                Err(AttemptError::Stop(stop)) => return self.report(&stop),
                Err(AttemptError::Retry(why)) => why,
            };
            let retry_at = clock::now() + pause;
            if self.deadline.is_some_and(|deadline| deadline <= retry_at) {
                return self.report(&match self.has_queued {
                    true => Stop::Refused,
                    false => Stop::Failed(NOT_REACHED, not_reached(self.target, &why)),
                });
            }
            if !std::mem::replace(&mut self.has_warned, true) {
                let host = &self.target.host;
                let text = format!("{host} is not reached, trying again: {why}");
                self.front.send(&Line::Warning(&text));
            }
            if self.front.wait(&[], Some(retry_at)).is_err() {
                return;
            }
            pause = (pause * 2).min(RETRY_INTERVALS.1);
        }
    }

    fn report(&self, stop: &Stop) {
        match stop {
            Stop::Released => {}
            Stop::Refused => self.front.send(&Line::Refused),
            Stop::Failed(status, text) => {
                let status = *status;
                self.front.send(&Line::Error { status, text });
            }
        }
    }

    /// Connects, acquires the lock, and holds it to the end.
    fn attempt(&mut self) -> Result<(), AttemptError> {
        let ttl = self.request.ttl;
        let connection = connect(&self.front, self.target, ttl, self.answer_by)?;
        let renewals = Renewals::new(ttl, clock::now());
        connection.send(&self.request_text());
        let mut place = Place {
            front: &mut self.front,
            connection,
            renewals,
            ttl,
        };
        let result = place.wait_for_grant(self.answer_by);
        self.has_queued |= place.renewals.until() > Duration::ZERO;
        match result {
            Ok(token) => {
                let until = place.renewals.until();
                // One of that account, and so higher than that of every earlier holder of each file.
                let tokens = &vec![token; 1 + self.request.also.len()][..];
                place.front.send(&Line::GrantedAll { tokens, until });
                place.hold();
                Ok(())
            }
            Err(error) => {
                if error == AttemptError::Stop(Stop::Released) {
                    place.release();
                }
                Err(error)
            }
        }
    }

    /// Returns the request for the holder: that of `flock`, with the rest of the wait.
    fn request_text(&self) -> Vec<u8> {
        let rest = |deadline: Duration| deadline.saturating_sub(clock::now()).as_millis();
        let rest = self.deadline.map(rest);
        let wait = rest.map_or_else(|| "forever".to_owned(), |millis| millis.to_string());
        let mut text = Vec::new();
        for line in self.text.split_inclusive(|byte| *byte == b'\n') {
            match line.starts_with(b"wait ") {
                true => text.extend_from_slice(format!("wait {wait}\n").as_bytes()),
                false => text.extend_from_slice(line),
            }
        }
        text
    }
}

fn not_reached(target: &Target, why: &str) -> String {
    format!("{} is not reached: {why}", target.host)
}

/// Connects once, for a list. The error is the exit status and the reason, or `None` if `flock` has
/// closed its connection.
pub(super) fn connect_once(
    front: &Front,
    target: &Target,
    ttl: Duration,
) -> Result<Connection, Option<(u8, String)>> {
    let answer_by = clock::now() + NONBLOCKING_LIMIT;
    connect(front, target, ttl, Some(answer_by)).map_err(|error| match error {
        AttemptError::Retry(why) => Some((NOT_REACHED, not_reached(target, &why))),
        AttemptError::Stop(Stop::Failed(status, text)) => Some((status, text)),
        AttemptError::Stop(Stop::Released | Stop::Refused) => None,
    })
}

/// Connects to the machine, until the holder there is ready.
fn connect(
    front: &Front,
    target: &Target,
    ttl: Duration,
    answer_by: Option<Duration>,
) -> Result<Connection, AttemptError> {
    let limit = clock::now() + CONNECT_LIMIT;
    let limit = answer_by.map_or(limit, |answer_by| answer_by.min(limit));
    let mut connection = Connection::open(target, ttl).map_err(|error| {
        let error = text_of(&error);
        Stop::Failed(69, format!("cannot execute ssh: {error}"))
    })?;
    let unsuitable = |text| Err(Stop::Failed(65, text).into());
    let host = &target.host;
    loop {
        match connection.wait(front, Some(limit))? {
            Event::Message(Message::Ready) => return Ok(connection),
            Event::Message(Message::NoFlock) => {
                return unsuitable(format!(
                    "there is no flock on {host}: it needs that of fdlock"
                ));
            }
            Event::Message(Message::OtherFlock(path)) => {
                return unsuitable(format!(
                    "{path} on {host} is not that of fdlock, or was installed without flock-ssh"
                ));
            }
            Event::Message(_) | Event::Notice => {}
            Event::Ended => return Err(connection.into_failure(front).into()),
            Event::TimedOut => return retry("it does not answer"),
        }
    }
}

/// The place in the queue there, and the lock.
struct Place<'a> {
    front: &'a mut Front,
    connection: Connection,
    renewals: Renewals,
    ttl: Duration,
}

impl Place<'_> {
    /// Waits until the lock is held, and enough of its time is left. Returns the token.
    fn wait_for_grant(&mut self, answer_by: Option<Duration>) -> Result<u64, AttemptError> {
        let started = clock::now();
        let mut granted = None;
        if self.front.is_stopped() {
            self.report_stop();
        }
        loop {
            if let Some(token) = granted.filter(|_| self.renewals.are_fresh(clock::now())) {
                return Ok(token);
            }
            // The holder ends the wait itself; this is for one that does not answer.
            let silent_at = self.renewals.until().max(started + self.ttl);
            let silent_at = answer_by.map_or(silent_at, |answer_by| answer_by.min(silent_at));
            let message = match self.next(silent_at)? {
                Event::Message(message) => message,
                Event::Notice => {
                    self.report_stop();
                    continue;
                }
                Event::Ended => return retry("the connection has ended"),
                Event::TimedOut => return retry("it does not answer any more"),
            };
            match message {
                Message::Granted(token) => {
                    granted = Some(token);
                    if !self.renewals.are_fresh(clock::now()) {
                        self.renew();
                    }
                }
                Message::Waits(text) => self.front.send(&Line::Waits(&text)),
                Message::Refused => return Err(Stop::Refused.into()),
                Message::Error(status, text) => return Err(Stop::Failed(status, text).into()),
                Message::Gone | Message::Lost(_) => return retry("its process there has exited"),
                _ => {}
            }
        }
    }

    /// Holds the lock until `flock` closes its connection, and releases it.
    fn hold(&mut self) {
        let why = loop {
            let far = clock::now() + self.ttl;
            match self.next(far) {
                Ok(Event::Message(Message::Renewed(_))) => {
                    self.front.send(&Line::Until(self.renewals.until()));
                }
                Ok(Event::Message(Message::Lost(why))) => break Some(why),
                Ok(Event::Message(Message::Gone)) => {
                    break Some("the process that held it there has exited".to_owned());
                }
                Ok(Event::Message(_) | Event::TimedOut | Event::Notice) => {}
                // The time runs out.
                Ok(Event::Ended) => break None,
                Err(Released) => return self.release(),
            }
        };
        if let Some(why) = why {
            // Another process may hold the lock already, so the command is killed at once.
            self.front.send(&Line::Lost(&why));
        }
        let _ = self.front.wait(&[], None);
    }

    /// Waits for a message, at most until then, and renews the lock meanwhile.
    fn next(&mut self, until: Duration) -> Result<Event, Released> {
        loop {
            if has_come(self.renewals.next_at()) {
                self.renew();
                // `SIGSTOP` is not reported.
                self.front.look_whether_stopped();
            }
            let wake_at = until.min(self.renewals.next_at());
            match self.connection.wait(self.front, Some(wake_at))? {
                Event::Message(Message::Renewed(number)) => {
                    self.renewals.answer(number);
                    return Ok(Event::Message(Message::Renewed(number)));
                }
                Event::TimedOut if !has_come(until) => {}
                event => return Ok(event),
            }
        }
    }

    /// Has the process there that waits for the lock stopped or continued, as `flock` here is: so
    /// others pass it, and it keeps its place, as a waiter of that machine does.
    fn report_stop(&self) {
        let line: &[u8] = match self.front.is_stopped() {
            true => b"stop\n",
            false => b"continue\n",
        };
        self.connection.send(line);
    }

    fn renew(&mut self) {
        let number = self.renewals.send(clock::now());
        self.connection.send(format!("renew {number}\n").as_bytes());
    }

    /// Tells the holder that the lock is not needed any more, and waits until it is free, at most
    /// until the holder gives it up without being told.
    fn release(&mut self) {
        self.front.ignore();
        self.connection.send(b"release\n");
        let limit = clock::now() + self.ttl + super::extra_time(self.ttl);
        loop {
            match self.connection.wait(self.front, Some(limit)) {
                Ok(Event::Message(Message::Released | Message::Gone)) => return,
                Ok(Event::Message(_) | Event::Notice) => {}
                _ => return,
            }
        }
    }
}
