//! `/proc/PID/status` and `/proc/PID/cmdline`: the name, the user, the signals and the arguments of
//! a process.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use rustix::process::Pid;

use super::decimal;
use super::read::read_prefix;
use super::stat::{self, Stat};
use crate::sys::signal::SignalSet;

/// More than the longest status: a process can be in 65,536 groups.
const MAX_STATUS: usize = 1 << 20;

/// How much of a command line is read. The kernel itself showed no more before Linux 4.2.
const MAX_COMMAND_LINE: usize = 4096;

/// More than the longest name, 64 bytes of a kernel thread.
const MAX_NAME: usize = 1024;

/// The text of `/proc/PID/status`.
///
/// # References
///
/// proc_pid_status(5).
#[derive(Debug)]
pub struct Status(Vec<u8>);

impl Status {
    /// Reads the status of a process. Returns `None` if there is no such process, or it is hidden.
    pub fn read(pid: Pid) -> Option<Self> {
        Self::read_in(&format!("/proc/{}", pid.as_raw_nonzero()))
    }

    /// Reads the status of the process or thread with this directory in `/proc`.
    pub fn read_in(dir: &str) -> Option<Self> {
        read_prefix(&format!("{dir}/status"), MAX_STATUS)
            .ok()
            .map(Self)
    }

    fn field(&self, name: &str) -> Option<&[u8]> {
        let mut lines = self.0.split(|byte| *byte == b'\n');
        lines.find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b":\t"))
    }

    /// Returns the name: the first 15 bytes of the name of its program, or of its script.
    pub fn name(&self) -> OsString {
        // The kernel writes a newline as `\\n`, and a backslash as `\\\\`.
        let mut bytes = self.field("Name").unwrap_or_default().iter();
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

    /// Returns the effective user ID.
    pub fn effective_uid(&self) -> Option<u32> {
        // Real, effective, saved, file system.
        let effective = self.field("Uid")?.split(|byte| *byte == b'\t').nth(1)?;
        u32::try_from(decimal(effective)?).ok()
    }

    /// Returns the effective capabilities, a bit for each.
    pub fn effective_capabilities(&self) -> Option<u64> {
        self.bits("CapEff")
    }

    /// Returns the letter of the state.
    pub fn state(&self) -> Option<u8> {
        self.field("State")?.first().copied()
    }

    /// Returns the PID in the process's own PID namespace.
    pub fn ns_pid(&self) -> Option<Pid> {
        let innermost = self.field("NSpid")?.rsplit(|byte| *byte == b'\t').next()?;
        Pid::from_raw(i32::try_from(decimal(innermost)?).ok()?)
    }

    /// Returns the ignored signals.
    pub fn ignored_signals(&self) -> Option<SignalSet> {
        self.signals("SigIgn")
    }

    /// Returns the signals that are pending for the main thread or the process.
    pub fn pending_signals(&self) -> SignalSet {
        let thread = self.signals("SigPnd").unwrap_or(SignalSet::EMPTY);
        let process = self.signals("ShdPnd").unwrap_or(SignalSet::EMPTY);
        thread.union(process)
    }

    fn signals(&self, field: &str) -> Option<SignalSet> {
        self.bits(field).map(SignalSet::from_bits)
    }

    fn bits(&self, field: &str) -> Option<u64> {
        let text = std::str::from_utf8(self.field(field)?).ok()?;
        u64::from_str_radix(text.trim(), 16).ok()
    }
}

/// What `/proc` shows of a process to every user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    /// When it was started, in clock ticks since the machine booted.
    pub start: Option<u64>,
    /// Its effective user ID.
    pub uid: Option<u32>,
    /// Its name: see [`Status::name`].
    pub name: OsString,
}

impl ProcessInfo {
    /// Reads the information. Returns `None` if there is no such process, or it is hidden.
    pub fn read(pid: Pid) -> Option<Self> {
        let status = Status::read(pid)?;
        Some(Self {
            start: Stat::read(pid).map(|stat| stat.start),
            uid: status.effective_uid(),
            name: status.name(),
        })
    }

    /// Returns how long ago the process was started.
    pub fn age(&self) -> Option<Duration> {
        self.start.map(stat::age)
    }
}

/// Returns the arguments with which a process was started, or what it has written in their place,
/// up to a limit, where `...` is appended: a process can make its command line as long as it
/// wants, at no cost. Kernel threads and zombies have none.
///
/// # References
///
/// proc_pid_cmdline(5).
pub fn command_line(pid: Pid) -> Vec<OsString> {
    let path = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
    let text = read_prefix(&path, MAX_COMMAND_LINE).unwrap_or_default();
    let mut arguments = split_arguments(&text);
    if text.len() == MAX_COMMAND_LINE
        && let Some(last) = arguments.last_mut()
    {
        last.push("...");
    }
    arguments
}

/// Splits the text after each NUL. A process that writes a title of its own fills the rest with
/// NULs, so empty arguments at the end are dropped.
fn split_arguments(text: &[u8]) -> Vec<OsString> {
    let Some(last) = text.iter().rposition(|byte| *byte != 0) else {
        return Vec::new();
    };
    let arguments = text[..=last].split(|byte| *byte == 0);
    arguments
        .map(|argument| OsStr::from_bytes(argument).to_owned())
        .collect()
}

/// Returns the command name of a process, which is that of its main thread.
///
/// # Errors
///
/// There is no such process, or it is hidden.
///
/// # References
///
/// proc_pid_comm(5).
pub fn comm(pid: Pid) -> std::io::Result<Vec<u8>> {
    let mut name = read_prefix(&format!("/proc/{}/comm", pid.as_raw_nonzero()), MAX_NAME)?;
    name.pop_if(|byte| *byte == b'\n');
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustix::process::{geteuid, getpid};

    #[test]
    fn the_fields_of_a_status_are_parsed() {
        let text = "Name:\ta\\nb\\\\c\nState:\tT (stopped)\nNSpid:\t4711\t7\nUid:\t1\t2\t3\t4\n\
                    SigPnd:\t0000000000000001\nShdPnd:\t0000000000000100\nSigIgn:\t0000000000000002\n\
                    CapEff:\t0000000000080000\n";
        let status = Status(text.into());
        assert_eq!(status.name(), "a\nb\\c");
        assert_eq!(status.state(), Some(b'T'));
        assert_eq!(status.ns_pid(), Pid::from_raw(7));
        assert_eq!(status.effective_uid(), Some(2));
        assert_eq!(status.ignored_signals(), Some(SignalSet::single(2)));
        assert_eq!(status.pending_signals(), SignalSet::single(1).with(9));
        assert_eq!(status.effective_capabilities(), Some(1 << 19));
        let empty = Status(Vec::new());
        assert_eq!(
            (empty.effective_uid(), &*empty.name()),
            (None, OsStr::new(""))
        );
        assert_eq!(empty.pending_signals(), SignalSet::EMPTY);
    }

    #[test]
    fn arguments_end_with_a_nul_and_titles_with_many() {
        assert_eq!(split_arguments(b"sleep\x009\0"), ["sleep", "9"]);
        assert_eq!(split_arguments(b"sh\0-c\0\0x\0"), ["sh", "-c", "", "x"]);
        assert_eq!(split_arguments(b"title: idle\0\0\0\0"), ["title: idle"]);
        assert_eq!(split_arguments(b"no end"), ["no end"]);
        assert!(split_arguments(b"").is_empty() && split_arguments(b"\0\0").is_empty());
    }

    #[test]
    fn this_process_is_young_and_runs_as_this_user() {
        let own = ProcessInfo::read(getpid()).expect("this process exists");
        assert!(own.age().is_some_and(|age| age < Duration::from_secs(3600)));
        assert_eq!(own.uid, Some(geteuid().as_raw()));
        assert_eq!(comm(getpid()).expect("a name"), own.name.as_bytes());
        assert!(!command_line(getpid()).is_empty());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            split_arguments(&bytes);
            let status = Status(bytes);
            let _ = (status.name(), status.effective_uid(), status.ns_pid(), status.pending_signals());
        }
    }
}
