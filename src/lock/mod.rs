//! Advisory locks on files and descriptors.

pub mod acquire;
pub mod advisory;
pub mod at_path;
mod deadline;
pub mod descriptor;
mod error;
pub mod fair;
pub mod file;
pub mod file_id;
pub mod mark;
pub mod multi;
pub mod named;
pub mod open;
pub mod open_hint;
pub mod unlink;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::procfs::locks::Access;

pub use deadline::{Deadline, InterruptCheck, Timeout, remaining};
pub use error::{AcquireError, Error};

/// What an open file description is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A lock that other processes can share, also called a read lock.
    Shared,
    /// A lock that excludes all others, also called a write lock.
    Exclusive,
    /// No lock: the one that it holds is released.
    Unlocked,
}

impl From<Access> for Mode {
    fn from(access: Access) -> Self {
        match access {
            Access::Read => Self::Shared,
            Access::Write => Self::Exclusive,
        }
    }
}

/// Whether a lock was acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired<G, R = Refusal> {
    /// The lock is held.
    Held(G),
    /// The lock is not held, for this reason.
    NotHeld(R),
}

/// Why a lock was not acquired, though nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another process holds the lock, and the caller did not want to wait.
    WouldBlock,
    /// Another process held the lock until the deadline.
    TimedOut,
    /// Another process holds the lock, and as many wait for it as the caller permits.
    QueueFull,
    /// A newer process replaces the holder.
    Superseded,
    /// A signal interrupted the wait: see [`Deadline::Interruptible`].
    Interrupted,
}

impl<G, R> Acquired<G, R> {
    /// Converts the guard, if the lock is held.
    pub fn map<H>(self, convert: impl FnOnce(G) -> H) -> Acquired<H, R> {
        match self {
            Self::Held(guard) => Acquired::Held(convert(guard)),
            Self::NotHeld(reason) => Acquired::NotHeld(reason),
        }
    }
}

/// A lock that is held. Dropping the guard releases a lock on a file that this process opened,
/// unless a command has inherited it; a lock on a descriptor of the caller stays with that
/// descriptor.
#[derive(Debug)]
pub enum Guard {
    /// The lock is on a descriptor of the caller.
    Borrowed(BorrowedFd<'static>),
    /// The lock is on a file that was opened for it.
    Owned(OwnedFd),
}

impl AsFd for Guard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Borrowed(fd) => *fd,
            Self::Owned(fd) => fd.as_fd(),
        }
    }
}
