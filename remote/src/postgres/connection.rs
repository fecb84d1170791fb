//! A connection to a server: statements and their answers, and notifications.
//!
//! Only the simple protocol is used: a text with statements, which the server executes as one
//! transaction without waiting for us in between. So no lock in the server is ever kept by a client
//! that has been stopped, and a process that waits has no transaction: neither `CREATE INDEX
//! CONCURRENTLY` nor vacuum waits for it.

use std::time::Duration;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{DataRowBody, ErrorFields, Header, Message};
use postgres_protocol::message::frontend;
use rustix::event::PollFlags;

use super::error::{self, Error};
use crate::front::{Front, Wakeup};
use crate::net::error as net;
use crate::net::stream::Stream;

/// The longest message that is read.
const MAX_MESSAGE: usize = 16 << 20;

/// The values of a row as texts, `None` for NULL.
pub type Row = Vec<Option<String>>;

/// A connection to a server, which is used by one statement after the other.
pub struct Connection {
    pub(super) stream: Stream,
    input: BytesMut,
    has_notification: bool,
    /// What the session is known by: a lock that only it holds.
    pub marker: u64,
    /// The channel whose notifications it receives.
    pub channel: Option<String>,
}

impl Connection {
    pub(super) fn new(stream: Stream, marker: u64) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            has_notification: false,
            marker,
            channel: None,
        }
    }

    /// Executes statements, and returns the rows of the last one that has any. After an error other
    /// than one of the statements, the connection cannot be used any more.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn query(
        &mut self,
        front: &Front,
        sql: &str,
        deadline: Duration,
    ) -> Result<Vec<Row>, Error> {
        self.send(front, deadline, |buffer| frontend::query(sql, buffer))?;
        let mut rows = Vec::new();
        let mut failure = None;
        loop {
            match self.receive(front, deadline) {
                Ok(Message::RowDescription(_)) => rows.clear(),
                Ok(Message::DataRow(row)) => rows.push(decode(&row)?),
                Ok(Message::ErrorResponse(body)) => failure = Some(of_response(body.fields())),
                Ok(Message::ReadyForQuery(_)) => return failure.map_or(Ok(rows), Err),
                Ok(Message::NotificationResponse(_)) => self.has_notification = true,
                Ok(
                    Message::CommandComplete(_)
                    | Message::EmptyQueryResponse
                    | Message::NoticeResponse(_)
                    | Message::ParameterStatus(_),
                ) => {}
                Ok(_) => return Err(Error::not_understood()),
                // The server has closed the connection, and said why before that.
                Err(Error::NoAnswer(text)) => {
                    return Err(Error::NoAnswer(match failure {
                        Some(Error::NoAnswer(reason) | Error::Unusable(_, reason)) => reason,
                        _ => text,
                    }));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for a notification, or that `flock` is stopped or continued. Returns false when that
    /// time has come.
    ///
    /// # Errors
    ///
    /// The connection has ended.
    pub fn wait(&mut self, front: &Front, until: Duration) -> Result<bool, Error> {
        loop {
            while let Some(message) = self.next_message()? {
                match message {
                    Message::NotificationResponse(_) => self.has_notification = true,
                    Message::ErrorResponse(body) => {
                        return Err(match of_response(body.fields()) {
                            Error::Unusable(_, text) => Error::NoAnswer(text),
                            error => error,
                        });
                    }
                    _ => {}
                }
            }
            if std::mem::take(&mut self.has_notification) {
                return Ok(true);
            }
            if self.fill()? {
                continue;
            }
            match front.wait_or_notice(&[(self.stream.as_fd(), PollFlags::IN)], Some(until))? {
                Wakeup::Ready => {}
                Wakeup::TimedOut => return Ok(false),
                Wakeup::Notice => return Ok(true),
            }
        }
    }

    /// Tells the server that the connection ends.
    pub fn close(mut self, front: &Front, deadline: Duration) {
        let _ = self.send(front, deadline, |buffer| {
            frontend::terminate(buffer);
            Ok(())
        });
    }

    pub(super) fn send(
        &mut self,
        front: &Front,
        deadline: Duration,
        write: impl FnOnce(&mut BytesMut) -> std::io::Result<()>,
    ) -> Result<(), Error> {
        let mut buffer = BytesMut::new();
        // Only a NUL in a text is an error, and no text has one.
        write(&mut buffer).map_err(|_| Error::not_understood())?;
        Ok(self.stream.write(front, &buffer, deadline)?)
    }

    pub(super) fn receive(&mut self, front: &Front, deadline: Duration) -> Result<Message, Error> {
        loop {
            if let Some(message) = self.next_message()? {
                return Ok(message);
            }
            if !self.fill()?
                && !front.wait(&[(self.stream.as_fd(), PollFlags::IN)], Some(deadline))?
            {
                return Err(net::Error::timed_out().into());
            }
        }
    }

    /// Reads what has arrived. Returns false if that is nothing.
    fn fill(&mut self) -> Result<bool, Error> {
        match self.stream.read()? {
            Some(data) if data.is_empty() => Err(net::Error::closed().into()),
            Some(data) => {
                self.input.extend_from_slice(&data);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn next_message(&mut self) -> Result<Option<Message>, Error> {
        let other = || Error::Unusable(65, "it does not speak PostgreSQL's protocol".to_owned());
        if let Some(header) = Header::parse(&self.input).map_err(|_| other())?
            && !usize::try_from(header.len()).is_ok_and(|length| length <= MAX_MESSAGE)
        {
            return Err(other());
        }
        Message::parse(&mut self.input).map_err(|_| other())
    }
}

fn decode(row: &DataRowBody) -> Result<Row, Error> {
    let buffer = row.buffer();
    let ranges = row
        .ranges()
        .map(|range| Ok(range.map(|range| String::from_utf8_lossy(&buffer[range]).into_owned())));
    ranges.collect().map_err(|_| Error::not_understood())
}

/// Interprets the fields of an error.
pub(super) fn of_response(mut fields: ErrorFields<'_>) -> Error {
    let (mut code, mut message) = (String::new(), String::new());
    while let Ok(Some(field)) = fields.next() {
        let text = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => code = text,
            b'M' => message = text,
            _ => {}
        }
    }
    error::of_answer(&code, &message)
}
