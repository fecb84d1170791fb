//! Locks of flock(2) in arrival order, among all processes that ask for them that way.
//!
//! The kernel serves waiters in order only as long as nothing disturbs them: a newcomer can
//! overtake a waiter that is just being woken, readers pass a waiting writer forever, and a waiter
//! that is interrupted, stopped or times out loses its place. Therefore the processes that ask for
//! a fair lock queue with [`Ticket`]s, and only the first of them waits in the kernel.
//!
//! *What excludes* is the flock(2) lock alone: no error in the order can let two holders in. The
//! order may therefore rely on what it observed a moment ago:
//!
//! 1. If there is no queue and the lock is free, it is taken.
//! 2. Otherwise we issue a ticket and wait until the nearest earlier ticket is over. Without an
//!    earlier ticket, we block in flock(2), on the ticket's own open file description.
//! 3. Once the lock is granted, we look again. An earlier ticket may have become ready in between:
//!    its owner was stopped and has been continued, or is a shell that has finished running a trap.
//!    Then we are not first: we release the lock and wait for that ticket.
//! 4. The lock is transferred from the ticket's open file description to the one it is wanted for,
//!    the ticket is over, and the next waiter wakes. It blocks in flock(2) while we hold the lock,
//!    or shares it if both are readers.
//!
//! *Why not lock the wanted open file description directly?* It belongs to the caller: other
//! processes may share it and ask for the lock too. A lock that is granted to one of them is held
//! by all of them, and if one of them released it, two processes would believe that they hold it.
//!
//! *Race in step 1:* another process may issue a ticket between our look and our acquiring the lock,
//! and the lock may be released while we issue ours. Then we have arrived at the same moment: order
//! is not guaranteed at that granularity.
//!
//! *Race in step 2:* an earlier ticket may appear after our look, because its arrival time is read
//! before its marker is set: step 3 looks again. A ticket may end, and the PID of its sentinel may be
//! reused, before we wait for its exit. Therefore we check that the marker exists after we have
//! opened the pidfd.
//!
//! *Waiters that do not take their turn:* a stopped process is not waited for, and no process is
//! waited for forever. Every waiter checks every two seconds whether the lock is free, which it
//! cannot be as long as the first in the queue waits for it in the kernel. If it stays free, the
//! first waiter is frozen, or invisible from here, and is passed.
//!
//! A model visits all interleavings of these steps with kills and stops: see
//! `docs/design/protocols.md`.
//!
//! *Forged markers* name a process that is not a sentinel, and are ignored where that can be seen.
//! A [`Search`] among very many takes limited time and may miss an earlier ticket. Then step 2
//! blocks in flock(2) too early, and step 3 may find the ticket in time.

use std::os::fd::BorrowedFd;

use rustix::process::Pid;

use super::marker::Marker;
use super::search::{self, Search};
use super::shared::Looks;
use super::ticket::Ticket;
use super::waiter::{HELD, QueueWaiter, held_mode, try_flock};
use crate::lock::advisory::{self, LockApi};
use crate::lock::{AcquireError, Acquired, Deadline, Mode, Refusal};
use crate::sys::clock::Uptime;

/// Acquires or releases a lock on an open file description, in arrival order. Calls `on_wait`
/// before it joins the queue.
///
/// # Errors
///
/// The errors of flock(2); no resources are left for a ticket.
pub(in crate::lock) fn acquire(
    fd: BorrowedFd<'_>,
    mode: Mode,
    arrived: Uptime,
    is_shared: bool,
    deadline: &Deadline,
    on_wait: &mut dyn FnMut(),
) -> Result<Acquired<()>, AcquireError> {
    if mode == Mode::Unlocked {
        return try_flock(fd, mode);
    }
    let is_immediate = matches!(deadline, Deadline::Immediate);
    let has_waiters = search::has_waiters(fd);
    let held = if has_waiters { held_mode(fd) } else { None };
    let has_enough = held == Some(mode) || held == Some(Mode::Exclusive);
    if !has_waiters || has_enough {
        // A reader that asks again would wait for a queued writer, which waits for the reader.
        let outcome = try_flock(fd, mode)?;
        if outcome == HELD || is_immediate {
            return Ok(outcome);
        }
    } else if is_immediate {
        return if is_queue_ahead(fd, arrived, deadline) {
            Ok(Acquired::NotHeld(Refusal::WouldBlock))
        } else {
            try_flock(fd, mode)
        };
    }
    on_wait();
    if held.is_some() && !has_enough {
        // Two readers that both want to write would wait for each other. The kernel releases the
        // read lock in this case, too.
        try_flock(fd, Mode::Unlocked)?;
    }
    let Some(ticket) = Ticket::issue(fd, arrived.into(), mode)? else {
        return advisory::acquire(fd, LockApi::Flock, mode, deadline, &mut || {});
    };
    // A waiter that holds the flock(2) lock exclusively has nothing else to wait for.
    let mut waiter = QueueWaiter::new(fd, mode, ticket, |_| true);
    waiter.may_share = true;
    waiter.looks = is_shared.then(Looks::new);
    loop {
        match waiter.wait(deadline)? {
            Acquired::Held(()) if waiter.transfer()? => return Ok(HELD),
            Acquired::Held(()) => {}
            _ if waiter.is_shared_lock_held() && try_flock(fd, mode)? == HELD => return Ok(HELD),
            refused => return Ok(refused),
        }
    }
}

/// Whether waiters that can take their turn arrived before this time.
pub(super) fn is_queue_ahead(fd: BorrowedFd<'_>, arrived: Uptime, deadline: &Deadline) -> bool {
    let (arrived, mode, pid) = (arrived.into(), Mode::Exclusive, Pid::INIT);
    let first = Marker::Ticket { arrived, mode, pid }.offset();
    let mut search = Search::new(fd, deadline);
    search.any_waiting_predecessor(first).is_some()
}
