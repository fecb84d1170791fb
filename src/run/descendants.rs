//! Whom a command has left behind: our children, and what `/proc` tells of them.

use std::fs;
use std::io;
use std::path::Path;

use rustix::process::Pid;

use crate::sys::process;
use crate::sys::signal::SignalSet;

/// The highest process number that the kernel gives: its `PID_MAX_LIMIT`.
const PID_MAX: i32 = 1 << 22;

/// Our children, those included that have ended and were not waited for.
///
/// Who there is at all is in `/proc`. Where that does not tell, every number that there can be is tried, which takes a
/// second or so. Whether it is a child of ours is the kernel's to say either way.
pub(super) fn children() -> Vec<Pid> {
    let is_child = |pid: &Pid| process::is_child(*pid);
    match numbers() {
        Some(numbers) => numbers.into_iter().filter(is_child).collect(),
        None => (1..=PID_MAX)
            .filter_map(Pid::from_raw)
            .filter(is_child)
            .collect(),
    }
}

/// Whether a process is in our session, or in one that the command has made. All others are those of daemons.
pub(super) fn in_session_of(pid: Pid, command: Option<Pid>) -> bool {
    let session = process::session_of(Some(pid));
    let made = command.map(|command| command.as_raw_nonzero().get());
    session == process::session_of(None) || session == made
}

/// The numbers of all processes. `None` where `/proc` cannot tell: it is not mounted, shows another namespace's numbers
/// (a chroot under `unshare -p`) or not everybody's (`hidepid`), or we have no descriptor left to look into it.
fn numbers() -> Option<Vec<Pid>> {
    if !shows_own_pids() || !Path::new("/proc/1").exists() {
        return None;
    }
    let number = |entry: io::Result<fs::DirEntry>| match entry {
        Ok(entry) => {
            let number = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            number.and_then(Pid::from_raw).map(Ok)
        }
        Err(error) => Some(Err(error)),
    };
    let entries = fs::read_dir("/proc").ok()?;
    entries
        .filter_map(number)
        .collect::<io::Result<Vec<_>>>()
        .ok()
}

/// Whether `/proc` has our own numbers.
fn shows_own_pids() -> bool {
    let us = rustix::process::getpid().as_raw_nonzero().to_string();
    fs::read_link("/proc/self").is_ok_and(|target| target == Path::new(&us))
}

/// Whether a process is deaf to the signal: whoever is started with `nohup`, or in the background of a script, is meant
/// to go on. Who cannot be asked is not.
pub(super) fn ignores(pid: Pid, signal: i32) -> bool {
    status(pid, "SigIgn:")
        .and_then(|set| u64::from_str_radix(&set, 16).ok())
        .is_some_and(|set| SignalSet::from_bits(set).has(signal))
}

/// Whether a process is stopped, or cannot be asked.
pub(super) fn may_be_stopped(pid: Pid) -> bool {
    status(pid, "State:").is_none_or(|state| state.starts_with('T'))
}

/// Whether a process has this name.
pub(super) fn has_name(pid: Pid, name: &str) -> bool {
    status(pid, "Name:").is_some_and(|its| its == name)
}

/// A field of `/proc/PID/status`.
fn status(pid: Pid, field: &str) -> Option<String> {
    let file = format!("/proc/{}/status", pid.as_raw_nonzero());
    let text = shows_own_pids().then(|| fs::read(file).ok())??;
    let text = String::from_utf8_lossy(&text);
    let value = text.lines().find_map(|line| line.strip_prefix(field))?;
    Some(value.trim().to_owned())
}
