//! A waiter in the queue: its turn, and the waiters before it that do not take theirs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::owner::sentinel_of;
use super::search::{Search, marker_exists};
use super::shared::Looks;
use super::ticket::Ticket;
use crate::lock::advisory::{self, LockApi};
use crate::lock::{AcquireError, Acquired, Deadline, Mode, Refusal, remaining};
use crate::sys::interruptible::InterruptibleCall;
use crate::sys::procfs::fdinfo::FdInfo;

/// How often a waiter checks whether the queue has stalled.
pub(super) const STALL_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// How often a waiter looks again if the exit of its predecessor cannot be observed: because it is
/// in another PID namespace, or there are no pidfds.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long the lock must stay free before the first waiter is passed. It may just be waking up, or
/// be a waiter that looks only every [`POLL_INTERVAL`] whether its predecessor's ticket is over.
const HANDOFF_GRACE: Duration = Duration::from_millis(250);

pub(super) const HELD: Acquired<()> = Acquired::Held(());

/// Acquires a flock(2) lock without waiting, or releases it.
pub(super) fn try_flock(fd: BorrowedFd<'_>, mode: Mode) -> Result<Acquired<()>, AcquireError> {
    advisory::try_acquire(fd, LockApi::Flock, mode)
}

/// Returns the flock(2) lock that the open file description holds already.
pub(super) fn held_mode(fd: BorrowedFd<'_>) -> Option<Mode> {
    FdInfo::read_own(fd).ok()?.flock_access().map(Mode::from)
}

/// A waiter with a ticket.
pub(super) struct QueueWaiter<'f> {
    fd: BorrowedFd<'f>,
    mode: Mode,
    ticket: Ticket,
    /// Whether the first in the queue has no other reason to wait. Called while we hold the lock.
    is_free: fn(BorrowedFd<'_>) -> bool,
    /// Whether the flock(2) lock is wanted for the open file description, which other processes may
    /// share. As soon as one of them has acquired the lock, all hold it.
    pub(super) may_share: bool,
    /// When to look whether one of them has, while this one blocks in the kernel.
    pub(super) looks: Option<Looks>,
    /// What was seen when the lock was found free, if it has been free at every check since then,
    /// while we waited for the same ticket.
    stall: Option<Stall>,
}

/// A queue that may have stalled.
struct Stall {
    /// Since when the lock has been free.
    since: Instant,
    /// The ticket that was issued first, as long as it exists.
    first: Option<i64>,
}

/// Opens a pidfd, for poll(2). Returns `None` if the process cannot be observed, or has exited:
/// poll(2) would report a zombie again and again.
pub(super) fn pidfd_if_running(pid: Pid) -> Option<OwnedFd> {
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let no_wait = Timespec::default();
    let is_running = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&no_wait)) == Ok(0);
    is_running.then_some(pidfd)
}

/// How a sleep ended.
pub(super) enum Wakeup {
    /// Something has happened: the queue must be checked again.
    Recheck,
    /// Nothing has happened within the time.
    TimedOut,
    /// The outcome is known.
    Done(Acquired<()>),
}

/// Sleeps until one of these descriptors is readable, but at most for this long.
pub(super) fn sleep(
    polled: &mut [PollFd<'_>],
    max_sleep: Duration,
    deadline: &Deadline,
) -> Result<Wakeup, AcquireError> {
    let refused = |reason| Ok(Wakeup::Done(Acquired::NotHeld(reason)));
    let left = match deadline.instant().map(remaining) {
        None => max_sleep,
        Some(None) => return refused(Refusal::TimedOut),
        Some(Some(left)) => left.min(max_sleep),
    };
    // Only in a host process is there a signal handler that ends the wait.
    let interruptible = match deadline {
        Deadline::Interruptible(_, is_signal_pending) => {
            let call = InterruptibleCall::begin(None, *is_signal_pending);
            match call.map_err(AcquireError::Timer)? {
                None => return refused(Refusal::Interrupted),
                call => call,
            }
        }
        _ => None,
    };
    // At most STALL_CHECK_INTERVAL, which fits.
    let timeout = Timespec::try_from(left).unwrap_or_default();
    let mut poll = || poll(polled, Some(&timeout));
    let result = match interruptible {
        Some(call) => call.run(poll).map_err(AcquireError::Timer)?,
        None => poll(),
    };
    match result {
        Ok(0) if left < max_sleep => refused(Refusal::TimedOut),
        Ok(0) => Ok(Wakeup::TimedOut),
        Ok(_) => Ok(Wakeup::Recheck),
        Err(Errno::INTR) if matches!(deadline, Deadline::Interruptible(..)) => {
            refused(Refusal::Interrupted)
        }
        Err(Errno::INTR) => Ok(Wakeup::Recheck),
        Err(errno) => Err(AcquireError::Queue(errno.into())),
    }
}

impl<'f> QueueWaiter<'f> {
    pub(super) fn new(
        fd: BorrowedFd<'f>,
        mode: Mode,
        ticket: Ticket,
        is_free: fn(BorrowedFd<'_>) -> bool,
    ) -> Self {
        Self {
            fd,
            mode,
            ticket,
            is_free,
            may_share: false,
            looks: None,
            stall: None,
        }
    }

    /// Waits until it is our turn and the ticket's open file description holds the lock. The ticket
    /// lasts as long as the waiter.
    pub(super) fn wait(&mut self, deadline: &Deadline) -> Result<Acquired<()>, AcquireError> {
        let mut known = None;
        loop {
            let nearest =
                || Search::unverified(self.fd, deadline).waiting_predecessor(self.ticket.offset);
            if let Some(before) = known.take().or_else(nearest) {
                match self.wait_for_predecessor(before, deadline)? {
                    Some(outcome) => return Ok(outcome),
                    // Markers may come and go faster than we look at them.
                    None if deadline.has_passed() => {
                        return Ok(Acquired::NotHeld(Refusal::TimedOut));
                    }
                    None => continue,
                }
            }
            let file = self.ticket.file.as_fd();
            if try_flock(file, self.mode)? != HELD {
                // Another process may have acquired it for the descriptor. If it is free by now,
                // there is no queue in the way either.
                if self.may_share && try_flock(self.fd, self.mode)? == HELD {
                    return Ok(HELD);
                }
                let until = match &mut self.looks {
                    Some(looks) => &looks.next(*deadline),
                    None => deadline,
                };
                match advisory::acquire(file, LockApi::Flock, self.mode, until, &mut || {})? {
                    Acquired::Held(()) => {}
                    Acquired::NotHeld(Refusal::TimedOut)
                        if self.looks.is_some() && !deadline.has_passed() =>
                    {
                        continue;
                    }
                    refused => return Ok(refused),
                }
            }
            known = Search::short(self.fd).any_waiting_predecessor(self.ticket.offset);
            if known.is_none() {
                return Ok(HELD);
            }
            self.release()?;
        }
    }

    /// Waits until the ticket at this offset is over, or there is another reason to look for the
    /// predecessor again (`None`); or until we pass it and hold the lock, or the deadline has
    /// passed.
    fn wait_for_predecessor(
        &mut self,
        before: i64,
        deadline: &Deadline,
    ) -> Result<Option<Acquired<()>>, AcquireError> {
        self.stall = None;
        // Our sentinel's PID may belong to another sentinel in another PID namespace.
        let sentinel = sentinel_of(before).filter(|pid| *pid != self.ticket.sentinel.pid);
        let pidfd = sentinel.and_then(pidfd_if_running);
        if !marker_exists(self.fd, before) {
            return Ok(None);
        }
        loop {
            let max_sleep = match (&pidfd, &self.stall) {
                (None, _) => POLL_INTERVAL,
                (Some(_), Some(_)) => HANDOFF_GRACE,
                (Some(_), None) => STALL_CHECK_INTERVAL,
            };
            match self.sleep(pidfd.as_slice(), max_sleep, deadline)? {
                Wakeup::Recheck => return Ok(None),
                Wakeup::Done(outcome) => return Ok(Some(outcome)),
                Wakeup::TimedOut if pidfd.is_none() && !marker_exists(self.fd, before) => {
                    return Ok(None);
                }
                Wakeup::TimedOut => {}
            }
            match self.probe_stalled_queue(before, deadline)? {
                Wakeup::Recheck => return Ok(None),
                Wakeup::Done(outcome) => return Ok(Some(outcome)),
                Wakeup::TimedOut => {}
            }
        }
    }

    /// Whether another process has acquired the lock for the open file description that this one
    /// wants it for. Otherwise this process would wait for a lock that it holds. Its transfer
    /// changes nothing then.
    ///
    /// *Race:* another process may acquire it at any time. Before this process blocks in the kernel,
    /// it tries the lock of that description once more; while it waits for a predecessor, it looks
    /// with every check of the queue; and it looks when its time is over. While it blocks in the
    /// kernel, on the ticket's description, it looks as [`super::shared`] says.
    pub(super) fn is_shared_lock_held(&self) -> bool {
        self.may_share
            && held_mode(self.fd).is_some_and(|held| held == self.mode || held == Mode::Exclusive)
    }

    /// Releases the lock of the ticket's open file description.
    pub(super) fn release(&self) -> Result<(), AcquireError> {
        try_flock(self.ticket.file.as_fd(), Mode::Unlocked).map(drop)
    }

    /// Transfers the lock from the ticket's open file description to the one it is wanted for, and
    /// returns whether that succeeded. Readers hold it twice for a moment. A writer must release it
    /// first, and a process that does not queue may acquire it in between: then we hold nothing,
    /// and are still first in the queue.
    pub(super) fn transfer(&self) -> Result<bool, AcquireError> {
        if self.mode == Mode::Exclusive {
            self.release()?;
        }
        let outcome = try_flock(self.fd, self.mode)?;
        if self.mode == Mode::Shared {
            self.release()?;
        }
        Ok(outcome == HELD)
    }

    /// Sleeps until one of these processes, or our sentinel, exits, but at most for this long.
    pub(super) fn sleep(
        &mut self,
        pidfds: &[OwnedFd],
        max_sleep: Duration,
        deadline: &Deadline,
    ) -> Result<Wakeup, AcquireError> {
        let own = self.ticket.sentinel_pidfd.as_ref();
        let all = own.into_iter().chain(pidfds);
        let mut polled: Vec<_> = all.map(|pidfd| PollFd::new(pidfd, PollFlags::IN)).collect();
        let wakeup = sleep(&mut polled, max_sleep, deadline)?;
        let sentinel_exited = own.is_some() && !polled[0].revents().is_empty();
        if sentinel_exited {
            self.ticket.respawn_sentinel()?;
        }
        Ok(wakeup)
    }

    /// Checks whether the queue has stalled: whether the predecessor with the ticket at this offset
    /// does not take the lock although it could. Then we pass it, and hold the lock.
    ///
    /// The predecessor could take a lock that is free, unless it has something else to wait for. If
    /// it is a writer and the lock is held by readers, it rightly waits; but if it is stopped, a
    /// reader joins them.
    ///
    /// The first in the queue is woken by the kernel; all others need as long to notice as we do.
    /// Therefore earlier waiters get the time that each of them may need before we pass them.
    ///
    /// Counting them may take a moment, in which the lock must not be held, because a process that
    /// does not queue would find it held. *Race:* another process may acquire it in that moment.
    /// Then the queue has not stalled.
    fn probe_stalled_queue(
        &mut self,
        before: i64,
        deadline: &Deadline,
    ) -> Result<Wakeup, AcquireError> {
        let mut search = Search::new(self.fd, deadline);
        if try_flock(self.ticket.file.as_fd(), Mode::Exclusive)? != HELD {
            self.stall = None;
            if self.is_shared_lock_held() {
                return Ok(Wakeup::Done(HELD));
            }
            let joins = self.mode == Mode::Shared && !search.is_waiting(before);
            return Ok(if joins {
                Wakeup::Recheck
            } else {
                Wakeup::TimedOut
            });
        }
        let is_free = (self.is_free)(self.fd);
        self.release()?;
        // A sentinel that could not be killed may outlast its ticket. While the lock is held, that
        // does not matter, and the search takes time.
        if !marker_exists(self.fd, before) {
            return Ok(Wakeup::Recheck);
        }
        if is_free && self.is_advancing(before, deadline) {
            return Ok(Wakeup::TimedOut);
        }
        if let Some(waiters) = search.live_waiters_ahead(self.ticket.offset) {
            if !is_free {
                self.stall = None;
                return Ok(Wakeup::TimedOut);
            }
            let stall = self.stall.get_or_insert_with(|| Stall {
                since: Instant::now(),
                first: search.any_predecessor(self.ticket.offset),
            });
            let grace = HANDOFF_GRACE * 9 / 10 + (STALL_CHECK_INTERVAL + HANDOFF_GRACE) * waiters;
            if stall.since.elapsed() < grace {
                return Ok(Wakeup::TimedOut);
            }
        }
        Ok(match try_flock(self.ticket.file.as_fd(), self.mode)? {
            Acquired::Held(()) => Wakeup::Done(HELD),
            Acquired::NotHeld(_) => Wakeup::Recheck,
        })
    }

    /// Returns whether the queue cannot have stalled for long enough: this check is the first that
    /// finds the lock free, or the first ticket is over since then.
    ///
    /// Where each waiter holds the lock for a moment only, it is free at many checks. To count the
    /// waiters each time would take longer than a hand-over, if there are thousands.
    fn is_advancing(&mut self, before: i64, deadline: &Deadline) -> bool {
        let mut search = Search::unverified(self.fd, deadline);
        let first = search.any_predecessor(self.ticket.offset);
        match &self.stall {
            Some(stall) if stall.first == first => false,
            Some(_) => {
                self.stall = None;
                true
            }
            None if search.is_waiting(before) => {
                let since = Instant::now();
                self.stall = Some(Stall { since, first });
                true
            }
            None => false,
        }
    }
}
