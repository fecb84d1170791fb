//! Tickets: places in the queue of the processes that lock a file in arrival order.
//!
//! A ticket is published by a [marker](super::marker) that a private open file description holds.
//! Other waiters wait for the exit of the [`Sentinel`] that the marker names, because the waiter
//! itself may run for a long time after it has acquired the lock.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode as Permissions, OFlags};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open};

use super::marker::{ArrivalTime, Marker, SLOT_RANGE, TICKET_RANGE};
use crate::lock::advisory::{self, LockApi, Meaning};
use crate::lock::{AcquireError, Mode};
use crate::sys::filesystem::Locality;
use crate::sys::ofd::{self, Blocking, Operation};
use crate::sys::procfs;
use crate::sys::sentinel::Sentinel;

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
        if !is_independent_of_flock(file.as_fd(), offset, fd) {
            return Ok(None);
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
pub(super) fn reopen(fd: BorrowedFd<'_>) -> Result<Option<(OwnedFd, Operation)>, AcquireError> {
    if unsupported_file_reason(fd).is_some() {
        return Ok(None);
    }
    let path = procfs::own_fd_path(fd.as_raw_fd());
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

/// The reason if a lock of flock(2) covers the markers, too.
pub(super) const EMULATED_FLOCK: &str =
    "this file system turns locks of flock(2) into locks of fcntl(2)";

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
    let unused = *TICKET_RANGE.start();
    refused_lock_reason(file).or_else(|| {
        foreign_lock_reason(file, unused)?;
        // The lock may be the caller's own flock(2) lock, which is then not in its own way.
        foreign_lock_reason(fd, unused).or(Some(EMULATED_FLOCK))
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

/// Returns [`FOREIGN_LOCK`] if a byte that is never a marker, because it names no process, is
/// locked.
pub(super) fn foreign_lock_reason(fd: BorrowedFd<'_>, unused: i64) -> Option<&'static str> {
    let is_free = matches!(ofd::conflict(fd, unused, unused), Ok(None));
    (!is_free).then_some(FOREIGN_LOCK)
}

/// Whether a child would be in another PID namespace (`unshare -p` without `-f`). The first child
/// is process 1 of that namespace, and no process can be created there after it has exited. The
/// first child may therefore be the command, but not a sentinel.
fn children_in_other_pid_namespace() -> bool {
    let namespace = |name| rustix::fs::stat(name).map(|stat| stat.st_ino);
    namespace("/proc/self/ns/pid_for_children") != namespace("/proc/self/ns/pid")
}

/// Returns whether a marker of `file` exists, seen from another open file description, when the
/// flock(2) lock of `file` is released, which it does not hold.
///
/// Where that lock is one of fcntl(2) on all bytes (9p, which may have the type of a local file
/// system), the marker goes with it; what still covers its byte are locks on all bytes. There must be no markers there: each would be in the way of
/// the other waiters' locks, and two waiters would wait for each other.
pub(super) fn is_independent_of_flock(
    file: BorrowedFd<'_>,
    offset: i64,
    other: BorrowedFd<'_>,
) -> bool {
    let released = advisory::try_acquire(file, LockApi::Flock, Mode::Unlocked);
    released.is_ok() && ofd::conflict(other, offset, offset) == Ok(Some((offset, 1)))
}

/// Returns why this file cannot have a queue, as far as that depends on the file.
pub(super) fn unsupported_file_reason(fd: BorrowedFd<'_>) -> Option<&'static str> {
    let Ok(stat) = rustix::fs::fstat(fd) else {
        return Some("the file cannot be examined");
    };
    // On a network file system flock(2) may become a lock of fcntl(2) on the whole file, with which
    // a marker would conflict.
    if Locality::from_fd_with(fd, &stat) != Locality::Local {
        return Some("the file system is not known to be local to this machine");
    }
    // Opening a device may have side effects.
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::Directory => None,
        _ => Some("not a regular file or directory"),
    }
}
