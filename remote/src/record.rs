//! What others can read about a process: an object of JSON with what it asks for, and what is shown
//! about it. It is the value of the process's entry in the system.

use std::time::SystemTime;

use serde_json::{Value, json};

use crate::front::{Answer, Front, Holder, Mode, Request};
use crate::queue::{self, Claim, Entry, Place};

/// What a process is allowed to write into a queue. The number shows in the values, so that a later
/// release can change their format.
const VERSION: u32 = 1;

/// How many holders are named to a waiter, at most: `flock` may have been stopped, and does not
/// read them.
const MAX_REPORTS: u32 = 16;

/// Returns what a request asks for.
pub fn claim(request: &Request) -> Claim {
    match (request.slots, request.mode) {
        (Some(limit), _) => Claim::Slot(limit),
        (None, Mode::Shared) => Claim::Shared,
        (None, Mode::Exclusive | Mode::List) => Claim::Exclusive,
    }
}

/// Returns the value of the entry of a request. `since` is the time in seconds since 1970.
pub fn value(request: &Request, since: u64) -> String {
    let Holder {
        host,
        pid,
        user,
        command,
    } = &request.holder;
    let mode = match claim(request) {
        Claim::Exclusive => "exclusive",
        Claim::Shared => "shared",
        Claim::Slot(_) => "slot",
    };
    json!({
        "fdlock": VERSION, "mode": mode, "slots": request.slots, "host": host, "pid": pid,
        "user": user, "command": command, "since": since,
    })
    .to_string()
}

/// An entry with its value.
#[derive(Clone, Debug)]
pub struct Record {
    /// What the queue needs of it.
    pub entry: Entry,
    /// What changes whenever the entry is written, in etcd: its revision.
    pub version: u64,
    value: Value,
}

impl Record {
    /// Decodes an entry, which got this number when it was created. A value that is not ours is that
    /// of a process that excludes all others.
    pub fn new(key: Vec<u8>, number: u64, value: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(value).unwrap_or_default();
        let slots = value["slots"].as_u64();
        let claim = match (value["mode"].as_str(), slots.map(u32::try_from)) {
            (Some("shared"), _) => Claim::Shared,
            (Some("slot"), Some(Ok(limit))) => Claim::Slot(limit),
            _ => Claim::Exclusive,
        };
        let entry = Entry {
            key,
            number: value["number"].as_u64().unwrap_or(number),
            claim,
            is_stopped: value["stopped"] == true,
        };
        Self {
            entry,
            version: 0,
            value,
        }
    }

    /// Returns the value of the entry with another number, and stopped or not. No two values of an
    /// entry are the same.
    pub fn value_with(&self, number: u64, is_stopped: bool) -> String {
        let mut value = self.value.clone();
        let version = value["version"].as_u64().unwrap_or(0);
        value["version"] = version.wrapping_add(1).into();
        value["number"] = number.into();
        value["stopped"] = is_stopped.into();
        value.to_string()
    }

    /// Returns the fields of a line that lists the process: role, mode, token, time since 1970,
    /// PID, host, user and command. What is unknown is a hyphen; only the command contains blanks.
    pub fn fields(&self, is_holder: bool) -> String {
        let role = if is_holder { "holder" } else { "waiter" };
        let mode = match self.entry.claim {
            Claim::Exclusive => "exclusive",
            Claim::Shared => "shared",
            Claim::Slot(_) => "slot",
        };
        let text = |name: &str| {
            let text = self.value[name].as_str().filter(|text| !text.is_empty());
            text.unwrap_or("-").to_owned()
        };
        let word = |name: &str| text(name).replace(char::is_whitespace, "?");
        let since = self.value["since"].as_u64();
        let since = since.map_or_else(|| "-".to_owned(), |since| since.to_string());
        let (token, command) = (self.entry.number, text("command"));
        let (pid, host, user) = (word("pid"), word("host"), word("user"));
        format!("{role} {mode} {token} {since} {pid} {host} {user} {command}")
    }

    /// Describes the process: `process 42 of ann on db1 (report.sh)`.
    pub fn description(&self) -> String {
        let text = |name: &str| self.value[name].as_str().filter(|text| !text.is_empty());
        let Some((host, pid)) = text("host").zip(text("pid")) else {
            let key = String::from_utf8_lossy(&self.entry.key);
            return format!("the owner of key {key}");
        };
        let of = text("user").map_or_else(String::new, |user| format!(" of {user}"));
        let command = text("command").map_or_else(String::new, |command| format!(" ({command})"));
        format!("process {pid}{of} on {host}{command}")
    }
}

/// Returns the time for [`value`].
pub fn seconds_since_1970() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// Returns what the queue needs of these records.
pub fn entries(records: &[Record]) -> Vec<Entry> {
    let entries = records.iter().map(|record| record.entry.clone());
    entries.collect()
}

/// Sends the list of all processes, in the order in which they have arrived.
pub fn send_list(front: &Front, records: &mut [Record]) {
    records.sort_by_key(|record| record.entry.number);
    let entries = entries(records);
    for record in records {
        let place = queue::place(&entries, &record.entry.key);
        let fields = record.fields(matches!(place, Place::Holds { .. }));
        if front.send_all(&Answer::Entry(&fields)).is_err() {
            return;
        }
    }
    let _ = front.send_all(&Answer::End);
}

/// What a waiter has been told about the holder.
#[derive(Clone, Debug, Default)]
pub struct HolderReports {
    count: u32,
    last: String,
}

impl HolderReports {
    /// Names the process that has been in the queue for the longest time: it holds the lock. That
    /// is not the one with this key, which waits.
    pub fn report(&mut self, front: &Front, records: &[Record], own_key: &[u8]) {
        let others = records
            .iter()
            .filter(|record| record.entry.key != own_key && !record.entry.is_stopped);
        let Some(first) = others.min_by_key(|record| record.entry.number) else {
            return;
        };
        let text = first.description();
        if text != self.last && self.count < MAX_REPORTS {
            front.send(&Answer::Waits(&text));
            self.last = text;
            self.count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn request(mode: Mode, slots: Option<u32>) -> Request {
        let text = |text: &str| text.to_owned();
        Request {
            url: Vec::new(),
            also: Vec::new(),
            mode,
            slots,
            wait: None,
            ttl: Duration::from_secs(30),
            holder: Holder {
                host: text("db1"),
                pid: text("42"),
                user: text("ann"),
                command: text("report \"x\""),
            },
        }
    }

    fn record(value: &str) -> Record {
        Record::new(b"n/1".to_vec(), 5, value.as_bytes())
    }

    #[test]
    fn a_claim_is_read_back() {
        for (mode, slots, expected) in [
            (Mode::Exclusive, None, Claim::Exclusive),
            (Mode::Shared, None, Claim::Shared),
            (Mode::Exclusive, Some(4), Claim::Slot(4)),
        ] {
            let record = record(&value(&request(mode, slots), 0));
            assert_eq!(record.entry.claim, expected);
        }
    }

    #[test]
    fn a_foreign_value_is_exclusive() {
        for value in [
            "",
            "x",
            "{}",
            "[]",
            "3",
            r#"{"mode":"slot"}"#,
            r#"{"mode":"new"}"#,
        ] {
            assert_eq!(record(value).entry.claim, Claim::Exclusive, "{value}");
        }
    }

    #[test]
    fn a_process_is_described() {
        let record = record(&value(&request(Mode::Exclusive, None), 0));
        let expected = "process 42 of ann on db1 (report \"x\")";
        assert_eq!(record.description(), expected);
        let foreign = Record::new(b"n/1f".to_vec(), 5, b"");
        assert_eq!(foreign.description(), "the owner of key n/1f");
    }

    #[test]
    fn a_process_is_listed_in_one_line() {
        let record = record(&value(&request(Mode::Shared, None), 7));
        let expected = "holder shared 5 7 42 db1 ann report \"x\"";
        assert_eq!(record.fields(true), expected);
        let foreign = Record::new(b"n/1f".to_vec(), 5, b"");
        assert_eq!(foreign.fields(false), "waiter exclusive 5 - - - - -");
    }

    /// The values of this release, which later ones must be able to read.
    #[test]
    fn the_format_is_stable() {
        let text = r#"{"command":"x","fdlock":1,"host":"h","mode":"slot","pid":"1","since":2,"slots":3,"user":"u"}"#;
        assert_eq!(record(text).entry.claim, Claim::Slot(3));
        assert_eq!(record(text).description(), "process 1 of u on h (x)");
    }
}
