//! The owners of tickets: whether a marker is that of a waiter that can take its turn.
//!
//! Every process that can open the file can set markers that name any process. A marker counts only
//! if the process that it names is a sentinel whose parent holds the marker, as far as that can be
//! seen: the descriptors of other users' processes are visible only to root.

use std::ffi::CString;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::process::{Pid, getpid};

use super::marker::Marker;
use crate::sys::procfs::fdinfo::FdInfo;
use crate::sys::procfs::locks::{LockRecord, LockType};
use crate::sys::procfs::stat::{Stat, age};
use crate::sys::procfs::status::{Status, comm};
use crate::sys::procfs::{self, access};
use crate::sys::sentinel;

/// Caches the owners of tickets. They change, so the cache must not outlive one search.
#[derive(Default)]
pub(super) struct Owners {
    /// The sentinel that was looked up last, because forged markers tend to name one process.
    last: Option<(Pid, Owner)>,
    /// See [`sentinels_elsewhere`].
    elsewhere: Option<Option<Vec<Pid>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// The parent of the sentinel.
    Visible(Pid, Stat),
    /// The owner is in another PID namespace, or hidden.
    Hidden,
    /// No such sentinel exists.
    Absent,
}

impl Owners {
    /// Whether the ticket at an offset belongs to a waiter that can take its turn: it is not
    /// stopped, by a signal or a debugger, and the marker is not forged. A hidden owner can.
    ///
    /// No owner is younger than its ticket. Whether the owner has the marker is checked only if
    /// `verify` is set, because a process may have many descriptors and locks.
    pub(super) fn is_waiting(&mut self, offset: i64, verify: bool) -> bool {
        let Some(Marker::Ticket { pid, arrived, .. }) = Marker::from_offset(offset) else {
            return false;
        };
        match self.owner(pid) {
            Owner::Visible(owner, stat) => {
                let is_runnable = match stat.state {
                    b'T' | b't' => false,
                    b'Z' | b'X' => stat.threads > 1,
                    _ => true,
                };
                is_runnable
                    && !arrived.is_before_start(age(stat.start))
                    && !(verify && holds_marker(owner, offset) == Some(false))
            }
            Owner::Hidden => true,
            Owner::Absent => false,
        }
    }

    fn owner(&mut self, sentinel: Pid) -> Owner {
        match self.last {
            Some((pid, owner)) if pid == sentinel => owner,
            _ => {
                let owner = self.look_up(sentinel);
                self.last = Some((sentinel, owner));
                owner
            }
        }
    }

    /// A sentinel that was killed is a zombie with its name until its owner has replaced it.
    fn look_up(&mut self, sentinel: Pid) -> Owner {
        if !procfs::shows_own_pids() {
            return Owner::Hidden;
        }
        if is_named_as_sentinel(sentinel) == Ok(true) {
            let parent = Stat::read(sentinel).and_then(|stat| Pid::from_raw(stat.parent));
            let parent = parent.and_then(|pid| Some((pid, Stat::read(pid)?)));
            return parent.map_or(Owner::Hidden, |(pid, stat)| Owner::Visible(pid, stat));
        }
        let elsewhere = self.elsewhere.get_or_insert_with(sentinels_elsewhere);
        match elsewhere {
            Some(pids) if !pids.contains(&sentinel) => Owner::Absent,
            _ => Owner::Hidden,
        }
    }
}

/// The most descriptors of a process that are examined.
const MAX_FDS: usize = 512;

/// Whether a process holds a marker. Returns `None` if that cannot be seen.
///
/// *Race:* a ticket that ends just now, or whose sentinel is being replaced, is not found: see
/// [`Ticket::respawn_sentinel`](super::ticket::Ticket::respawn_sentinel).
fn holds_marker(owner: Pid, offset: i64) -> Option<bool> {
    let dir = format!("{}/fdinfo", procfs::process_dir(owner));
    let fds = procfs::numeric_entries(&dir).ok()?;
    // The descriptors of a process are not visible once its main thread has exited.
    if fds.is_empty() || fds.len() > MAX_FDS {
        return None;
    }
    // The file of the ticket is one of the last that a waiter opens.
    for fd in fds.into_iter().rev() {
        let path = CString::new(format!("{dir}/{fd}")).ok()?;
        let is_marker = |lock: &LockRecord| {
            lock.lock_type == LockType::Ofd && (lock.first..=lock.last).contains(&offset)
        };
        match FdInfo::read_at(CWD, &path, &|_| true) {
            Ok(info) if info.locks.iter().any(is_marker) => return Some(true),
            Ok(_) | Err(Errno::NOENT | Errno::SRCH) => {}
            Err(_) => return None,
        }
    }
    Some(false)
}

/// Returns the process that a ticket names, or `None` if that is not a sentinel here: it is in
/// another PID namespace, and its PID belongs to an unrelated process here. A hidden process may be
/// a sentinel.
pub(super) fn sentinel_of(offset: i64) -> Option<Pid> {
    match Marker::from_offset(offset) {
        Some(Marker::Ticket { pid, .. }) if may_be_sentinel(pid) => Some(pid),
        _ => None,
    }
}

fn may_be_sentinel(pid: Pid) -> bool {
    is_named_as_sentinel(pid) != Ok(false) && procfs::own_pid().is_none_or(|pid| pid == getpid())
}

/// Whether a process has the name of a sentinel.
fn is_named_as_sentinel(pid: Pid) -> Result<bool, Errno> {
    match comm(pid) {
        Ok(name) => Ok(name == sentinel::NAME.to_bytes()),
        Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::ACCESS)),
    }
}

/// Returns the PIDs of all sentinels, each in its own PID namespace. Returns `None` if there may be
/// others that are not visible.
fn sentinels_elsewhere() -> Option<Vec<Pid>> {
    if !procfs::is_initial_pid_namespace() || access::omits_processes() {
        return None;
    }
    let mut sentinels = Vec::new();
    for pid in procfs::pids().ok()? {
        match is_named_as_sentinel(pid) {
            Ok(true) => sentinels.extend(Status::read(pid).and_then(|status| status.ns_pid())),
            // The process has exited.
            Ok(false) | Err(Errno::NOENT | Errno::SRCH) => {}
            Err(_) => return None,
        }
    }
    Some(sentinels)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::lock::Mode;
    use crate::lock::fair::marker::ArrivalTime;
    use crate::sys::ofd::{self, Blocking, Operation};
    use crate::sys::sentinel::Sentinel;

    fn ticket_of(pid: Pid) -> i64 {
        let (arrived, mode) = (ArrivalTime::now(), Mode::Exclusive);
        Marker::Ticket { arrived, mode, pid }.offset()
    }

    #[test]
    fn the_owner_of_a_sentinel_is_waiting_if_it_holds_the_marker() {
        let sentinel = Sentinel::new().expect("a process");
        let offset = ticket_of(sentinel.pid);
        let is_waiting = |verify| Owners::default().is_waiting(offset, verify);
        assert!(is_waiting(false) && !is_waiting(true));
        let file = tempfile::tempfile().expect("a temporary file");
        ofd::set(file.as_fd(), Operation::Read, offset, 1, Blocking::No).expect("no conflict");
        assert!(is_waiting(true));
    }

    #[test]
    fn a_process_with_another_name_has_no_ticket_where_all_are_visible() {
        // In a container, the PID may be that of a sentinel in another one.
        let is_all_visible = sentinels_elsewhere().is_some();
        let is_waiting = Owners::default().is_waiting(ticket_of(getpid()), true);
        assert_eq!(is_waiting, !is_all_visible);
    }
}
