//! Tickets: places in the queue of the processes that lock a file in arrival order.
//!
//! A ticket is published by a [marker](super::marker) that a private open file description holds.
//! Other waiters wait for the exit of the [`Sentinel`] that the marker names, because the waiter
//! itself may run for a long time after it has acquired the lock.

use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode as Permissions, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open};

use super::marker::{ArrivalTime, Marker, SLOT_RANGE, TICKET_RANGE};
use crate::lock::advisory::Meaning;
use crate::lock::{AcquireError, Mode};
use crate::sys::filesystem::Locality;
use crate::sys::ofd::{self, Blocking, Operation};
use crate::sys::procfs;
use crate::sys::procfs::stat::Stat;
use crate::sys::procfs::status::comm;
use crate::sys::sentinel::{self, Sentinel};

/// A place in the queue, which is given up when the ticket is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    arrived: ArrivalTime,
    mode: Mode,
    operation: Operation,
    /// The offset of the marker.
    pub(super) offset: i64,
    /// The open file description that belongs to the ticket alone. Declared before the sentinel, so
    /// that its exit wakes waiters only after the marker is gone.
    pub(super) file: OwnedFd,
    /// poll(2) reports it as readable if the sentinel has been killed. `None` where there are no
    /// pidfds: before Linux 5.3, and in some sandboxes.
    pub(super) sentinel_pidfd: Option<OwnedFd>,
    pub(super) sentinel: Sentinel,
}

impl Ticket {
    /// Issues a ticket to a waiter that arrived at this time. Returns `None` if the file cannot
    /// have a queue: see [`unsupported_reason`].
    ///
    /// The marker requires an open file description of its own, because that of the lock is shared
    /// with the caller, which keeps it, and with the command. The file is opened for reading or,
    /// where that is not permitted, for writing: a lock of fcntl(2) requires a descriptor that is
    /// open for the access that it grants, and which access a marker grants does not matter.
    ///
    /// # Errors
    ///
    /// No descriptors, locks, memory or processes are left.
    pub(super) fn issue(
        fd: BorrowedFd<'_>,
        arrived: ArrivalTime,
        mode: Mode,
    ) -> Result<Option<Self>, AcquireError> {
        let Some((file, operation)) = reopen(fd)? else {
            return Ok(None);
        };
        if children_in_other_pid_namespace() {
            return Ok(None);
        }
        let (sentinel, sentinel_pidfd) = start_sentinel()?;
        let pid = sentinel.pid;
        let offset = Marker::Ticket { arrived, mode, pid }.offset();
        match ofd::set(file.as_fd(), operation, offset, 1, Blocking::No) {
            Ok(()) => {}
            Err(errno) if Meaning::from_errno(errno) == Meaning::Exhausted => {
                return Err(AcquireError::Queue(errno.into()));
            }
            // Another program has locked all bytes that the file can ever have, or there are no
            // locks of fcntl(2).
            Err(_) => return Ok(None),
        }
        Ok(Some(Self {
            arrived,
            mode,
            operation,
            offset,
            file,
            sentinel_pidfd,
            sentinel,
        }))
    }

    /// Replaces a killed sentinel, and keeps the place in the queue. The new marker is set before
    /// the old one is removed, so that there always is one. (Adjacent markers may form one lock for
    /// a moment. A waiter that looks just then sees no marker, and sees it when it looks again
    /// after it has been granted the lock.)
    pub(super) fn respawn_sentinel(&mut self) -> Result<(), AcquireError> {
        let (sentinel, sentinel_pidfd) = start_sentinel()?;
        let (arrived, mode, pid) = (self.arrived, self.mode, sentinel.pid);
        let offset = Marker::Ticket { arrived, mode, pid }.offset();
        let set = |operation, offset| {
            ofd::set(self.file.as_fd(), operation, offset, 1, Blocking::No)
                .map_err(|errno| AcquireError::Queue(errno.into()))
        };
        set(self.operation, offset)?;
        if offset != self.offset {
            set(Operation::Unlock, self.offset)?;
        }
        self.offset = offset;
        self.sentinel_pidfd = sentinel_pidfd;
        self.sentinel = sentinel;
        Ok(())
    }
}

/// Starts a sentinel, and opens a pidfd for it where that is possible. Without a pidfd, the death of
/// the sentinel is not noticed, and the waiters behind it look for the marker instead.
fn start_sentinel() -> Result<(Sentinel, Option<OwnedFd>), AcquireError> {
    let sentinel = Sentinel::new().map_err(AcquireError::Queue)?;
    let pidfd = ok_unless_exhausted(pidfd_open(sentinel.pid, PidfdFlags::empty()))?;
    Ok((sentinel, pidfd))
}

/// Turns an error into `None`, unless it means that resources are exhausted.
fn ok_unless_exhausted<T>(result: Result<T, Errno>) -> Result<Option<T>, AcquireError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => {
            Err(AcquireError::Queue(errno.into()))
        }
        Err(_) => Ok(None),
    }
}

/// Opens the file of a descriptor again, and returns the fcntl(2) locks that the new descriptor
/// permits. Returns `None` if the file cannot, or must not, be opened.
fn reopen(fd: BorrowedFd<'_>) -> Result<Option<(OwnedFd, Operation)>, AcquireError> {
    if unsupported_file_reason(fd).is_some() {
        return Ok(None);
    }
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    // With O_NONBLOCK, a lease does not block open(2).
    let flags = OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let open = |access| rustix::fs::open(&path, flags | access, Permissions::empty());
    ok_unless_exhausted(match open(OFlags::RDONLY) {
        Err(Errno::ACCESS) => open(OFlags::WRONLY).map(|file| (file, Operation::Write)),
        other => other.map(|file| (file, Operation::Read)),
    })
}

/// The reason if a foreign lock covers the markers.
pub(super) const FOREIGN_LOCK: &str = "another program has locked the whole file with fcntl(2)";

/// The reason if a security module or a sandbox refuses the locks that are the markers.
pub(super) const REFUSED_LOCK: &str = "locks of fcntl(2) are not permitted here";

/// Returns why the file cannot have a queue, if there is a reason: why no ticket is issued.
pub fn unsupported_reason(fd: BorrowedFd<'_>) -> Option<&'static str> {
    if let Some(reason) = unsupported_file_reason(fd) {
        return Some(reason);
    }
    if children_in_other_pid_namespace() {
        return Some("new processes would start in another PID namespace");
    }
    let file = match reopen(fd) {
        Ok(Some((file, _))) => file,
        Ok(None) if procfs::own_pid().is_none() => {
            return Some("there is no /proc of this PID namespace");
        }
        Ok(None) => return Some("the file cannot be reopened through /proc"),
        Err(_) => return None,
    };
    let file = file.as_fd();
    refused_lock_reason(file).or_else(|| {
        match ofd::conflict(file, *TICKET_RANGE.start(), *TICKET_RANGE.end()) {
            Ok(None) => None,
            Ok(Some((offset, 1))) if Marker::from_offset(offset).is_some() => None,
            _ => Some(FOREIGN_LOCK),
        }
    })
}

/// Returns [`REFUSED_LOCK`] if locks of fcntl(2) are refused, whether or not the bytes are locked.
/// Security modules check every request, even one that releases a byte that is no marker, but not
/// the search for conflicts. Sandboxes may refuse either. The open file description must not be the
/// caller's, which may hold a lock on all bytes.
pub(super) fn refused_lock_reason(fd: BorrowedFd<'_>) -> Option<&'static str> {
    let unused = *SLOT_RANGE.start();
    let is_permitted = ofd::set(fd, Operation::Unlock, unused, 1, Blocking::No).is_ok()
        && ofd::conflict(fd, unused, unused).is_ok();
    (!is_permitted).then_some(REFUSED_LOCK)
}

/// Whether a child would be in another PID namespace (`unshare -p` without `-f`). The first child
/// is process 1 of that namespace, and no process can be created there after it has exited. The
/// first child may therefore be the command, but not a sentinel.
fn children_in_other_pid_namespace() -> bool {
    let namespace = |name| rustix::fs::stat(name).map(|stat| stat.st_ino);
    namespace("/proc/self/ns/pid_for_children") != namespace("/proc/self/ns/pid")
}

/// Returns why this file cannot have a queue, as far as that depends on the file.
pub(super) fn unsupported_file_reason(fd: BorrowedFd<'_>) -> Option<&'static str> {
    let Ok(stat) = rustix::fs::fstat(fd) else {
        return Some("the file cannot be examined");
    };
    // On a network file system flock(2) may become a lock of fcntl(2) on the whole file, with which
    // a marker would conflict.
    if Locality::from_fd_with(fd, &stat) != Locality::Local {
        return Some("the file system may be shared with other machines");
    }
    // Opening a device may have side effects.
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::Directory => None,
        _ => Some("not a regular file or directory"),
    }
}

/// Whether the queue of the file has any ticket.
pub(in crate::lock) fn has_waiters(fd: BorrowedFd<'_>) -> bool {
    find_marker(fd, &TICKET_RANGE).is_some()
}

/// Returns the nearest earlier ticket whose owner can take its turn. A stopped owner does not hold
/// up the waiters behind it while the lock is free.
pub(super) fn runnable_predecessor(fd: BorrowedFd<'_>, offset: i64) -> Option<i64> {
    let mut offset = offset;
    loop {
        offset = predecessor(fd, offset)?;
        if !is_owner_stopped(offset) {
            return Some(offset);
        }
    }
}

/// Whether the marker of a ticket still exists.
pub(super) fn marker_exists(fd: BorrowedFd<'_>, offset: i64) -> bool {
    find_marker(fd, &(offset..=offset)).is_some()
}

/// Returns the nearest earlier ticket. The kernel reports any marker in a range, not the nearest,
/// so the range is halved until there is nothing between the nearest known one and ours.
pub(super) fn predecessor(fd: BorrowedFd<'_>, offset: i64) -> Option<i64> {
    predecessor_ranges(offset).find_map(|range| {
        let mut high = *range.end();
        let mut best = find_marker(fd, &range)?;
        while let Some(found) = find_marker(fd, &(best + 1..=high)) {
            best = found;
            let middle = best + (high - best) / 2 + 1;
            match find_marker(fd, &(middle..=high)) {
                Some(found) => best = found,
                None => high = middle - 1,
            }
        }
        Some(best)
    })
}

/// Returns the offsets of the tickets that arrived before this one, the nearest range first.
/// Arrival times wrap around, so one half of them counts as earlier than any of them, the other
/// half as later.
fn predecessor_ranges(offset: i64) -> impl Iterator<Item = RangeInclusive<i64>> {
    const HALF: i64 = 1 << 61;
    let (first, last) = TICKET_RANGE.into_inner();
    let ranges = if offset - first >= HALF {
        [Some(offset - HALF..=offset - 1), None]
    } else {
        [Some(first..=offset - 1), Some(offset + HALF..=last)]
    };
    ranges.into_iter().flatten()
}

/// Returns the offset of any ticket in the range. Other locks in the range do not count.
fn find_marker(fd: BorrowedFd<'_>, range: &RangeInclusive<i64>) -> Option<i64> {
    if range.is_empty() {
        return None;
    }
    match ofd::conflict(fd, *range.start(), *range.end()) {
        Ok(Some((offset, 1))) if range.contains(&offset) => Some(offset),
        _ => None,
    }
}

/// Returns the sentinel of a ticket, or `None` if it is in another PID namespace and its PID
/// belongs to an unrelated process here.
pub(super) fn sentinel_of(offset: i64) -> Option<Pid> {
    match Marker::from_offset(offset) {
        Some(Marker::Ticket { pid, .. }) if may_be_sentinel(pid) => Some(pid),
        _ => None,
    }
}

/// Whether the owner of a ticket is stopped, by a signal or a debugger. A hidden owner is not.
pub(super) fn is_owner_stopped(offset: i64) -> bool {
    sentinel_of(offset)
        .and_then(Stat::read)
        .and_then(|sentinel| Pid::from_raw(sentinel.parent))
        .and_then(Stat::read)
        .is_some_and(|owner| matches!(owner.state, b'T' | b't'))
}

/// Whether a process has the name of a sentinel. A hidden process may be one. In the `/proc` of
/// another PID namespace, the PID is that of an unrelated process.
fn may_be_sentinel(pid: Pid) -> bool {
    comm(pid).map_or(true, |name| name == sentinel::NAME.to_bytes())
        && procfs::own_pid().is_none_or(|pid| pid == getpid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_offsets_are_earlier() {
        let (first, last) = TICKET_RANGE.into_inner();
        let is_earlier =
            |offset, than| predecessor_ranges(than).any(|range| range.contains(&offset));
        let quarter = 1_i64 << 60;
        let quarters = (0..4).map(|count| first + count * quarter);
        for offset in quarters.chain([last]) {
            assert!(!is_earlier(offset, offset));
            let before =
                |distance: i64| first + ((offset - first) - distance).rem_euclid(last - first);
            assert!(is_earlier(before(quarter), offset), "{offset:#x}");
            assert!(!is_earlier(before(3 * quarter), offset), "{offset:#x}");
        }
    }

    #[test]
    fn the_predecessor_is_found_among_many() {
        let file = tempfile::tempfile().expect("a temporary file");
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let other = std::fs::File::options().read(true).open(path);
        let other = other.expect("a second open file description");
        let first = *TICKET_RANGE.start();
        let last = i64::MAX - 1 - first;
        // Adjacent bytes would become one lock, because they have the same owner.
        for distance in [1, 3, 1 << 40, 1 << 50, last] {
            let offset = first + distance;
            ofd::set(other.as_fd(), Operation::Read, offset, 1, Blocking::No).expect("no conflict");
        }
        for (distance, expected) in [
            (1, last),
            (3, 1),
            (4, 3),
            (1 << 50, 1 << 40),
            (1 << 60, 1 << 50),
        ] {
            let found = predecessor(file.as_fd(), first + distance);
            assert_eq!(found, Some(first + expected), "{distance}");
        }
        assert!(has_waiters(file.as_fd()) && marker_exists(file.as_fd(), first + 3));
        assert!(!marker_exists(file.as_fd(), first + 4));
    }
}
