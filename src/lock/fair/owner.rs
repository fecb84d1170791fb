//! The owners of tickets: whether a marker is that of a waiter that can take its turn.
//!
//! Every process that can open the file can set markers that name any process. A marker counts only
//! if the process that it names is a sentinel whose parent holds the marker, as far as that can be
//! seen: the descriptors of other users' processes are visible only to root. And they can have any
//! number of processes, descriptors and locks, so all searches among these end in time.

use std::ops::ControlFlow;
use std::os::fd::RawFd;
use std::time::Instant;

use rustix::io::Errno;
use rustix::process::{Pid, getpid};

use super::marker::Marker;
use crate::sys::procfs::fdinfo;
use crate::sys::procfs::locks::{LockRecord, LockType};
use crate::sys::procfs::stat::{Stat, age};
use crate::sys::procfs::status::{Status, comm};
use crate::sys::procfs::{self, access};
use crate::sys::sentinel;

/// Caches the owners of tickets. They change, so the cache must not outlive one search.
pub(super) struct Owners {
    /// When to stop searching.
    end: Instant,
    /// What a sentinel is that has not been found by then: it is hidden, or absent if it is better
    /// to overlook it.
    late: Owner,
    /// The sentinel that was looked up last, because forged markers tend to name one process.
    last: Option<(Pid, Owner)>,
    /// See [`sentinels_elsewhere`].
    elsewhere: Option<Elsewhere>,
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
    pub(super) fn new(end: Instant) -> Self {
        Self {
            end,
            late: Owner::Hidden,
            last: None,
            elsewhere: None,
        }
    }

    /// Creates owners of which some may be overlooked, because there is little time.
    pub(super) fn overlooking(end: Instant) -> Self {
        Self {
            late: Owner::Absent,
            ..Self::new(end)
        }
    }

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
                    && !(verify && holds_marker(owner, offset, self.end) == Some(false))
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
        let search = || sentinels_elsewhere(self.end);
        match self.elsewhere.get_or_insert_with(search) {
            Elsewhere::Unknown => Owner::Hidden,
            Elsewhere::Late => self.late,
            Elsewhere::Known(pids) if pids.contains(&sentinel) => Owner::Hidden,
            Elsewhere::Known(_) => Owner::Absent,
        }
    }
}

/// The most descriptors of a process that are examined.
const MAX_FDS: usize = 512;

/// Whether a process holds a marker. Returns `None` if that cannot be seen, or not in time.
///
/// *Race:* a ticket that ends just now, or whose sentinel is being replaced, is not found: see
/// [`Ticket::respawn_sentinel`](super::ticket::Ticket::respawn_sentinel).
fn holds_marker(owner: Pid, offset: i64, end: Instant) -> Option<bool> {
    /// How many locks are read before the time is checked.
    const CHECK_INTERVAL: u32 = 64;
    let dir = procfs::process_dir(owner);
    let fds = procfs::first_numeric_entries(&format!("{dir}/fdinfo"), MAX_FDS + 1).ok()?;
    // The descriptors of a process are not visible once its main thread has exited.
    if fds.is_empty() || fds.len() > MAX_FDS {
        return None;
    }
    // The file of the ticket is one of the last that a waiter opens.
    let is_marker = |lock: &LockRecord| {
        lock.lock_type == LockType::Ofd && (lock.first..=lock.last).contains(&offset)
    };
    let (mut is_found, mut is_late, mut count) = (false, false, 0_u32);
    for fd in fds.into_iter().rev() {
        is_late |= Instant::now() >= end;
        if is_late {
            return None;
        }
        let visited = fdinfo::visit_locks(&dir, fd as RawFd, &mut |lock| {
            count = count.wrapping_add(1);
            is_found = is_marker(&lock);
            is_late = count.is_multiple_of(CHECK_INTERVAL) && Instant::now() >= end;
            match is_found || is_late {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        match visited {
            Ok(()) if is_found => return Some(true),
            Ok(()) | Err(Errno::NOENT | Errno::SRCH) => {}
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

/// The sentinels in other PID namespaces.
enum Elsewhere {
    /// Their PIDs, each in its own PID namespace, among those of all sentinels.
    Known(Vec<Pid>),
    /// They are not visible.
    Unknown,
    /// There was not enough time to look for them.
    Late,
}

fn sentinels_elsewhere(end: Instant) -> Elsewhere {
    if !procfs::is_initial_pid_namespace() || access::omits_processes() {
        return Elsewhere::Unknown;
    }
    let Ok(pids) = procfs::pids() else {
        return Elsewhere::Unknown;
    };
    let mut sentinels = Vec::new();
    for pid in pids {
        if Instant::now() >= end {
            return Elsewhere::Late;
        }
        match is_named_as_sentinel(pid) {
            Ok(true) => sentinels.extend(Status::read(pid).and_then(|status| status.ns_pid())),
            // The process has exited.
            Ok(false) | Err(Errno::NOENT | Errno::SRCH) => {}
            Err(_) => return Elsewhere::Unknown,
        }
    }
    Elsewhere::Known(sentinels)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;
    use crate::lock::Mode;
    use crate::lock::fair::marker::ArrivalTime;
    use crate::sys::ofd::{self, Blocking, Operation};
    use crate::sys::sentinel::Sentinel;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn ticket_of(pid: Pid) -> i64 {
        let (arrived, mode) = (ArrivalTime::now(), Mode::Exclusive);
        Marker::Ticket { arrived, mode, pid }.offset()
    }

    #[test]
    fn the_owner_of_a_sentinel_is_waiting_if_it_holds_the_marker() {
        let sentinel = Sentinel::new().expect("a process");
        let offset = ticket_of(sentinel.pid);
        let is_waiting = |verify| Owners::new(soon()).is_waiting(offset, verify);
        assert!(is_waiting(false) && !is_waiting(true));
        let in_no_time = Owners::new(Instant::now()).is_waiting(offset, true);
        assert!(in_no_time, "it may hold it");
        let file = tempfile::tempfile().expect("a temporary file");
        ofd::set(file.as_fd(), Operation::Read, offset, 1, Blocking::No).expect("no conflict");
        assert!(is_waiting(true));
    }

    #[test]
    fn a_process_with_another_name_has_no_ticket_where_all_are_visible() {
        // In a container, the PID may be that of a sentinel in another one.
        let is_all_visible = matches!(sentinels_elsewhere(soon()), Elsewhere::Known(_));
        let is_waiting = Owners::new(soon()).is_waiting(ticket_of(getpid()), true);
        assert_eq!(is_waiting, !is_all_visible);
    }

    #[test]
    fn processes_are_not_examined_when_the_time_is_over() {
        let now = Instant::now();
        assert!(!matches!(sentinels_elsewhere(now), Elsewhere::Known(_)));
        let is_waiting = |mut owners: Owners| {
            owners.elsewhere = Some(Elsewhere::Late);
            owners.is_waiting(ticket_of(getpid()), true)
        };
        assert!(is_waiting(Owners::new(now)));
        if procfs::shows_own_pids() {
            assert!(!is_waiting(Owners::overlooking(now)));
        }
    }
}
