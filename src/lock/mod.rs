//! Advisory locks: what kinds there are, and how one is taken.
//!
//! [`descriptor::acquire`] brings a descriptor of the caller's into the wanted [`Mode`], [`file::acquire`] the file at a path.
//!
//! In the order of arrival: `queue`, by [`turn`]s; with several at a time: `slots`. What both leave in the lock file for as
//! long as they are there is a [`mark`].

mod advisory;
pub mod descriptor;
mod error;
pub mod fair;
pub mod file;
pub mod multi;

mod deadline;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub use error::{Error, Failure};

pub use deadline::{Called, Deadline, Until, Wait};

use fair::marker::Moment;

use crate::sys::interruptible::Attention;
use crate::sys::timer::Interrupter;

/// Whose locks, and on what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// flock(2): the whole file.
    Flock,
    /// The same in the order of arrival among all who ask for it so, by one who came at this moment.
    Fair(Moment),
    /// One of so many slots of the file, in the order of arrival, by one who came at this moment.
    Slot {
        /// How many there are.
        of: u32,
        /// When he came.
        since: Moment,
    },
    /// Open file description locks of fcntl(2): `length` bytes from `start`; length 0 means to the end of the file and
    /// beyond.
    Ofd {
        /// The first byte.
        start: i64,
        /// How many.
        length: i64,
    },
}

/// What the descriptor is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A lock that others may share, also called a read lock.
    Shared,
    /// A lock that excludes all others, also called a write lock.
    Exclusive,
    /// None: what it holds is dropped.
    Unlocked,
}

/// How a request for a lock ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The lock is held.
    Granted,
    /// Somebody else has it, and we were not to wait.
    Conflict,
    /// Somebody else had it until the time was up.
    TimedOut,
    /// A signal of the host's came first: see [`Deadline::Attentive`].
    Interrupted,
}

/// A lock that is held. Dropping it releases a lock on a file that we opened, unless a command has inherited it; one
/// on the caller's descriptor stays with that.
#[derive(Debug)]
pub enum Guard {
    /// On a descriptor of the caller's.
    Theirs(BorrowedFd<'static>),
    /// On a file that we opened.
    Ours(OwnedFd),
}

impl AsFd for Guard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Theirs(fd) => *fd,
            Self::Ours(fd) => fd.as_fd(),
        }
    }
}

/// A lock, or the answer that there is none.
pub type Grant = Result<Guard, Answer>;

/// Brings an open file description into the mode, waiting no longer than the deadline.
///
/// It blocks in the kernel and keeps its place in the kernel's queue: with a deadline too, it is interrupted once the
/// time is up and not before. A lock that is granted in the very moment of the deadline counts as granted.
/// # Errors
///
/// The lock call failed, or what it needs is exhausted.
pub fn acquire(
    fd: BorrowedFd<'_>,
    kind: Kind,
    mode: Mode,
    deadline: &Deadline,
) -> Result<Answer, Failure> {
    match kind {
        Kind::Flock | Kind::Ofd { .. } => {}
        Kind::Fair(since) => return fair::queue::acquire(fd, mode, since, deadline),
        Kind::Slot { of, since } => return fair::slots::acquire(fd, of, since, deadline),
    }
    match deadline {
        Deadline::Now => return attempt(fd, kind, mode, Block::No),
        Deadline::Never => {}
        Deadline::At(_) | Deadline::Attentive(..) => {
            // Most locks are free, and one that is free needs no timer.
            if attempt(fd, kind, mode, Block::No)? == Answer::Granted {
                return Ok(Answer::Granted);
            }
        }
    }
    let until = deadline.until();
    if let Deadline::Attentive(_, called) = deadline {
        return attentively(fd, kind, mode, until, *called);
    }
    let _alarm = match until {
        None => None,
        Some(until) => match until.left() {
            None => return Ok(Answer::TimedOut),
            Some(left) => Some(Interrupter::after(left).map_err(Failure::Timer)?),
        },
    };
    loop {
        match attempt(fd, kind, mode, Block::Yes) {
            Err(Failure::Lock(error)) if error.kind() == io::ErrorKind::Interrupted => {
                if until.is_some_and(|until| until.left().is_none()) {
                    return Ok(Answer::TimedOut);
                }
            }
            other => return other,
        }
    }
}

/// Blocks until the lock is there, the time is up, or the host is called.
fn attentively(
    fd: BorrowedFd<'_>,
    kind: Kind,
    mode: Mode,
    until: Option<Until>,
    called: Called,
) -> Result<Answer, Failure> {
    let left = until.map(Until::left);
    if left == Some(None) {
        return Ok(Answer::TimedOut);
    }
    let attention = Attention::begin(left.flatten(), called).map_err(Failure::Timer)?;
    if attention.is_none() {
        return Ok(Answer::Interrupted);
    }
    match attempt(fd, kind, mode, Block::Yes) {
        Err(Failure::Lock(error)) if error.kind() == io::ErrorKind::Interrupted => {
            Ok(match until.map(Until::left) {
                Some(None) => Answer::TimedOut,
                _ => Answer::Interrupted,
            })
        }
        other => other,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    No,
    Yes,
}

fn attempt(fd: BorrowedFd<'_>, kind: Kind, mode: Mode, block: Block) -> Result<Answer, Failure> {
    let result = match kind {
        Kind::Flock | Kind::Fair(_) | Kind::Slot { .. } => advisory::flock::lock(fd, mode, block),
        Kind::Ofd { start, length } => advisory::ofd::lock(fd, mode, block, start, length),
    };
    match result {
        Ok(()) => Ok(Answer::Granted),
        Err(error) if is_conflict(&error, block) => Ok(Answer::Conflict),
        Err(error) => Err(Failure::Lock(error)),
    }
}

/// Servers of CIFS, and other systems' fcntl(2), say `EACCES` for a conflict. From a call that may block it is none: it
/// is a security module that forbids the lock.
fn is_conflict(error: &io::Error, block: Block) -> bool {
    match error.kind() {
        io::ErrorKind::WouldBlock => true,
        io::ErrorKind::PermissionDenied => block == Block::No,
        _ => false,
    }
}
