//! The kinds of lock, and how one is acquired on an open file description.

use std::os::fd::BorrowedFd;

use super::advisory::{self, LockApi};
use super::fair::claim::{self, Claim};
use super::fair::{places, queue, slots};
use super::{AcquireError, Acquired, Deadline, Mode};
use crate::sys::clock::Uptime;

/// A kind of lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// A lock of the kernel.
    Advisory(LockApi),
    /// A lock of flock(2), acquired in arrival order among all processes that ask for this kind.
    Fair {
        /// When the caller arrived.
        arrived: Uptime,
        /// Whether other processes may share the open file description.
        is_shared: bool,
    },
    /// One of a limited number of slots of the file, acquired in arrival order.
    Slot {
        /// The number of slots.
        limit: u32,
        /// When the caller arrived.
        arrived: Uptime,
    },
    /// A lock of flock(2), unless a newer process replaces its holder.
    Claimed(Claim),
    /// A lock of flock(2) or a slot, unless too many processes wait for it.
    Bounded {
        /// The number of processes that may wait.
        limit: u32,
        /// The order in which they acquire it.
        order: Order,
    },
}

/// The order in which the waiters of a bounded queue acquire the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// That of the kernel.
    Kernel,
    /// As for [`LockKind::Fair`].
    Fair {
        /// When the caller arrived.
        arrived: Uptime,
        /// Whether other processes may share the open file description.
        is_shared: bool,
    },
    /// As for [`LockKind::Slot`].
    Slot {
        /// The number of slots.
        limit: u32,
        /// When the caller arrived.
        arrived: Uptime,
    },
}

impl From<Order> for LockKind {
    fn from(order: Order) -> Self {
        match order {
            Order::Kernel => Self::Advisory(LockApi::Flock),
            Order::Fair { arrived, is_shared } => Self::Fair { arrived, is_shared },
            Order::Slot { limit, arrived } => Self::Slot { limit, arrived },
        }
    }
}

impl LockKind {
    /// Returns the kernel's lock that it is built on.
    pub fn api(self) -> LockApi {
        match self {
            Self::Advisory(api) => api,
            Self::Fair { .. } | Self::Slot { .. } | Self::Claimed(_) | Self::Bounded { .. } => {
                LockApi::Flock
            }
        }
    }
}

/// Acquires or releases a lock on an open file description, and waits no longer than the deadline.
///
/// Calls `on_wait` before it starts to wait.
///
/// # Errors
///
/// The lock call failed, or there are no resources for the wait.
pub fn acquire(
    fd: BorrowedFd<'_>,
    kind: LockKind,
    mode: Mode,
    deadline: &Deadline,
    on_wait: &mut dyn FnMut(),
) -> Result<Acquired<()>, AcquireError> {
    match kind {
        LockKind::Advisory(api) => advisory::acquire(fd, api, mode, deadline, on_wait),
        LockKind::Fair { arrived, is_shared } => {
            queue::acquire(fd, mode, arrived, is_shared, deadline, on_wait)
        }
        LockKind::Slot { limit, arrived } => slots::acquire(fd, limit, arrived, deadline, on_wait),
        LockKind::Claimed(claim) => claim::acquire(fd, claim, mode, deadline, on_wait),
        LockKind::Bounded { limit, order } => {
            let kind = order.into();
            let mut lock = |deadline: &Deadline| acquire(fd, kind, mode, deadline, on_wait);
            places::acquire(fd, limit, mode, deadline, &mut lock)
        }
    }
}
