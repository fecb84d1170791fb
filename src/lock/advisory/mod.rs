//! The kernel's advisory locks, and blocking until a deadline.

mod flock;
mod meaning;
mod ofd;

use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::io::Errno;

use super::{AcquireError, Acquired, Deadline, InterruptCheck, Mode, Refusal, remaining};
use crate::sys::delegate;
use crate::sys::interruptible::InterruptibleCall;
use crate::sys::ofd::Blocking;
use crate::sys::timer::Interrupter;

pub use meaning::{Meaning, hint};

/// The system call of a lock, and the part of the file that it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockApi {
    /// flock(2): the whole file.
    Flock,
    /// An open file description lock of fcntl(2) on `length` bytes from `start`. Length 0 means to
    /// the end of the file and beyond.
    Ofd {
        /// The first byte.
        start: i64,
        /// The number of bytes.
        length: i64,
    },
}

/// Acquires or releases a lock on an open file description, and waits no longer than the deadline.
///
/// A wait blocks in the kernel and keeps its place in the kernel's queue: even with a deadline, it
/// is interrupted only once the deadline has passed. A lock that is granted at the very moment of
/// the deadline counts as held. Calls `on_wait` before it blocks.
///
/// # Errors
///
/// The lock call failed, or there is no timer for the deadline.
///
/// # References
///
/// flock(2), fcntl_locking(2).
pub fn acquire(
    fd: BorrowedFd<'_>,
    api: LockApi,
    mode: Mode,
    deadline: &Deadline,
    on_wait: &mut dyn FnMut(),
) -> Result<Acquired<()>, AcquireError> {
    // Most locks are free, and a free lock needs no timer.
    let outcome = try_acquire(fd, api, mode)?;
    if outcome == Acquired::Held(()) || matches!(deadline, Deadline::Immediate) {
        return Ok(outcome);
    }
    on_wait();
    let instant = deadline.instant();
    if let Deadline::Interruptible(_, is_signal_pending) = deadline {
        return block_interruptibly(fd, api, mode, instant, *is_signal_pending);
    }
    let _interrupter = match instant.map(remaining) {
        None => None,
        Some(None) => return Ok(Acquired::NotHeld(Refusal::TimedOut)),
        Some(Some(left)) => match Interrupter::after(left) {
            Ok(interrupter) => Some(interrupter),
            Err(_) => return block_without_timer(fd, api, mode, instant),
        },
    };
    loop {
        match lock(fd, api, mode, Blocking::Yes) {
            Err(Errno::INTR) if instant.is_some_and(|instant| remaining(instant).is_none()) => {
                return Ok(Acquired::NotHeld(Refusal::TimedOut));
            }
            Err(Errno::INTR) => {}
            result => return interpret(result, fd, Blocking::Yes),
        }
    }
}

/// Acquires or releases a lock without waiting.
///
/// # Errors
///
/// The lock call failed.
pub fn try_acquire(
    fd: BorrowedFd<'_>,
    api: LockApi,
    mode: Mode,
) -> Result<Acquired<()>, AcquireError> {
    interpret(lock(fd, api, mode, Blocking::No), fd, Blocking::No)
}

/// Blocks until the lock is held or the deadline has passed, if there is no timer, or the caller has
/// blocked all signals that it could send.
fn block_without_timer(
    fd: BorrowedFd<'_>,
    api: LockApi,
    mode: Mode,
    instant: Option<Instant>,
) -> Result<Acquired<()>, AcquireError> {
    loop {
        let result = delegate::run(instant, || lock(fd, api, mode, Blocking::Yes));
        match result.map_err(AcquireError::Timer)? {
            Some(Err(Errno::INTR)) => {}
            Some(result) => return interpret(result, fd, Blocking::Yes),
            // It may have been granted just when the call was abandoned.
            None => match try_acquire(fd, api, mode)? {
                Acquired::NotHeld(_) if instant.and_then(remaining).is_some() => {}
                Acquired::NotHeld(_) => return Ok(Acquired::NotHeld(Refusal::TimedOut)),
                held => return Ok(held),
            },
        }
    }
}

/// Blocks until the lock is held, the deadline has passed, or a signal handler of the host has run.
fn block_interruptibly(
    fd: BorrowedFd<'_>,
    api: LockApi,
    mode: Mode,
    instant: Option<Instant>,
    is_signal_pending: InterruptCheck,
) -> Result<Acquired<()>, AcquireError> {
    let left = instant.map(remaining);
    if left == Some(None) {
        return Ok(Acquired::NotHeld(Refusal::TimedOut));
    }
    let call = InterruptibleCall::begin(left.flatten(), is_signal_pending);
    let Some(call) = call.map_err(AcquireError::Timer)? else {
        return Ok(Acquired::NotHeld(Refusal::Interrupted));
    };
    let result = call.run(|| lock(fd, api, mode, Blocking::Yes));
    match result.map_err(AcquireError::Timer)? {
        // A child may have acquired it just when the call was abandoned.
        Err(Errno::INTR) => Ok(match try_acquire(fd, api, mode)? {
            Acquired::NotHeld(_) => Acquired::NotHeld(match instant.map(remaining) {
                Some(None) => Refusal::TimedOut,
                _ => Refusal::Interrupted,
            }),
            held => held,
        }),
        result => interpret(result, fd, Blocking::Yes),
    }
}

fn lock(fd: BorrowedFd<'_>, api: LockApi, mode: Mode, blocking: Blocking) -> Result<(), Errno> {
    match api {
        LockApi::Flock => flock::lock(fd, mode, blocking),
        LockApi::Ofd { start, length } => ofd::lock(fd, mode, blocking, start, length),
    }
}

fn interpret(
    result: Result<(), Errno>,
    fd: BorrowedFd<'_>,
    blocking: Blocking,
) -> Result<Acquired<()>, AcquireError> {
    match result {
        Ok(()) => Ok(Acquired::Held(())),
        Err(errno) => match Meaning::of_call(errno, fd, blocking) {
            Meaning::Conflict => Ok(Acquired::NotHeld(Refusal::WouldBlock)),
            _ => Err(AcquireError::Lock(errno.into())),
        },
    }
}
