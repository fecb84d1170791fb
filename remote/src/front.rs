//! The connection to `flock`: the request, and the answers to it.

use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::stdio;

use crate::clock::{self, Alarm};

/// The versions of the protocol. The second one allows several locks.
const VERSIONS: [&[u8]; 2] = [b"1", b"2"];

/// The longest request that is read.
const MAX_REQUEST: usize = 64 * 1024;

/// The longest text in an answer, whose line must not have more than 4096 bytes.
const MAX_TEXT: usize = 1000;

/// What `flock` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The operand.
    pub url: Vec<u8>,
    /// The locks that are to be held together with it.
    pub also: Vec<Vec<u8>>,
    /// How the lock is to be held, if at all.
    pub mode: Mode,
    /// The number of holders that are allowed at once.
    pub slots: Option<u32>,
    /// How long to wait for the lock, from the start of this process on; `None` without limit.
    pub wait: Option<Duration>,
    /// How long the lock outlasts its last renewal.
    pub ttl: Duration,
    /// The holder, to be shown to others.
    pub holder: Holder,
}

/// How a lock is to be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By one process.
    Exclusive,
    /// Together with others.
    Shared,
    /// Not at all: the holders and waiters are listed.
    List,
}

/// What others are shown about a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// The name of its machine.
    pub host: String,
    /// The PID of `flock`.
    pub pid: String,
    /// Its user.
    pub user: String,
    /// The command with its arguments.
    pub command: String,
}

impl Request {
    /// Parses the lines of a request. Lines with unknown keywords are ignored.
    ///
    /// # Errors
    ///
    /// The text for an answer with status 69.
    pub fn parse(text: &[u8]) -> Result<Self, &'static str> {
        let mut lines = text.split(|byte| *byte == b'\n');
        let version = lines.next().and_then(|line| line.strip_prefix(b"flock "));
        if !version.is_some_and(|version| VERSIONS.contains(&version)) {
            return Err("the helper does not understand this version of flock");
        }
        let mut values = lines.filter_map(|line| {
            let end = line.iter().position(|byte| *byte == b' ')?;
            Some((&line[..end], &line[end + 1..]))
        });
        let mut request = Self {
            url: Vec::new(),
            also: Vec::new(),
            mode: Mode::Exclusive,
            slots: None,
            wait: None,
            ttl: Duration::ZERO,
            holder: Holder::default(),
        };
        let is_complete = values.try_for_each(|(keyword, value)| request.set(keyword, value));
        if is_complete.is_none() || request.url.is_empty() || request.ttl.is_zero() {
            return Err("the helper does not understand the request");
        }
        Ok(request)
    }

    /// Stores a value. Returns `None` if it is invalid.
    fn set(&mut self, keyword: &[u8], value: &[u8]) -> Option<()> {
        let text = || String::from_utf8_lossy(value).into_owned();
        let millis = || Some(Duration::from_millis(text().parse().ok()?));
        match keyword {
            b"url" => self.url = value.to_vec(),
            b"also" => self.also.push(value.to_vec()),
            b"mode" => {
                self.mode = match value {
                    b"exclusive" => Mode::Exclusive,
                    b"shared" => Mode::Shared,
                    b"list" => Mode::List,
                    _ => return None,
                }
            }
            b"slots" => self.slots = Some(text().parse().ok()?),
            b"wait" if value == b"forever" => self.wait = None,
            b"wait" => self.wait = Some(millis()?),
            b"ttl" => self.ttl = millis()?,
            b"pid" => self.holder.pid = text(),
            b"host" => self.holder.host = text(),
            b"user" => self.holder.user = text(),
            b"command" => self.holder.command = text(),
            _ => {}
        }
        Some(())
    }

    /// Returns how long after the last renewal the next one is due, for this time to live.
    ///
    /// With several locks, those that are granted first are renewed often enough that the time
    /// which must be left of each when the last one is granted is left at any moment, unless a
    /// server does not answer.
    pub fn renewal_interval(&self, ttl: Duration) -> Duration {
        match self.also.is_empty() {
            true => ttl / 3,
            false => ttl / 8,
        }
    }
}

/// `flock` has closed the connection: the lock is to be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released;

/// The connection to `flock`, standard input and output.
pub struct Front {
    socket: OwnedFd,
    alarm: Alarm,
    /// Whether the end of the connection is expected: the lock is being released.
    is_ignored: bool,
    /// What is different if the lock is one of several.
    part: Option<Part>,
}

/// A lock that is one of several, which a thread of this process acquires.
pub struct Part {
    /// Readable when the lock is to be released although `flock` has not closed its connection.
    pub release: OwnedFd,
    /// Takes the answers, which are not for `flock` as they are.
    pub answers: Box<dyn Fn(&Answer<'_>) + Send>,
}

impl Front {
    /// Takes over standard input and output.
    ///
    /// # Errors
    ///
    /// There is no descriptor left.
    pub fn new() -> io::Result<Self> {
        Self::with(stdio::stdin().try_clone_to_owned()?, None)
    }

    /// Returns a connection for a lock that is one of several. It ends when this one does.
    ///
    /// # Errors
    ///
    /// There is no descriptor left.
    pub fn part(&self, part: Part) -> io::Result<Self> {
        Self::with(self.socket.try_clone()?, Some(part))
    }

    pub(crate) fn with(socket: OwnedFd, part: Option<Part>) -> io::Result<Self> {
        Ok(Self {
            socket,
            alarm: Alarm::new()?,
            is_ignored: false,
            part,
        })
    }

    /// Reads the request, up to its empty line.
    ///
    /// # Errors
    ///
    /// The connection ends before that.
    pub fn read_request(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        while !text.ends_with(b"\n\n") {
            let mut buffer = [0; 1024];
            let length = io::stdin().read(&mut buffer)?;
            if length == 0 || text.len() > MAX_REQUEST {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            text.extend_from_slice(&buffer[..length]);
        }
        Ok(text)
    }

    /// Makes later waits go on after the end of the connection.
    pub fn ignore(&mut self) {
        self.is_ignored = true;
    }

    /// Waits until one of the descriptors is ready. Returns false when the time has come before
    /// that.
    ///
    /// # Errors
    ///
    /// `flock` has closed the connection, unless that is ignored.
    pub fn wait(
        &self,
        fds: &[(BorrowedFd<'_>, PollFlags)],
        until: Option<Duration>,
    ) -> Result<bool, Released> {
        // An error here would repeat itself; without the alarm, nothing works.
        self.alarm.set(until).map_err(|_| Released)?;
        loop {
            let mut polled = vec![PollFd::from_borrowed_fd(self.alarm.as_fd(), PollFlags::IN)];
            for (fd, flags) in fds {
                polled.push(PollFd::from_borrowed_fd(*fd, *flags));
            }
            if !self.is_ignored {
                polled.push(PollFd::new(&self.socket, PollFlags::IN));
                if let Some(part) = &self.part {
                    polled.push(PollFd::new(&part.release, PollFlags::IN));
                }
            }
            match poll(&mut polled, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return Err(Released),
            }
            let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
            let has_ended = match &polled[fds.len() + 1..] {
                [] => false,
                [socket, others @ ..] => {
                    others.iter().any(is_ready) || is_ready(socket) && self.has_ended()
                }
            };
            if has_ended {
                return Err(Released);
            }
            if polled[1..=fds.len()].iter().any(is_ready) {
                return Ok(true);
            }
            if is_ready(&polled[0]) {
                return Ok(false);
            }
        }
    }

    /// Reads what `flock` sends, which is nothing in this version of the protocol.
    fn has_ended(&self) -> bool {
        let result = recv(&self.socket, &mut [0; 64], RecvFlags::DONTWAIT);
        !matches!(result, Ok((1.., _)) | Err(Errno::AGAIN | Errno::INTR))
    }

    /// Sends a line, and waits for room until the kernel has some.
    ///
    /// # Errors
    ///
    /// `flock` has closed the connection.
    pub fn send_all(&self, answer: &Answer<'_>) -> Result<(), Released> {
        let line = answer.encode();
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            match send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(length) => rest = &rest[length..],
                Err(Errno::INTR) => {}
                Err(_) => return Err(Released),
            }
        }
        Ok(())
    }

    /// Sends a line. If there is no room for it, because `flock` has been stopped for long, or if
    /// `flock` has exited, it is lost: then the time of the lease runs out.
    pub fn send(&self, answer: &Answer<'_>) {
        if let Some(part) = &self.part {
            return (part.answers)(answer);
        }
        let line = answer.encode();
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let _ = send(&self.socket, line.as_bytes(), flags);
    }
}

/// A line for `flock`.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// Another process holds the lock.
    Waits(&'a str),
    /// Something that the user must be told.
    Warning(&'a str),
    /// The lock is held.
    Granted {
        /// A number that is higher than that of all earlier holders.
        token: u64,
        /// How long the lock lasts, by [`clock::now`].
        until: Duration,
    },
    /// Several locks are held.
    GrantedAll {
        /// The number for each URL, in the order of the request.
        tokens: &'a [u64],
        /// How long all of them last.
        until: Duration,
    },
    /// The lock lasts until then.
    Until(Duration),
    /// The lock is lost, for this reason, and another process may hold it already: no time is left.
    /// Both lines are sent at once, because the first one alone would look like a lack of renewals.
    Lost(&'a str),
    /// The lock was not free in time.
    Refused,
    /// A process that holds the lock or waits for it: the fields of the line.
    Entry(&'a str),
    /// All processes were listed.
    End,
    /// The lock was not acquired for another reason.
    Error {
        /// The exit status.
        status: u8,
        /// The reason.
        text: &'a str,
    },
}

impl Answer<'_> {
    fn encode(&self) -> String {
        match self {
            Self::Waits(text) => format!("waits {}\n", printable(text)),
            Self::Warning(text) => format!("warning {}\n", printable(text)),
            Self::Granted { token, until } => format!("granted {token} {}\n", until.as_nanos()),
            Self::GrantedAll { tokens, until } => {
                let tokens = Vec::from_iter(tokens.iter().map(u64::to_string)).join(",");
                format!("granted {tokens} {}\n", until.as_nanos())
            }
            Self::Until(until) => format!("until {}\n", until.as_nanos()),
            Self::Lost(why) => format!("until 0\nlost {}\n", printable(why)),
            Self::Refused => "refused\n".to_owned(),
            Self::Entry(fields) => format!("entry {}\n", printable(fields)),
            Self::End => "end\n".to_owned(),
            Self::Error { status, text } => format!("error {status} {}\n", printable(text)),
        }
    }
}

/// Returns a text without control characters, shortened to what a line can contain.
fn printable(text: &str) -> String {
    let text = text.trim().chars().take(MAX_TEXT);
    text.map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Returns whether a time has come.
pub fn has_come(time: Duration) -> bool {
    clock::now() >= time
}

#[cfg(test)]
mod tests;
