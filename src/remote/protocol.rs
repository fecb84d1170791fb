//! The lines that are exchanged with a helper, which `docs/design/remote.md` specifies.

use std::ffi::OsString;
use std::fmt;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::terms::Terms;
use super::url::Url;

/// The version of the protocol. A helper that does not understand `also` lines would ignore them,
/// and acquire one lock of several; so these are another version.
const VERSION: u32 = 1;
const VERSION_WITH_ALSO: u32 = 2;

/// The longest line.
const MAX_LINE: usize = 4096;

/// How much of the command a request contains.
const MAX_COMMAND: usize = 200;

/// The exit statuses that a helper may request with `error`.
pub const ERROR_STATUSES: [u8; 5] = [64, 65, 66, 69, 77];

/// What a helper is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The lock.
    pub url: &'a Url,
    /// More locks, to be held together with it.
    pub also: &'a [Url],
    /// `exclusive` or `shared`; `list` to list the holders and waiters.
    pub mode: &'static str,
    /// The number of holders that are allowed at once, instead of one.
    pub slots: Option<u32>,
    /// How long to wait for the lock; `None` means without a limit, zero not at all.
    pub wait: Option<Duration>,
    /// The terms of the lock.
    pub terms: Terms,
    /// The process that holds the lock, and what it is for, to be shown to others.
    pub holder: &'a Holder,
}

/// What others are shown about a holder.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The name of this machine.
    pub host: OsString,
    /// The PID of this process.
    pub pid: i32,
    /// The name or the number of the user.
    pub user: OsString,
    /// The command with its arguments.
    pub command: OsString,
}

impl Request<'_> {
    /// Returns the lines, the last of which is empty.
    pub fn encode(&self) -> Vec<u8> {
        let version = match self.also {
            [] => VERSION,
            _ => VERSION_WITH_ALSO,
        };
        let mut lines = format!("flock {version}\nurl ").into_bytes();
        lines.extend_from_slice(self.url.as_os_str().as_bytes());
        for url in self.also {
            lines.extend_from_slice(b"\nalso ");
            lines.extend_from_slice(url.as_os_str().as_bytes());
        }
        lines.extend_from_slice(format!("\nmode {}\n", self.mode).as_bytes());
        if let Some(slots) = self.slots {
            lines.extend_from_slice(format!("slots {slots}\n").as_bytes());
        }
        let wait = self
            .wait
            .map_or("forever".to_owned(), |wait| millis(wait).to_string());
        let ttl = millis(self.terms.ttl);
        let pid = self.holder.pid;
        lines.extend_from_slice(format!("wait {wait}\nttl {ttl}\npid {pid}\n").as_bytes());
        let Holder {
            host,
            user,
            command,
            ..
        } = self.holder;
        for (keyword, value) in [("host ", host), ("user ", user), ("command ", command)] {
            lines.extend_from_slice(keyword.as_bytes());
            let value = value.as_bytes().iter().take(MAX_COMMAND);
            lines.extend(value.map(|byte| if byte.is_ascii_control() { b'?' } else { *byte }));
            lines.push(b'\n');
        }
        lines.push(b'\n');
        lines
    }
}

fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

/// A process that holds a lock elsewhere or waits for it. What is unknown is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whether it holds the lock.
    pub is_holder: bool,
    /// `exclusive`, `shared` or `slot`.
    pub mode: String,
    /// Its token, which tells its place.
    pub token: Option<u64>,
    /// The time of its arrival, in seconds since 1970.
    pub since: Option<u64>,
    /// Its PID, on its host.
    pub pid: Option<String>,
    /// Its host.
    pub host: Option<String>,
    /// Its user.
    pub user: Option<String>,
    /// The command.
    pub command: Option<String>,
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.splitn(8, ' ');
        let is_holder = match fields.next()? {
            "holder" => true,
            "waiter" => false,
            _ => return None,
        };
        let mode = fields.next()?;
        if !["exclusive", "shared", "slot"].contains(&mode) {
            return None;
        }
        let mut number = || match fields.next()? {
            "-" => Some(None),
            number => decimal(number).map(Some),
        };
        let (token, since) = (number()?, number()?);
        let mut text = || {
            let field = fields.next()?;
            Some((field != "-").then(|| field.to_owned()))
        };
        Some(Self {
            is_holder,
            mode: mode.to_owned(),
            token,
            since,
            pid: text()?,
            host: text()?,
            user: text()?,
            command: text()?,
        })
    }
}

/// The numbers of a grant, one for each URL of the request, in the same order. Each is higher than
/// those of all earlier holders of that lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens(pub Vec<u64>);

impl Tokens {
    /// Returns the number for the first URL, or the only one.
    pub fn first(&self) -> u64 {
        self.0.first().copied().unwrap_or_default()
    }

    fn parse(text: &str) -> Option<Self> {
        let tokens = text
            .split(',')
            .map(|token| decimal(token).filter(|_| !token.is_empty()));
        Some(Self(tokens.collect::<Option<_>>()?))
    }
}

impl fmt::Display for Tokens {
    /// Writes one number per line, as a command finds them in its environment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = Vec::from_iter(self.0.iter().map(u64::to_string));
        f.write_str(&tokens.join("\n"))
    }
}

/// What a helper has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The lock is held by another process, which the text describes.
    Waits(String),
    /// Something that the user must be told.
    Warning(String),
    /// The lock is held.
    Granted {
        /// The token, or several.
        token: Tokens,
        /// How long the lock lasts, by `CLOCK_BOOTTIME`.
        until: Duration,
    },
    /// The lock lasts until then.
    Until(Duration),
    /// The lock is lost, for this reason.
    Lost(String),
    /// The lock was not acquired in time.
    Refused,
    /// A process that holds the lock or waits for it.
    Entry(Entry),
    /// All processes were listed.
    End,
    /// The lock was not acquired for another reason.
    Error {
        /// The exit status.
        status: u8,
        /// The reason.
        text: String,
    },
}

impl Message {
    /// Parses a line without its end. Returns `None` if it violates the protocol.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let line = String::from_utf8_lossy(line).replace(char::is_control, "?");
        let (keyword, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let time = |text: &str| Some(Duration::from_nanos(decimal(text)?));
        let text = || (!rest.is_empty()).then(|| rest.to_owned());
        match keyword {
            "waits" => Some(Self::Waits(text()?)),
            "warning" => Some(Self::Warning(text()?)),
            "granted" => {
                let (token, until) = rest.split_once(' ')?;
                let (token, until) = (Tokens::parse(token)?, time(until)?);
                Some(Self::Granted { token, until })
            }
            "until" => Some(Self::Until(time(rest)?)),
            "lost" => Some(Self::Lost(text()?)),
            "refused" if rest.is_empty() => Some(Self::Refused),
            "entry" => Entry::parse(rest).map(Self::Entry),
            "end" if rest.is_empty() => Some(Self::End),
            "error" => {
                let (status, text) = rest.split_once(' ')?;
                let status = decimal(status).and_then(|status| u8::try_from(status).ok());
                let status = status.filter(|status| ERROR_STATUSES.contains(status))?;
                let text = text.to_owned();
                Some(Self::Error { status, text })
            }
            _ => None,
        }
    }
}

/// Parses a number that consists of digits only.
fn decimal(text: &str) -> Option<u64> {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_decimal)
}

/// Divides what a socket delivers into lines.
#[derive(Clone, Debug, Default)]
pub struct LineReader {
    unread: Vec<u8>,
}

/// What a read has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There may be more lines now.
    Read,
    /// There will be no more lines: the other end is closed, or a line is too long.
    End,
    /// There is nothing to read at this moment.
    Nothing,
}

impl LineReader {
    /// Returns the next line, without its end, if it is complete.
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        let end = self.unread.iter().position(|byte| *byte == b'\n')?;
        let rest = self.unread.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.unread, rest);
        line.pop();
        Some(line)
    }

    /// Adds what was read elsewhere. Returns false if a line is too long.
    pub fn add(&mut self, bytes: &[u8]) -> bool {
        self.unread.extend_from_slice(bytes);
        self.unread.len() <= MAX_LINE || self.unread.contains(&b'\n')
    }

    /// Reads what has arrived, without waiting for it.
    pub fn read(&mut self, socket: impl AsFd) -> Progress {
        let mut buffer = [0; 1024];
        if self.unread.len() > MAX_LINE {
            return Progress::End;
        }
        match recv(socket, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Progress::End,
            Ok((length, _)) => {
                self.unread.extend_from_slice(&buffer[..length]);
                Progress::Read
            }
            Err(Errno::AGAIN | Errno::INTR) => Progress::Nothing,
            Err(_) => Progress::End,
        }
    }
}

impl Holder {
    /// Describes this process and its command.
    pub fn describe(args: &[OsString], user: OsString) -> Self {
        let host = rustix::system::uname().nodename().to_bytes().to_vec();
        Self {
            host: OsString::from_vec(host),
            pid: rustix::process::getpid().as_raw_nonzero().get(),
            user,
            command: args.join(" ".as_ref()),
        }
    }
}

#[cfg(test)]
mod tests;
