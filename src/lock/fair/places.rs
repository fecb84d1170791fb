//! A bounded queue: a process waits for the lock only if fewer than N processes wait already.
//!
//! A process that waits has a *place*: a byte far beyond any data that it has locked with an open
//! file description lock. The byte belongs to a private open file description, so the kernel gives
//! the place up when the process dies, however it dies. The offset of the byte names the process.
//!
//! ```text
//! bit    60  59  58 … 22   21 … 0
//! mutex   1   0   0        0
//! probe   1   0   1        pid
//! place   1   1   number   pid
//! ```
//!
//! *Race:* two processes that count the places and find one left would both take it. Therefore
//! places are counted and taken while the process has locked one more byte, the mutex. That is a
//! write lock, for which processes block in the kernel, and it requires a file that can be opened
//! for writing. (Read locks alone cannot decide which of two processes was first.) The lock itself
//! cannot be the mutex, as for slots: while processes queue, it is held.
//!
//! *Race:* places are given up at any time, without the mutex. Those that were found were all there
//! when the count began, because none is added meanwhile. So if there are N, there was a moment at
//! which N processes waited, and the refusal is right. Otherwise at most the number that was found
//! are left at the end of the count, and with ours there are not more than N.
//!
//! *Race:* the kernel's table shows the processes that wait without a place, and also those with
//! one. A process in the table that waited with a place still had it when the table was read,
//! because it gives it up after it has stopped waiting; and it had it when the places were counted
//! before, because none was added. So all others have no place. The places are looked at again after
//! the table: those that are still there were there together with the processes in the table.
//!
//! A process with a place may just have been granted the lock, and counts until it gives the place
//! up. It has not begun its work by then, so the caller that is refused because of it has not missed anything.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode as Permissions, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, getpid};

use super::marker::{PLACE_RANGE, TICKET_RANGE};
use super::ticket::{self, EMULATED_FLOCK, FOREIGN_LOCK, REFUSED_LOCK};
use crate::lock::advisory::{self, LockApi};
use crate::lock::{AcquireError, Acquired, Deadline, Mode, Refusal};
use crate::sys::ofd::{self, Blocking, Operation};
use crate::sys::procfs::fdinfo::FdInfo;
use crate::sys::procfs::locks::{self, FileKey, LockState, LockType, TableRead};
use crate::sys::procfs::own_fd_path;
use crate::sys::procfs::stat;
use crate::sys::procfs::status::Status;

/// The byte that is locked while places are counted.
const MUTEX: i64 = *PLACE_RANGE.start();

const PID_BITS: u32 = 22;
const PID_MASK: i64 = (1 << PID_BITS) - 1;

/// The first byte of the places. It is never one itself, because no process has PID 0.
const FIRST: i64 = MUTEX | 1 << 59;
const LAST: i64 = *PLACE_RANGE.end();

/// The first of the bytes with which processes try the file out, each with one of its own.
const PROBE: i64 = MUTEX | 1 << PID_BITS;

/// How many bytes that name this process are tried: processes in other PID namespaces may have the
/// same PID.
const MAX_COLLISIONS: i64 = 1 << 16;

/// How many tickets are examined. Any process that can read the file can set any number of them.
const MAX_TICKETS: usize = 1024;

/// Acquires a lock by `lock`, which waits until the deadline that it is given, if the lock is free or
/// fewer than `limit` processes wait for it.
///
/// # Errors
///
/// Those of `lock`; no locks or descriptors are left; [`AcquireError::PlacesUnsupported`].
#[cold]
#[inline(never)]
pub(in crate::lock) fn acquire(
    fd: BorrowedFd<'_>,
    limit: u32,
    mode: Mode,
    deadline: &Deadline,
    lock: &mut dyn FnMut(&Deadline) -> Result<Acquired<()>, AcquireError>,
) -> Result<Acquired<()>, AcquireError> {
    if mode == Mode::Unlocked {
        return lock(deadline);
    }
    // Also if the lock is free: whether a file can have places must not depend on that.
    let file = open_supported(fd)?;
    let outcome = lock(&Deadline::Immediate)?;
    if outcome == Acquired::Held(()) || matches!(deadline, Deadline::Immediate) {
        return Ok(outcome);
    }
    match Place::take(file, limit, deadline)? {
        Acquired::Held(_place) => lock(deadline),
        Acquired::NotHeld(refusal) => Ok(Acquired::NotHeld(refusal)),
    }
}

/// A place in the queue, which is given up when it is dropped.
struct Place(OwnedFd);

impl Drop for Place {
    fn drop(&mut self) {
        // Releasing a lock does not fail. A child that could not close its descriptors may have
        // inherited this one, so that closing it would not be enough.
        let _ = ofd::set(self.0.as_fd(), Operation::Unlock, FIRST, 0, Blocking::No);
    }
}

impl Place {
    fn take(
        file: OwnedFd,
        limit: u32,
        deadline: &Deadline,
    ) -> Result<Acquired<Self>, AcquireError> {
        let mutex = LockApi::Ofd {
            start: MUTEX,
            length: 1,
        };
        let outcome = advisory::acquire(file.as_fd(), mutex, Mode::Exclusive, deadline, &mut || {});
        match outcome.map_err(as_queue_error)? {
            Acquired::Held(()) => {}
            // `file` is private, so nothing remains locked.
            Acquired::NotHeld(refusal) => return Ok(Acquired::NotHeld(refusal)),
        }
        if is_full(file.as_fd(), limit as usize)? {
            return Ok(Acquired::NotHeld(Refusal::QueueFull));
        }
        let set = |operation, offset| ofd::set(file.as_fd(), operation, offset, 1, Blocking::No);
        let mut numbers = 0..MAX_COLLISIONS;
        let taken = numbers.find_map(|number| {
            match set(Operation::Write, FIRST | number << PID_BITS | own_pid()) {
                Err(Errno::AGAIN) => None,
                other => Some(other),
            }
        });
        taken.unwrap_or(Err(Errno::NOLCK)).map_err(place_error)?;
        set(Operation::Unlock, MUTEX).map_err(place_error)?;
        Ok(Acquired::Held(Self(file)))
    }
}

/// Opens the file again, for the locks that are places, if it can have any.
fn open_supported(fd: BorrowedFd<'_>) -> Result<OwnedFd, AcquireError> {
    let unsupported = |reason| Err(AcquireError::PlacesUnsupported(reason));
    if let Some(reason) = ticket::unsupported_file_reason(fd) {
        return unsupported(reason);
    }
    let Ok(stat) = rustix::fs::fstat(fd) else {
        return unsupported("the file cannot be examined");
    };
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return unsupported("a directory cannot be opened for writing");
    }
    // An empty file contains no program. On vfat, for instance, every file is executable.
    if stat.st_mode & 0o111 != 0 && stat.st_size > 0 {
        return unsupported("an executable file cannot be executed while it is open for writing");
    }
    let path = own_fd_path(fd.as_raw_fd());
    // With O_NONBLOCK, a lease does not block open(2).
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = match rustix::fs::open(&path, flags, Permissions::empty()) {
        Ok(file) => file,
        Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => {
            return Err(AcquireError::Queue(errno.into()));
        }
        Err(Errno::NOENT) => return unsupported("the file cannot be reopened through /proc"),
        Err(_) => return unsupported("the file cannot be opened for writing"),
    };
    let foreign = || ticket::foreign_lock_reason(file.as_fd(), FIRST);
    if let Some(reason) = ticket::refused_lock_reason(file.as_fd()).or_else(foreign) {
        return unsupported(reason);
    }
    let probe = PROBE | own_pid();
    match ofd::set(file.as_fd(), Operation::Write, probe, 1, Blocking::No) {
        Ok(()) => {}
        // A process with the same PID in another PID namespace is just trying the file out.
        Err(Errno::AGAIN) => return Ok(file),
        Err(errno) => return Err(place_error(errno)),
    }
    let is_independent = ticket::is_independent_of_flock(file.as_fd(), probe, fd);
    ofd::set(file.as_fd(), Operation::Unlock, probe, 1, Blocking::No).map_err(place_error)?;
    match is_independent {
        true => Ok(file),
        false => unsupported(EMULATED_FLOCK),
    }
}

fn place_error(errno: Errno) -> AcquireError {
    match errno {
        Errno::ACCESS | Errno::PERM => AcquireError::PlacesUnsupported(REFUSED_LOCK),
        _ => AcquireError::Queue(errno.into()),
    }
}

/// Errors of the lock call on the mutex are not those of the lock.
fn as_queue_error(error: AcquireError) -> AcquireError {
    match error {
        AcquireError::Lock(error) => AcquireError::Queue(error),
        other => other,
    }
}

/// Whether at least `limit` processes wait for the lock. The caller has locked the mutex.
fn is_full(file: BorrowedFd<'_>, limit: usize) -> Result<bool, AcquireError> {
    let places = find_places(file, limit)?;
    if places.len() >= limit {
        return Ok(true);
    }
    let pids: Vec<Pid> = places.iter().filter_map(|place| pid_of(*place)).collect();
    let others = waiters_without_place(file, &pids, limit);
    let is_left = |place: &&i64| matches!(ofd::conflict(file, **place, **place), Ok(Some(_)));
    Ok(others > 0 && others + places.iter().filter(is_left).count() >= limit)
}

fn own_pid() -> i64 {
    getpid().as_raw_nonzero().get().into()
}

fn pid_of(place: i64) -> Option<Pid> {
    Pid::from_raw((place & PID_MASK) as i32)
}

/// Returns the places of other processes, at most `limit` of them.
fn find_places(file: BorrowedFd<'_>, limit: usize) -> Result<Vec<i64>, AcquireError> {
    let mut found = Vec::new();
    let mut ranges = vec![(FIRST, LAST)];
    while let Some((first, last)) = ranges.pop() {
        if first > last || found.len() >= limit {
            continue;
        }
        match ofd::conflict(file, first, last).map_err(place_error)? {
            None => {}
            Some((offset, 1)) if (first..=last).contains(&offset) => {
                found.push(offset);
                ranges.extend([(first, offset - 1), (offset + 1, last)]);
            }
            Some(_) => return Err(AcquireError::PlacesUnsupported(FOREIGN_LOCK)),
        }
    }
    Ok(found)
}

/// Counts the processes that wait for the lock without a place, as far as the kernel shows them:
/// those that are blocked in flock(2), and those that wait for their turn with a
/// [ticket](super::ticket). `owners` are the processes with a place.
fn waiters_without_place(file: BorrowedFd<'_>, owners: &[Pid], limit: usize) -> usize {
    // Our own lock shows how the table identifies the file.
    let info = FdInfo::read_own(file).unwrap_or_default();
    let Some(key) = info.locks.first().map(|lock| lock.file) else {
        return 0;
    };
    let mut blocked = Vec::new();
    // A table that is read in pieces may lack some of them, but never shows too many.
    for _ in 0..locks::MAX_TORN_READS {
        let (found, is_complete) = blocked_without_place(key, owners, limit);
        if found.len() > blocked.len() {
            blocked = found;
        }
        if is_complete || blocked.len() >= limit {
            break;
        }
    }
    for sentinel in sentinels(file) {
        let Some(owner) = stat::parent(sentinel) else {
            continue;
        };
        if blocked.len() < limit && !blocked.contains(&owner) && !has_place(owner, owners) {
            blocked.push(owner);
        }
    }
    blocked.len()
}

/// Returns the processes without a place that are blocked in flock(2) on the file, and whether the
/// table was read at one moment. A table that cannot be read shows none.
fn blocked_without_place(key: FileKey, owners: &[Pid], limit: usize) -> (Vec<Pid>, bool) {
    let mut blocked = Vec::new();
    let read = locks::read_table(&mut |record| {
        let is_waiter = record.file == key
            && (record.state, record.lock_type) == (LockState::Blocked, LockType::Flock);
        if let (true, Some(pid)) = (is_waiter, record.pid)
            && !blocked.contains(&pid)
            && !has_place(pid, owners)
        {
            blocked.push(pid);
        }
        match blocked.len() >= limit {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    (blocked, read != Ok(TableRead::Torn))
}

/// Whether a process has a place. A place contains the PID in the process's own PID namespace.
fn has_place(pid: Pid, owners: &[Pid]) -> bool {
    owners.contains(&pid)
        || !owners.is_empty()
            && Status::read(pid)
                .and_then(|status| status.ns_pid())
                .is_some_and(|inner| owners.contains(&inner))
}

/// Returns the sentinels that tickets name, as far as they are processes here.
fn sentinels(file: BorrowedFd<'_>) -> Vec<Pid> {
    let mut found = Vec::new();
    let mut ranges = vec![TICKET_RANGE.into_inner()];
    let mut calls = 0;
    while let Some((first, last)) = ranges.pop() {
        calls += 1;
        if first > last || calls > MAX_TICKETS {
            continue;
        }
        if let Ok(Some((offset, 1))) = ofd::conflict(file, first, last)
            && (first..=last).contains(&offset)
        {
            found.extend(super::owner::sentinel_of(offset));
            ranges.extend([(first, offset - 1), (offset + 1, last)]);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::super::marker::Marker;
    use super::*;

    fn reopen(file: &File) -> OwnedFd {
        open_supported(file.as_fd()).expect("a file that can have places")
    }

    fn take(file: &File, limit: u32) -> Acquired<Place> {
        Place::take(reopen(file), limit, &Deadline::Never).expect("no error")
    }

    #[test]
    fn places_are_taken_up_to_the_limit_and_given_up() {
        let file = tempfile::tempfile().expect("a temporary file");
        let is_refused =
            |limit| matches!(take(&file, limit), Acquired::NotHeld(Refusal::QueueFull));
        assert!(is_refused(0));
        let mut places: Vec<_> = (0..3).map(|_| take(&file, 3)).collect();
        assert!(
            places
                .iter()
                .all(|place| matches!(place, Acquired::Held(_)))
        );
        assert!(is_refused(3) && is_refused(1) && !is_refused(4));
        places.remove(1);
        assert!(!is_refused(3) && is_refused(2));
        let own = getpid();
        let found = find_places(file.as_fd(), 9).expect("no foreign lock");
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|place| pid_of(*place) == Some(own)));
    }

    #[test]
    fn places_are_not_markers() {
        for offset in [MUTEX, PROBE, FIRST, FIRST | 4711, LAST] {
            assert!(PLACE_RANGE.contains(&offset));
            assert_eq!(Marker::from_offset(offset), None, "{offset:#x}");
        }
    }

    #[test]
    fn a_lock_on_all_bytes_leaves_no_places() {
        let file = tempfile::tempfile().expect("a temporary file");
        let other = reopen(&file);
        ofd::set(other.as_fd(), Operation::Write, 0, 0, Blocking::No).expect("no conflict");
        let refused = open_supported(file.as_fd());
        assert!(matches!(
            refused,
            Err(AcquireError::PlacesUnsupported(FOREIGN_LOCK))
        ));
    }
}
