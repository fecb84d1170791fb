//! Slots: at most N holders at a time, in arrival order.
//!
//! A slot is a [marker](super::marker) that the holder's own open file description holds. The
//! command inherits it, so the kernel releases the slot when the last process that holds it exits.
//!
//! *Race:* two processes that count the slots and find one free would both take it. Therefore slots
//! are counted and taken under the flock(2) lock on the same file, which is held for just that
//! long. Slots are released without it, at any time: a process that counts a slot which is just
//! being released waits for the exit of its holder and counts again.
//!
//! *Race:* a holder against a process that waits for its exit. The holder may have exited, and its
//! PID may have been reused, before we wait for it. Therefore we look at the slots again after we
//! have opened all pidfds: if they are the same, so are the processes. If a holder has passed its
//! slot to processes that inherited it, their exit cannot be waited for, and we look again from
//! time to time ([`POLL_INTERVAL`]).
//!
//! Processes with different limits each count all slots against their own limit. There is one
//! queue: the first waiter holds up those behind it until there are few enough holders for its
//! limit.
//!
//! A waiter that cannot have a ticket, for instance because there is no `/proc`, counts the slots
//! from time to time, in no order.
//!
//! Whether a file can have slots must not depend on whether one is free: a caller that tries it
//! once must be able to rely on it. Therefore a caller that does not get to taking a slot checks
//! the file nevertheless ([`check_support`]).

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, getpid};

use super::marker::{ArrivalTime, Marker, SLOT_RANGE};
use super::queue::{self, POLL_INTERVAL, QueueWaiter, STALL_CHECK_INTERVAL, Wakeup};
use super::search;
use super::ticket::{self, Ticket};
use crate::lock::advisory::{self, LockApi};
use crate::lock::{AcquireError, Acquired, Deadline, Mode, Refusal, Timeout, remaining};
use crate::sys::clock::Uptime;
use crate::sys::ofd::{self, Blocking, Operation};
use crate::sys::procfs::stat::{Stat, age};

/// How long we wait for processes that are just counting, even without a timeout. If they made us
/// queue, non-blocking requests would fail.
const COUNT_TIMEOUT: Duration = Duration::from_millis(50);

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
        if counted == Acquired::Held(()) && count_and_unlock(fd, limit)? == Attempt::Taken {
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
        let outcome = try_take(fd, limit)?;
        waiter.release()?;
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
    let mut timed_out = None;
    loop {
        let mode = Mode::Exclusive;
        let counted = advisory::acquire(fd, LockApi::Flock, mode, deadline, &mut || {})?;
        if counted != Acquired::Held(()) || count_and_unlock(fd, limit)? == Attempt::Taken {
            return Ok(counted);
        }
        if let Some(outcome) = timed_out {
            return Ok(outcome);
        }
        match queue::sleep(&mut [], POLL_INTERVAL, deadline)? {
            Wakeup::Done(outcome @ Acquired::NotHeld(Refusal::TimedOut)) => {
                timed_out = Some(outcome);
            }
            Wakeup::Done(outcome) => return Ok(outcome),
            Wakeup::Recheck | Wakeup::TimedOut => {}
        }
    }
}

/// Takes a slot if fewer than `limit` are held, and releases the flock(2) lock.
fn count_and_unlock(fd: BorrowedFd<'_>, limit: u32) -> Result<Attempt, AcquireError> {
    let outcome = try_take(fd, limit)?;
    advisory::try_acquire(fd, LockApi::Flock, Mode::Unlocked)?;
    Ok(outcome)
}

/// Fails if the file cannot have slots.
fn check_support(fd: BorrowedFd<'_>) -> Result<(), AcquireError> {
    match ticket::refused_lock_reason(fd) {
        Some(reason) => Err(AcquireError::SlotsUnsupported(reason)),
        None => held_slots(fd).map(drop),
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
#[derive(PartialEq, Eq)]
enum Attempt {
    Taken,
    /// The limit is reached by the slots at these offsets.
    AllHeld(Vec<i64>),
}

/// Takes a slot if fewer than `limit` are held. The caller holds the flock(2) lock.
fn try_take(fd: BorrowedFd<'_>, limit: u32) -> Result<Attempt, AcquireError> {
    let held = held_slots(fd)?;
    if held.len() >= limit as usize {
        return Ok(Attempt::AllHeld(held));
    }
    let (mut arrived, pid) = (ArrivalTime::now(), getpid());
    let mut offset = Marker::Slot { arrived, pid }.offset();
    // A process with the same PID in another PID namespace may have arrived at the same time. Two
    // slots at one offset would count as one.
    while held.contains(&offset) {
        arrived = arrived.next();
        offset = Marker::Slot { arrived, pid }.offset();
    }
    ofd::set(fd, Operation::Read, offset, 1, Blocking::No).map_err(slot_error)?;
    Ok(Attempt::Taken)
}

/// Returns the error for a failed lock of fcntl(2) on a slot.
fn slot_error(errno: Errno) -> AcquireError {
    match errno {
        Errno::AGAIN => AcquireError::SlotsUnsupported(ticket::FOREIGN_LOCK),
        Errno::ACCESS | Errno::PERM => AcquireError::SlotsUnsupported(ticket::REFUSED_LOCK),
        _ => AcquireError::Lock(errno.into()),
    }
}

/// Returns the offsets of the slots that other open file descriptions hold, in no order.
fn held_slots(fd: BorrowedFd<'_>) -> Result<Vec<i64>, AcquireError> {
    let mut found = Vec::new();
    let mut ranges = vec![SLOT_RANGE.into_inner()];
    while let Some((first, last)) = ranges.pop() {
        if first > last {
            continue;
        }
        match ofd::conflict(fd, first, last).map_err(slot_error)? {
            None => {}
            Some((offset, 1)) if (first..=last).contains(&offset) => {
                found.push(offset);
                ranges.extend([(first, offset - 1), (offset + 1, last)]);
            }
            Some(_) => return Err(AcquireError::SlotsUnsupported(ticket::FOREIGN_LOCK)),
        }
    }
    Ok(found)
}

/// Waits until one of these slots may be free.
fn wait_for_any(
    waiter: &mut QueueWaiter<'_>,
    fd: BorrowedFd<'_>,
    slots: &[i64],
    deadline: &Deadline,
) -> Result<Option<Acquired<()>>, AcquireError> {
    let pidfds: Vec<_> = slots
        .iter()
        .take(MAX_PIDFDS)
        .filter_map(|slot| queue::pidfd_if_running(holder_of(*slot)?))
        .collect();
    let held = held_slots(fd)?;
    if slots.iter().any(|slot| !held.contains(slot)) {
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
