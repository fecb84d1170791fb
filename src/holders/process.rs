//! What a process is, for people: who started it, when, and how it is called.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use rustix::process::Pid;

use super::line::decimal;
use crate::sys::procfs::stat::{self, Stat};

/// What `/proc` tells of a process to everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// When it was started, in ticks of the clock since the machine was.
    pub start: Option<u64>,
    /// Its effective user.
    pub uid: Option<u32>,
    /// The name that it goes by: the first 15 bytes of that of its program, or of its script.
    pub name: OsString,
}

impl Profile {
    /// Of a process; `None` if there is none, or it cannot be seen.
    ///
    /// # References
    ///
    /// proc_pid_status(5), proc_pid_stat(5).
    pub fn of(pid: Pid) -> Option<Self> {
        let status = fs::read(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
        Some(Self {
            start: Stat::of(pid).map(|stat| stat.start),
            uid: uid(&status),
            name: name(&status),
        })
    }

    /// How long ago it was started.
    pub fn age(&self) -> Option<Duration> {
        self.start.map(stat::age)
    }
}

fn field<'s>(status: &'s [u8], name: &[u8]) -> Option<&'s [u8]> {
    let mut lines = status.split(|byte| *byte == b'\n');
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(b":\t"))
}

/// Real, effective, saved, of the file system.
fn uid(status: &[u8]) -> Option<u32> {
    let effective = field(status, b"Uid")?.split(|byte| *byte == b'\t').nth(1)?;
    u32::try_from(decimal(effective)?).ok()
}

/// The kernel writes `\n` for a line's end and `\\` for a backslash.
fn name(status: &[u8]) -> OsString {
    let mut bytes = field(status, b"Name").unwrap_or_default().iter();
    let mut name = Vec::new();
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => b'\n',
                Some(other) => *other,
                None => b'\\',
            },
            other => *other,
        });
    }
    OsString::from_vec(name)
}

/// The words that a process was started by, or what it has written in their place. None for one of the kernel's, and for
/// one that has ended.
///
/// # References
///
/// proc_pid_cmdline(5).
pub fn words(pid: Pid) -> Vec<OsString> {
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
    split(&line.unwrap_or_default())
}

/// Each word ends with a NUL. Who writes a title of his own fills the rest with NULs.
fn split(line: &[u8]) -> Vec<OsString> {
    let end = line
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    // An empty word at the end is not told apart from none; one in between is.
    match &line[..end] {
        [] => Vec::new(),
        words => words
            .split(|byte| *byte == 0)
            .map(|word| OsStr::from_bytes(word).to_owned())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn user_and_name_are_read_from_the_status() {
        let status = b"Name:\ta\\nb\\\\c\nUmask:\t0022\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n";
        assert_eq!(uid(status), Some(2));
        assert_eq!(name(status), "a\nb\\c");
        assert_eq!((uid(b""), name(b"")), (None, OsString::new()));
    }

    #[test]
    fn words_end_with_a_nul_and_titles_with_many() {
        let words = |line: &[u8]| split(line);
        assert_eq!(words(b"sleep\x009\0"), ["sleep", "9"]);
        assert_eq!(words(b"sh\0-c\0\0x\0"), ["sh", "-c", "", "x"]);
        assert_eq!(words(b"title: idle\0\0\0\0"), ["title: idle"]);
        assert_eq!(words(b"no end"), ["no end"]);
        assert!(words(b"").is_empty() && words(b"\0\0").is_empty());
    }

    #[test]
    fn this_process_is_young_and_ours() {
        let own = Profile::of(rustix::process::getpid()).expect("it is there");
        assert!(own.age().is_some_and(|age| age < Duration::from_secs(3600)));
        assert_eq!(own.uid, Some(rustix::process::geteuid().as_raw()));
        assert!(!own.name.is_empty() && !words(rustix::process::getpid()).is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes: Vec<u8>) {
            uid(&bytes);
            name(&bytes);
            split(&bytes);
        }
    }
}
