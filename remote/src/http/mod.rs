//! Requests by HTTP/1.1 over one connection, and answers that may come in pieces for a long time.

mod body;

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::PollFlags;

use crate::front::Front;
use crate::net::error::Error;
use crate::net::stream::Stream;
use body::Body;

/// The largest head of an answer.
const MAX_HEAD: usize = 64 * 1024;

/// The most headers of an answer.
const MAX_HEADERS: usize = 64;

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    /// What has been read, but not decoded.
    unread: Vec<u8>,
    body: Body,
    is_kept_open: bool,
}

/// A request by POST.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The host and the port, for the header.
    pub host: &'a str,
    /// The path.
    pub path: &'a str,
    /// More headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body, which is JSON.
    pub body: &'a str,
}

impl Connection {
    /// Uses a stream.
    pub fn new(stream: Stream) -> Self {
        let (unread, body) = (Vec::new(), Body::ended());
        let is_kept_open = true;
        Self {
            stream,
            unread,
            body,
            is_kept_open,
        }
    }

    /// Sends a request and reads the head of the answer. Returns its status.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn start(
        &mut self,
        front: &Front,
        request: &Request<'_>,
        deadline: Duration,
    ) -> Result<u16, Error> {
        let Request {
            host, path, body, ..
        } = request;
        let length = body.len();
        let mut text = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n"
        );
        for (name, value) in request.headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        text += body;
        self.stream.write(front, text.as_bytes(), deadline)?;
        loop {
            if let Some(status) = self.parse_head()? {
                return Ok(status);
            }
            self.wait_and_read(front, deadline)?;
        }
    }

    /// Sends a request and reads the whole answer. Returns its status and its body.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn call(
        &mut self,
        front: &Front,
        request: &Request<'_>,
        deadline: Duration,
    ) -> Result<(u16, Vec<u8>), Error> {
        let status = self.start(front, request, deadline)?;
        loop {
            self.decode()?;
            if self.body.has_ended() {
                return Ok((status, self.body.take()));
            }
            if !self.wait_and_read(front, deadline)? && !self.body.end_by_close() {
                return Err(Error::closed());
            }
        }
    }

    /// Returns whether another request may be sent.
    pub fn is_reusable(&self) -> bool {
        self.is_kept_open && self.body.has_ended() && self.unread.is_empty()
    }

    /// Returns the descriptor, which is readable when more of the answer has arrived.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Returns the next line of the answer, if it has arrived. Reads everything that has: a
    /// descriptor does not become readable again for what TLS has read already.
    ///
    /// # Errors
    ///
    /// The answer has ended, or see [`Error`].
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            self.decode()?;
            if let Some(line) = self.body.take_line() {
                return Ok(Some(line));
            }
            if self.body.has_ended() {
                return Err(Error::closed());
            }
            match self.stream.read()? {
                None => return Ok(None),
                Some(data) if data.is_empty() => return Err(Error::closed()),
                Some(data) => self.unread.extend_from_slice(&data),
            }
        }
    }

    fn decode(&mut self) -> Result<(), Error> {
        let result = self.body.decode(&mut self.unread);
        result.map_err(|body::Malformed| not_http())
    }

    /// Reads something. Returns false at the end of the connection; before the head of an answer,
    /// that is an error.
    fn wait_and_read(&mut self, front: &Front, deadline: Duration) -> Result<bool, Error> {
        loop {
            match self.stream.read()? {
                Some(data) if data.is_empty() && self.body.has_ended() => {
                    return Err(Error::closed());
                }
                Some(data) => {
                    self.unread.extend_from_slice(&data);
                    return Ok(!data.is_empty());
                }
                None => {}
            }
            if !front.wait(&[(self.stream.as_fd(), PollFlags::IN)], Some(deadline))? {
                return Err(Error::timed_out());
            }
        }
    }

    /// Parses the head of the answer and returns the status, if it has arrived.
    fn parse_head(&mut self) -> Result<Option<u16>, Error> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(&self.unread) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if self.unread.len() < MAX_HEAD => return Ok(None),
            _ => return Err(not_http()),
        };
        let status = response.code.unwrap_or_default();
        let value = |name: &str| {
            let mut headers = response.headers.iter();
            let header = headers.find(|header| header.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(header.value).ok()
        };
        let has = |name, expected: &str| {
            value(name).is_some_and(|value| value.eq_ignore_ascii_case(expected))
        };
        self.is_kept_open = response.version == Some(1) && !has("Connection", "close");
        self.body = if has("Transfer-Encoding", "chunked") {
            Body::chunked()
        } else if let Some(length) = value("Content-Length") {
            Body::with_length(length.parse().map_err(|_| not_http())?)
        } else {
            self.is_kept_open = false;
            Body::until_close()
        };
        self.unread.drain(..length);
        Ok(Some(status))
    }
}

fn not_http() -> Error {
    Error::Unsuitable("it does not speak HTTP".to_owned())
}
