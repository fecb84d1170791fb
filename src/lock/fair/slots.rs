//! Slots: at most so many holders at a time, served in the order of their arrival.
//!
//! A slot is a [mark](super::marker) on the lock file: a byte that the holder's own opening of the file has locked for reading.
//! The command inherits that opening, so the kernel frees the slot when the last process that has it ends.
//!
//! *The race:* two who count the slots and find one free would both take it. So slots are counted and taken with the lock
//! of flock(2) on the same file, which is held for just that long. Slots are freed without it, at any time: whoever counts
//! one that is just being freed waits for the end of its process and counts again.
//!
//! *The other race:* a holder against the one who waits for his end. He may have ended, and his number may be another's, by
//! the time that we can wait for it. So we look once more at the slots when we have the pidfds of all: if they are the same
//! ones, so are the processes. One that left its slot to others, who have inherited it, cannot be waited for: then we
//! look again from time to time ([`BLIND`]).
//!
//! Those who say different numbers each count all slots against their own. The queue is one: who is first keeps those
//! behind him waiting until there are few enough for him.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::process::{Pid, getpid};

use super::marker::{Mark, Moment, SLOTS};
use super::queue::{self, BLIND, LOOK, Waiter, Woken, end_of};
use super::ticket::{self, Turn};
use crate::lock::{self, Answer, Block, Deadline, Failure, Kind, Mode, Wait, attempt};
use crate::sys::ofd::{self, Operation};
use crate::sys::procfs::stat::{Stat, age};

/// How long we wait for those who are just counting, even if we are not to wait: less than a blink. Who queued for them would
/// keep away others who are not to wait.
const COUNTING: Duration = Duration::from_millis(50);

/// No clock of a kernel that tells when a process was started has longer steps.
const TICK: Duration = Duration::from_millis(20);

/// How many ends are waited for at once.
const MOST: usize = 64;

/// Takes one of so many slots of the file, for this open file description. A slot is for whoever came at this moment.
///
/// # Errors
///
/// Those of flock(2) and fcntl(2); out of what a turn needs; [`Failure::NoSlots`].
pub(in crate::lock) fn acquire(
    fd: BorrowedFd<'_>,
    most: u32,
    since: Moment,
    deadline: &Deadline,
) -> Result<Answer, Failure> {
    if let Some(obstacle) = ticket::obstacle_of(fd) {
        return Err(Failure::NoSlots(obstacle));
    }
    let now = matches!(deadline, Deadline::Now);
    let nobody_queues = !ticket::somebody_queues(fd);
    if nobody_queues || now && ticket::ahead(fd, queue::first_byte(since)).is_none() {
        let limit = match deadline {
            Deadline::At(until) if until.left().is_none_or(|left| left < COUNTING) => *deadline,
            _ => Wait::For(COUNTING).begin(),
        };
        let answer = lock::acquire(fd, Kind::Flock, Mode::Exclusive, &limit)?;
        if answer == Answer::Granted {
            let entered = enter(fd, most)?;
            attempt(fd, Kind::Flock, Mode::Unlocked, Block::No)?;
            if entered.is_ok() {
                return Ok(Answer::Granted);
            }
        }
    }
    if now {
        return Ok(Answer::Conflict);
    }
    let Some(turn) = Turn::take(fd, since, Mode::Exclusive)? else {
        return Err(Failure::NoSlots(
            ticket::obstacle(fd).unwrap_or("the file cannot have a queue"),
        ));
    };
    let mut waiter = Waiter::new(fd, Mode::Exclusive, turn, nobody_is_in);
    loop {
        match waiter.wait(deadline)? {
            Answer::Granted => {}
            refused => return Ok(refused),
        }
        let entered = enter(fd, most)?;
        waiter.give_back()?;
        let Err(taken) = entered else {
            return Ok(Answer::Granted);
        };
        if let Some(answer) = wait_for_any(&mut waiter, fd, &taken, deadline)? {
            return Ok(answer);
        }
    }
}

/// Whether somebody has a slot of this file.
pub(in crate::lock) fn somebody_is_in(fd: BorrowedFd<'_>) -> bool {
    !matches!(ofd::conflict(fd, *SLOTS.start(), *SLOTS.end()), Ok(None))
}

/// The first in the queue can wait for nothing then, whatever his number is.
fn nobody_is_in(fd: BorrowedFd<'_>) -> bool {
    !somebody_is_in(fd)
}

/// Takes a slot if there are fewer than so many, or tells which there are. We have the lock.
fn enter(fd: BorrowedFd<'_>, most: u32) -> Result<Result<(), Vec<i64>>, Failure> {
    let taken = taken(fd)?;
    if taken.len() >= most as usize {
        return Ok(Err(taken));
    }
    let (mut since, pid) = (Moment::now(), getpid());
    let mut byte = Mark::Slot { since, pid }.byte();
    // A process of the same number in another pid namespace may have come in the same moment. Two on one byte would count as
    // one.
    while taken.contains(&byte) {
        since = since.next();
        byte = Mark::Slot { since, pid }.byte();
    }
    ofd::set(fd, Operation::Read, byte, 1, false).map_err(Failure::Lock)?;
    Ok(Ok(()))
}

/// The slots that others have, in no order.
fn taken(fd: BorrowedFd<'_>) -> Result<Vec<i64>, Failure> {
    let mut found = Vec::new();
    let mut ranges = vec![SLOTS.into_inner()];
    while let Some((first, last)) = ranges.pop() {
        if first > last {
            continue;
        }
        match ofd::conflict(fd, first, last).map_err(Failure::Lock)? {
            None => {}
            Some((byte, 1)) if (first..=last).contains(&byte) => {
                found.push(byte);
                ranges.extend([(first, byte - 1), (byte + 1, last)]);
            }
            Some(_) => return Err(Failure::NoSlots(ticket::FOREIGN)),
        }
    }
    Ok(found)
}

/// Waits until one of these slots may be free.
fn wait_for_any(
    waiter: &mut Waiter<'_>,
    fd: BorrowedFd<'_>,
    slots: &[i64],
    deadline: &Deadline,
) -> Result<Option<Answer>, Failure> {
    let ends: Vec<_> = slots
        .iter()
        .take(MOST)
        .filter_map(|slot| end_of(holder(*slot)?))
        .collect();
    let now = taken(fd)?;
    if slots.iter().any(|slot| !now.contains(slot)) {
        return Ok(None);
    }
    let most = if ends.len() == slots.len() {
        LOOK
    } else {
        BLIND
    };
    match waiter.doze(&ends, most, deadline)? {
        Woken::Over(answer) => Ok(Some(answer)),
        Woken::News | Woken::Nothing => Ok(None),
    }
}

/// The process that took a slot. `None` if the number is somebody else's by now, or was given in another pid namespace: that
/// of one who is younger than the slot, or ours, who have none.
fn holder(slot: i64) -> Option<Pid> {
    let Some(Mark::Slot { pid, since }) = Mark::of(slot) else {
        return None;
    };
    let is_younger = |stat: Stat| age(stat.start) + TICK < since.elapsed();
    (pid != getpid() && !Stat::of(pid).is_some_and(is_younger)).then_some(pid)
}
