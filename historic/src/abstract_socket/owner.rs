//! The process that owns a name, as far as `/proc` shows it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::name::Name;
use fdlock::sys::procfs::{self, net_unix::sockets_bound_to};

/// How long the process is searched for. Other users can have any number of descriptors.
const MAX_TIME: Duration = Duration::from_millis(500);

/// Returns the process that has the name. If there are several, it is the one with the lowest PID,
/// which is the process that acquired the name and not one that it started, unless PIDs have
/// wrapped around in the meantime.
///
/// Returns `None` if that is unknown: no process has the name any more, or the process belongs to
/// another user or another PID namespace, there is no `/proc`, or there are too many descriptors. The table of sockets does not
/// distinguish a NUL from `@`, nor a newline in a name from the end of a line; use the result for
/// messages only.
///
/// # References
///
/// proc_net_unix(5), proc_pid_fd(5).
pub fn owner(name: &Name) -> Option<Pid> {
    let end = Instant::now() + MAX_TIME;
    let sockets = sockets_bound_to(&name.addresses()).ok()?;
    let mut pids = procfs::pids().ok()?;
    pids.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
    pids.into_iter().find(|pid| has_open(*pid, &sockets, end))
}

/// Returns whether the process has one of the sockets open. Only root can see the descriptors of
/// other users' processes.
fn has_open(pid: Pid, sockets: &[Vec<u8>], end: Instant) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())) else {
        return false;
    };
    descriptors
        .flatten()
        .take_while(|_| Instant::now() < end)
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .any(|target| {
            let target = target.as_os_str().as_bytes();
            sockets.iter().any(|socket| socket == target)
        })
}
