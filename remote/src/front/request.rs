//! What `flock` asks for.

use std::time::Duration;

/// The versions of the protocol. The second one allows several locks.
const VERSIONS: [&[u8]; 2] = [b"1", b"2"];

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
