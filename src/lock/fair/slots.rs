//! Slots: at most N holders at a time, in arrival order.
//!
//! A slot is a [marker](super::marker) that the holder's own open file description holds. The
//! command inherits it, so the kernel releases the slot when the last process that holds it exits.
//!
//! *Race:* two processes that count the slots and find one free would both take it. Therefore slots
//! are counted and taken under the flock(2) lock on the same file, which is held for just that
//! long. Slots are released without it, at any time.
//!
//! *Race:* a holder may have exited, and its PID may have been reused, before another process waits
//! for its exit. Therefore we look at the slots again after we have opened all pidfds. If a holder
//! has passed its slot to processes that inherited it, their exit cannot be waited for, and we look
//! again from time to time ([`POLL_INTERVAL`]).
//!
//! Every process that can open the file can set any number of markers, and each call that looks for
//! one takes time in proportion to their number. Therefore counting stops at the limit, and a count
//! that takes too long for the time that the flock(2) lock is held ([`MAX_LOCKED_TIME`]) goes on
//! without it: the process takes a slot first, releases the flock(2) lock, counts the others, and
//! gives the slot back if there are too many. *Race:* two processes that do so at the same time may
//! both find the limit reached, though there was a slot for one of them. But both cannot keep a
//! slot that only one may have: the one that set its marker later counts the other's.
//!
//! Processes with different limits each count all slots against their own limit. There is one
//! queue: the first waiter holds up those behind it until there are few enough holders for its
//! limit.
//!
//! A model visits all interleavings: see `docs/design/protocols.md`.
//!
//! A waiter that cannot have a ticket, for instance because there is no `/proc`, counts the slots
//! from time to time, in no order.
//!
//! Some file systems turn the flock(2) lock into a lock of fcntl(2) on all bytes, and not all of
//! them can be known by their type: 9p reports that of the server's file system. There, both locks
//! belong to the same open file description, so releasing the first would release the slot. So
//! before a slot is taken, while the flock(2) lock is held, the file is asked whether a byte that
//! is no marker is covered by any lock of fcntl(2).
//!
//! Whether a file can have slots must not depend on whether one is free: a caller that tries it
//! once must be able to rely on it. Therefore a caller that does not get to taking a slot checks
//! the file nevertheless ([`check_support`]).

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, getpid};

use super::marker::{ArrivalTime, Marker, SLOT_RANGE};
use super::queue;
use super::search::{self, marker_exists};
use super::ticket::{self, Ticket};
use super::waiter::{self, POLL_INTERVAL, QueueWaiter, STALL_CHECK_INTERVAL, Wakeup};
use crate::lock::advisory::{self, LockApi};
use crate::lock::{AcquireError, Acquired, Deadline, Mode, Refusal, Timeout, remaining};
use crate::sys::clock::Uptime;
use crate::sys::ofd::{self, Blocking, Operation};
use crate::sys::procfs::stat::{Stat, age};

/// How long we wait for processes that are just counting, even without a timeout. If they made us
/// queue, non-blocking requests would fail.
const COUNT_TIMEOUT: Duration = Duration::from_millis(50);

/// How long slots are counted while the flock(2) lock is held, after [`MIN_LOCKED_CALLS`].
const MAX_LOCKED_TIME: Duration = Duration::from_millis(10);

/// How many calls may count slots while the flock(2) lock is held, however long they take: enough
/// for 64 slots.
const MIN_LOCKED_CALLS: u32 = 128;

/// How long a process that does not wait counts slots after it has released the flock(2) lock. If
/// the time is not enough, it takes no slot.
const MAX_COUNT_TIME: Duration = Duration::from_millis(100);

/// How many holders are waited for at once.
const MAX_PIDFDS: usize = 64;

/// Acquires one of `limit` slots of the file for this open file description. Calls `on_wait` before
/// it joins the queue.
///
/// # Errors
///
/// The errors of flock(2) and fcntl(2); no resources are left for a ticket;
/// [`AcquireError::SlotsUnsupported`].
pub(in crate::lock) fn acquire(
    fd: BorrowedFd<'_>,
    limit: u32,
    arrived: Uptime,
    deadline: &Deadline,
    on_wait: &mut dyn FnMut(),
) -> Result<Acquired<()>, AcquireError> {
    if let Some(reason) = ticket::unsupported_file_reason(fd) {
        return Err(AcquireError::SlotsUnsupported(reason));
    }
    let is_immediate = matches!(deadline, Deadline::Immediate);
    let unlock = || advisory::try_acquire(fd, LockApi::Flock, Mode::Unlocked).map(drop);
    let may_overtake = || !queue::is_queue_ahead(fd, arrived, deadline);
    if !search::has_waiters(fd) || is_immediate && may_overtake() {
        let count_deadline = match deadline {
            Deadline::At(instant)
                if remaining(*instant).is_none_or(|left| left < COUNT_TIMEOUT) =>
            {
                *deadline
            }
            _ => Timeout::After(COUNT_TIMEOUT).start(),
        };
        let mode = Mode::Exclusive;
        let counted = advisory::acquire(fd, LockApi::Flock, mode, &count_deadline, &mut || {})?;
        if counted == Acquired::Held(())
            && try_take(fd, limit, deadline, &unlock)? == Attempt::Taken
        {
            return Ok(Acquired::Held(()));
        }
    }
    check_support(fd)?;
    if is_immediate {
        return Ok(Acquired::NotHeld(Refusal::WouldBlock));
    }
    on_wait();
    let Some(ticket) = Ticket::issue(fd, arrived.into(), Mode::Exclusive)? else {
        return wait_without_ticket(fd, limit, deadline);
    };
    // If no slot is held, the first in the queue has nothing to wait for, whatever its limit is.
    let mut waiter = QueueWaiter::new(fd, Mode::Exclusive, ticket, |fd| !any_slot_held(fd));
    loop {
        match waiter.wait(deadline)? {
            Acquired::Held(()) => {}
            refused => return Ok(refused),
        }
        let outcome = try_take(fd, limit, deadline, &|| waiter.release())?;
        let Attempt::AllHeld(slots) = outcome else {
            return Ok(Acquired::Held(()));
        };
        if let Some(outcome) = wait_for_any(&mut waiter, fd, &slots, deadline)? {
            return Ok(outcome);
        }
    }
}

/// Waits for a slot in no order. Counts once more after the deadline.
fn wait_without_ticket(
    fd: BorrowedFd<'_>,
    limit: u32,
    deadline: &Deadline,
) -> Result<Acquired<()>, AcquireError> {
    let unlock = || advisory::try_acquire(fd, LockApi::Flock, Mode::Unlocked).map(drop);
    let mut timed_out = None;
    loop {
        let mode = Mode::Exclusive;
        let counted = advisory::acquire(fd, LockApi::Flock, mode, deadline, &mut || {})?;
        if counted != Acquired::Held(())
            || try_take(fd, limit, deadline, &unlock)? == Attempt::Taken
        {
            return Ok(counted);
        }
        if let Some(outcome) = timed_out {
            return Ok(outcome);
        }
        match waiter::sleep(&mut [], POLL_INTERVAL, deadline)? {
            Wakeup::Done(outcome @ Acquired::NotHeld(Refusal::TimedOut)) => {
                timed_out = Some(outcome);
            }
            Wakeup::Done(outcome) => return Ok(outcome),
            Wakeup::Recheck | Wakeup::TimedOut => {}
        }
    }
}

/// Fails if the file cannot have slots.
fn check_support(fd: BorrowedFd<'_>) -> Result<(), AcquireError> {
    let foreign = || ticket::foreign_lock_reason(fd, *SLOT_RANGE.start());
    match ticket::refused_lock_reason(fd).or_else(foreign) {
        Some(reason) => Err(AcquireError::SlotsUnsupported(reason)),
        None => Ok(()),
    }
}

/// Whether any process holds a slot of this file.
pub(in crate::lock) fn any_slot_held(fd: BorrowedFd<'_>) -> bool {
    !matches!(
        ofd::conflict(fd, *SLOT_RANGE.start(), *SLOT_RANGE.end()),
        Ok(None)
    )
}

/// The result of an attempt to take a slot.
#[derive(Debug, PartialEq, Eq)]
enum Attempt {
    Taken,
    /// The limit is reached by the slots at these offsets.
    AllHeld(Vec<i64>),
}

/// Takes a slot if fewer than `limit` are held. The caller holds the flock(2) lock, which `unlock`
/// releases.
fn try_take(
    fd: BorrowedFd<'_>,
    limit: u32,
    deadline: &Deadline,
    unlock: &dyn Fn() -> Result<(), AcquireError>,
) -> Result<Attempt, AcquireError> {
    let locked_end = Some(Instant::now() + MAX_LOCKED_TIME);
    let (held, is_complete) = held_slots(fd, limit, MIN_LOCKED_CALLS, locked_end)?;
    if held.len() >= limit as usize {
        unlock()?;
        return Ok(Attempt::AllHeld(held));
    }
    let Some(offset) = search::unused_slot_offset(fd, ArrivalTime::now(), &held) else {
        unlock()?;
        return Ok(Attempt::AllHeld(held));
    };
    if ofd::is_covered(fd, *SLOT_RANGE.start()).map_err(slot_error)? {
        unlock()?;
        return Err(AcquireError::SlotsUnsupported(ticket::EMULATED_FLOCK));
    }
    ofd::set(fd, Operation::Read, offset, 1, Blocking::No).map_err(slot_error)?;
    unlock()?;
    if is_complete {
        return Ok(Attempt::Taken);
    }
    recount(fd, limit, offset, deadline)
}

/// Counts the other slots after one has been taken, and gives it back if the limit is reached, or
/// may be because the time is over.
fn recount(
    fd: BorrowedFd<'_>,
    limit: u32,
    taken: i64,
    deadline: &Deadline,
) -> Result<Attempt, AcquireError> {
    let end = match deadline {
        Deadline::Immediate => Some(Instant::now() + MAX_COUNT_TIME),
        _ => deadline.instant(),
    };
    let (held, is_complete) = held_slots(fd, limit, 0, end)?;
    if is_complete && held.len() < limit as usize {
        return Ok(Attempt::Taken);
    }
    ofd::set(fd, Operation::Unlock, taken, 1, Blocking::No).map_err(slot_error)?;
    Ok(Attempt::AllHeld(held))
}

/// Returns the error for a failed lock of fcntl(2) on a slot.
fn slot_error(errno: Errno) -> AcquireError {
    match errno {
        Errno::AGAIN => AcquireError::SlotsUnsupported(ticket::FOREIGN_LOCK),
        Errno::ACCESS | Errno::PERM => AcquireError::SlotsUnsupported(ticket::REFUSED_LOCK),
        _ => AcquireError::Lock(errno.into()),
    }
}

/// Returns the offsets of the slots that other open file descriptions hold, in no order and at most
/// `limit` of them. The second value is false if there may be more because the time was over, which
/// counts after `min_calls`.
fn held_slots(
    fd: BorrowedFd<'_>,
    limit: u32,
    min_calls: u32,
    end: Option<Instant>,
) -> Result<(Vec<i64>, bool), AcquireError> {
    let mut found = Vec::new();
    let mut ranges = vec![SLOT_RANGE.into_inner()];
    let mut calls = 0;
    while let Some((first, last)) = ranges.pop() {
        if first > last {
            continue;
        }
        calls += 1;
        if calls > min_calls && end.is_some_and(|end| remaining(end).is_none()) {
            return Ok((found, false));
        }
        match ofd::conflict(fd, first, last).map_err(slot_error)? {
            None => {}
            Some((offset, 1)) if (first..=last).contains(&offset) => {
                found.push(offset);
                if found.len() >= limit as usize {
                    break;
                }
                ranges.extend([(first, offset - 1), (offset + 1, last)]);
            }
            Some(_) => return Err(AcquireError::SlotsUnsupported(ticket::FOREIGN_LOCK)),
        }
    }
    Ok((found, true))
}

/// Waits until one of these slots may be free.
fn wait_for_any(
    waiter: &mut QueueWaiter<'_>,
    fd: BorrowedFd<'_>,
    slots: &[i64],
    deadline: &Deadline,
) -> Result<Option<Acquired<()>>, AcquireError> {
    let watched = &slots[..slots.len().min(MAX_PIDFDS)];
    let pidfds: Vec<_> = watched
        .iter()
        .filter_map(|slot| waiter::pidfd_if_running(holder_of(*slot)?))
        .collect();
    if !watched.iter().all(|slot| marker_exists(fd, *slot)) {
        return Ok(None);
    }
    let max_sleep = if pidfds.len() == slots.len() {
        STALL_CHECK_INTERVAL
    } else {
        POLL_INTERVAL
    };
    match waiter.sleep(&pidfds, max_sleep, deadline)? {
        Wakeup::Done(outcome) => Ok(Some(outcome)),
        Wakeup::Recheck | Wakeup::TimedOut => Ok(None),
    }
}

/// Returns the process that acquired a slot, or `None` if its PID belongs to another process here:
/// one that is younger than the slot, or this one, which holds none.
fn holder_of(slot: i64) -> Option<Pid> {
    let Some(Marker::Slot { pid, arrived }) = Marker::from_offset(slot) else {
        return None;
    };
    let is_younger = |stat: Stat| arrived.is_before_start(age(stat.start));
    (pid != getpid() && !Stat::read(pid).is_some_and(is_younger)).then_some(pid)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs::File;
    use std::os::fd::{AsFd, AsRawFd};

    use super::*;

    /// Returns a file, and another open file description that holds this number of its slots.
    fn file_with_slots(count: u64) -> (File, File) {
        let file = tempfile::tempfile().expect("a temporary file");
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let holder = File::options().read(true).open(path);
        let holder = holder.expect("a second open file description");
        let mut arrived = ArrivalTime::now();
        for _ in 0..count {
            let pid = Pid::INIT;
            let offset = Marker::Slot { arrived, pid }.offset();
            ofd::set(holder.as_fd(), Operation::Read, offset, 1, Blocking::No)
                .expect("no conflict");
            arrived = arrived.next();
        }
        (file, holder)
    }

    #[test]
    fn counting_stops_at_the_limit_or_when_the_time_is_over() {
        let (file, _holder) = file_with_slots(9);
        let count = |limit, min_calls, end| {
            let (found, is_complete) =
                held_slots(file.as_fd(), limit, min_calls, end).expect("no foreign lock");
            (found.len(), is_complete)
        };
        let past = Some(Instant::now());
        assert_eq!(count(4, 0, None), (4, true));
        assert_eq!(count(10, 0, None), (9, true));
        assert_eq!(count(10, 0, past), (0, false));
        assert_eq!(count(10, 1, past), (1, false));
        assert_eq!(count(4, 100, past), (4, true));
    }

    #[test]
    fn a_file_whose_flock_locks_cover_all_bytes_has_no_slots() {
        let (file, _holder) = file_with_slots(0);
        let fd = file.as_fd();
        // What 9p makes of the flock(2) lock.
        ofd::set(fd, Operation::Write, 0, 0, Blocking::No).expect("no conflict");
        let is_unlocked = Cell::new(false);
        let unlock = || {
            is_unlocked.set(true);
            Ok(())
        };
        let attempt = try_take(fd, 1, &Deadline::Immediate, &unlock);
        let reason = match attempt {
            Err(AcquireError::SlotsUnsupported(reason)) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!((reason, is_unlocked.get()), (ticket::EMULATED_FLOCK, true));
        assert_eq!(ticket::unsupported_reason(fd), Some(ticket::EMULATED_FLOCK));
    }

    #[test]
    fn slot_that_exceeds_the_limit_is_given_back() {
        let (file, holder) = file_with_slots(3);
        let fd = file.as_fd();
        let (arrived, pid) = (ArrivalTime::now(), getpid());
        let taken = Marker::Slot { arrived, pid }.offset();
        let recount_with = |limit, deadline| {
            ofd::set(fd, Operation::Read, taken, 1, Blocking::No).expect("no conflict");
            let attempt = recount(fd, limit, taken, &deadline).expect("no foreign lock");
            (attempt, marker_exists(holder.as_fd(), taken))
        };
        assert_eq!(recount_with(4, Deadline::Never), (Attempt::Taken, true));
        assert!(matches!(
            recount_with(3, Deadline::Never),
            (Attempt::AllHeld(_), false)
        ));
        assert!(matches!(
            recount_with(4, Deadline::At(Instant::now())),
            (Attempt::AllHeld(_), false)
        ));
    }
}
