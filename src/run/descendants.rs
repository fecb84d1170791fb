//! The processes that a command has left behind: the children of this process, and what `/proc`
//! shows of them.

use std::ffi::OsStr;
use std::path::Path;

use rustix::process::Pid;

use crate::sys::process;
use crate::sys::procfs::{self, status::Status};

/// The highest PID that the kernel assigns: its `PID_MAX_LIMIT`.
const PID_MAX: i32 = 1 << 22;

/// Returns the children of this process, including those that have exited and were not reaped.
///
/// `/proc` lists the candidates. If it cannot, every possible PID is tried, which takes a second or
/// so. In both cases, the kernel decides which of them are children.
pub(super) fn children() -> Vec<Pid> {
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

/// Returns whether a process has this name.
pub(super) fn has_name(pid: Pid, name: &str) -> bool {
    status(pid).is_some_and(|status| status.name() == OsStr::new(name))
}

fn status(pid: Pid) -> Option<Status> {
    procfs::shows_own_pids().then(|| Status::read(pid))?
}
