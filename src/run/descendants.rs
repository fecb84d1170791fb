//! The processes that a command has left behind: the children of this process, and what `/proc`
//! shows of them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::Pid;

use crate::sys::process;
use crate::sys::procfs;
use crate::sys::procfs::status::{Status, command_line};

/// The highest PID that the kernel assigns: its `PID_MAX_LIMIT`.
const PID_MAX: i32 = 1 << 22;

/// Returns the children of this process, including those that have exited and were not reaped.
///
/// `/proc` lists the candidates. If it cannot, every possible PID is tried, which takes a second or
/// so. In both cases, the kernel decides which of them are children.
pub(super) fn children() -> Vec<Pid> {
    // The usual case, which must not take longer the more processes there are.
    if process::has_no_children() {
        return Vec::new();
    }
    let is_child = |pid: &Pid| process::is_child(*pid);
    match visible_pids() {
        Some(pids) => pids.into_iter().filter(is_child).collect(),
        None => (1..=PID_MAX)
            .filter_map(Pid::from_raw)
            .filter(is_child)
            .collect(),
    }
}

/// Returns the PIDs of all processes, or `None` if `/proc` cannot be relied on: it is not mounted,
/// it shows the PIDs of another namespace (a chroot under `unshare -p`), it hides processes of
/// other users (`hidepid`), or this process has no descriptor left to read it.
fn visible_pids() -> Option<Vec<Pid>> {
    if !procfs::shows_own_pids() || !Path::new(&procfs::process_dir(Pid::INIT)).exists() {
        return None;
    }
    procfs::pids().ok()
}

/// Returns whether a process is in the session of this process, or in one that the command has
/// created. All others count as daemons.
pub(super) fn in_session_of(pid: Pid, command: Option<Pid>) -> bool {
    let session = process::session_of(Some(pid));
    let of_command = command.map(|command| command.as_raw_nonzero().get());
    session == process::session_of(None) || session == of_command
}

/// Returns whether a process ignores the signal. A process that is started with `nohup`, or in the
/// background of a script, is meant to continue. If `/proc` does not show the process, it does not
/// count as ignoring.
pub(super) fn ignores(pid: Pid, signal: i32) -> bool {
    status(pid)
        .and_then(|status| status.ignored_signals())
        .is_some_and(|ignored| ignored.contains(signal))
}

/// Returns whether a process is stopped, or `/proc` does not show it.
pub(super) fn may_be_stopped(pid: Pid) -> bool {
    status(pid)
        .and_then(|status| status.state())
        .is_none_or(|state| state == b'T')
}

/// Returns whether a process runs one of these programs, from the directory of our own program,
/// but has replaced its name and its whole command line by this name.
///
/// A process started as one of the programs has arguments. So a process that calls itself so, in
/// whatever way, runs another program, or its command line shows how it was started.
pub(super) fn is_renamed_fork(pid: Pid, name: &str, programs: &[&str]) -> bool {
    let has_name = status(pid).is_some_and(|status| status.name() == OsStr::new(name));
    has_name && is_renamed(&command_line(pid), name) && runs_one_of(pid, programs)
}

/// Returns whether a command line consists of this name, or, if it was too short, of its beginning.
fn is_renamed(command_line: &[OsString], name: &str) -> bool {
    match command_line {
        [only] => !only.is_empty() && name.as_bytes().starts_with(only.as_bytes()),
        _ => false,
    }
}

fn runs_one_of(pid: Pid, programs: &[&str]) -> bool {
    let own = procfs::executable(rustix::process::getpid());
    let Some((own, other)) = own.zip(procfs::executable(pid)) else {
        return false;
    };
    own == other
        || own.parent() == other.parent()
            && programs
                .iter()
                .any(|name| other.file_name() == Some(OsStr::new(name)))
}

fn status(pid: Pid) -> Option<Status> {
    procfs::shows_own_pids().then(|| Status::read(pid))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_with_arguments_is_not_renamed() {
        let is_renamed = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            is_renamed(&words, "lock-keeper")
        };
        assert!(is_renamed(&["lock-keeper"]) && is_renamed(&["lock-ke"]));
        for words in [
            &[][..],
            &[""],
            &["lock-keepers"],
            &["./lock-keeper"],
            &["lock-keeper", "l", "true"],
        ] {
            assert!(!is_renamed(words), "{words:?}");
        }
    }
}
