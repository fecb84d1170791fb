//! The connection to `flock`: the request, and the answers to it.

mod notices;
mod parent;
mod request;

use std::cell::Cell;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::stdio;

use crate::clock::{self, Alarm};
use notices::Notices;
pub use request::{Holder, Mode, Request};

/// The longest request that is read.
const MAX_REQUEST: usize = 64 * 1024;

/// The longest text in an answer, whose line must not have more than 4096 bytes.
const MAX_TEXT: usize = 1000;

/// `flock` has closed the connection: the lock is to be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released;

/// What ends a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wakeup {
    /// One of the descriptors is ready.
    Ready,
    /// The time has come.
    TimedOut,
    /// `flock` has been stopped or continued.
    Notice,
}

/// The connection to `flock`, standard input and output.
pub struct Front {
    socket: OwnedFd,
    alarm: Alarm,
    /// Whether the end of the connection is expected: the lock is being released.
    is_ignored: bool,
    /// What `flock` has sent after the request.
    notices: Notices,
    /// What is different if the lock is one of several.
    part: Option<Part>,
    /// Whether that lock is granted: what `flock` sends is for the thread that waits for the next one.
    is_part_held: Cell<bool>,
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
        Self::over(stdio::stdin().try_clone_to_owned()?)
    }

    pub(crate) fn over(socket: OwnedFd) -> io::Result<Self> {
        Self::with(socket, Notices::default(), None)
    }

    /// Returns a connection for a lock that is one of several. It ends when this one does.
    ///
    /// # Errors
    ///
    /// There is no descriptor left.
    pub fn part(&self, part: Part) -> io::Result<Self> {
        let notices = self.notices.for_thread();
        Self::with(self.socket.try_clone()?, notices, Some(part))
    }

    fn with(socket: OwnedFd, notices: Notices, part: Option<Part>) -> io::Result<Self> {
        Ok(Self {
            socket,
            alarm: Alarm::new()?,
            is_ignored: false,
            notices,
            part,
            is_part_held: Cell::new(false),
        })
    }

    /// Reads the request, up to its empty line.
    ///
    /// # Errors
    ///
    /// The connection ends before that.
    pub fn read_request(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        loop {
            let mut buffer = [0; 1024];
            let length = io::stdin().read(&mut buffer)?;
            if length == 0 || text.len() > MAX_REQUEST {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            text.extend_from_slice(&buffer[..length]);
            if let Some(end) = text.windows(2).position(|bytes| bytes == b"\n\n") {
                // `flock` may have been stopped already.
                self.notices.add(&text.split_off(end + 2));
                return Ok(text);
            }
        }
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
        Ok(self.wait_for(fds, until, false)? == Wakeup::Ready)
    }

    /// Does the same, and also returns when `flock` has been stopped or continued: once for each
    /// change that [`Self::is_stopped`] has not returned yet, even if another wait has read it.
    ///
    /// # Errors
    ///
    /// As for [`Self::wait`].
    pub fn wait_or_notice(
        &self,
        fds: &[(BorrowedFd<'_>, PollFlags)],
        until: Option<Duration>,
    ) -> Result<Wakeup, Released> {
        self.wait_for(fds, until, true)
    }

    fn wait_for(
        &self,
        fds: &[(BorrowedFd<'_>, PollFlags)],
        until: Option<Duration>,
        returns_notices: bool,
    ) -> Result<Wakeup, Released> {
        let reads_notices = !self.is_part_held.get();
        let has_notice = || returns_notices && reads_notices && self.notices.has_changed();
        // An error here would repeat itself; without the alarm, nothing works.
        self.alarm.set(until).map_err(|_| Released)?;
        if has_notice() {
            return Ok(Wakeup::Notice);
        }
        loop {
            let mut polled = vec![PollFd::from_borrowed_fd(self.alarm.as_fd(), PollFlags::IN)];
            for (fd, flags) in fds {
                polled.push(PollFd::from_borrowed_fd(*fd, *flags));
            }
            if !self.is_ignored {
                let flags = match reads_notices {
                    true => PollFlags::IN,
                    false => PollFlags::RDHUP,
                };
                polled.push(PollFd::new(&self.socket, flags));
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
                    let is_end = || !reads_notices || self.has_ended();
                    others.iter().any(is_ready) || is_ready(socket) && is_end()
                }
            };
            if has_ended {
                return Err(Released);
            }
            if polled[1..=fds.len()].iter().any(is_ready) {
                return Ok(Wakeup::Ready);
            }
            if has_notice() {
                return Ok(Wakeup::Notice);
            }
            if is_ready(&polled[0]) {
                return Ok(Wakeup::TimedOut);
            }
        }
    }

    /// Returns whether `flock` is stopped (Ctrl-Z), as far as it has been able to tell.
    pub fn is_stopped(&self) -> bool {
        // The end of the connection is noticed by the next wait.
        self.has_ended();
        self.notices.is_stopped()
    }

    /// Returns whether `flock` is stopped, even if it could not report that: for the moment before a
    /// grant.
    pub fn is_stopped_now(&self) -> bool {
        self.is_stopped() || self.look_whether_stopped()
    }

    /// Looks whether `flock` is stopped, and returns that. `flock` reports a stop only by `SIGTSTP`,
    /// but every continuation.
    ///
    /// *Race:* it may be stopped or continued after this look. A report that arrives later counts,
    /// until the next look.
    pub fn look_whether_stopped(&self) -> bool {
        self.notices.set_stopped(parent::is_stopped());
        self.is_stopped()
    }

    /// Reads what `flock` has sent, and returns whether it has closed the connection.
    fn has_ended(&self) -> bool {
        let mut buffer = [0; 64];
        match recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((length @ 1.., _)) => self.notices.add(&buffer[..length]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            _ => return true,
        }
        false
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
            if matches!(answer, Answer::Granted { .. }) {
                self.is_part_held.set(true);
            }
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
