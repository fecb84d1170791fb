//! What is known about the holders and waiters of a lock.

use std::os::fd::RawFd;

use rustix::io::Errno;
use rustix::process::Pid;

use crate::lock::Mode;
use crate::lock::fair::marker::ArrivalTime;
use crate::lock::mark::Mark;
use crate::sys::filesystem::Locality;
use crate::sys::procfs::liveness::{self, Liveness};
use crate::sys::procfs::locks::{FileKey, LockRecord, LockType};
use crate::sys::procfs::stat::parent;
use crate::sys::procfs::{is_initial_pid_namespace, shows_own_pids};

/// The role of a process in a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It holds the lock.
    Holder,
    /// It waits for the lock.
    Waiter,
}

/// The kinds of lock that are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedKind {
    /// flock(2).
    Flock,
    /// fcntl(2), for an open file description.
    Ofd,
    /// fcntl(2), for a process.
    Posix,
    /// A slot of `flock --slots`.
    Slot,
    /// A lock elsewhere that is tied to a descriptor of the file.
    Elsewhere,
}

impl ListedKind {
    /// Returns whether locks of these kinds can exclude each other. A slot excludes nothing alone,
    /// and a lock elsewhere nothing here.
    pub(super) fn conflicts_with(self, other: Self) -> bool {
        let is_flock = |kind| kind == Self::Flock;
        let excludes = |kind| !matches!(kind, Self::Slot | Self::Elsewhere);
        excludes(self) && excludes(other) && is_flock(self) == is_flock(other)
    }
}

impl From<LockType> for ListedKind {
    fn from(lock_type: LockType) -> Self {
        match lock_type {
            LockType::Flock => Self::Flock,
            LockType::Ofd => Self::Ofd,
            LockType::Posix => Self::Posix,
        }
    }
}

/// A range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first byte.
    pub first: i64,
    /// The last byte; `None` means to the end of the file and beyond.
    pub last: Option<i64>,
}

/// How certain it is that a process has its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    /// The kernel shows it.
    Verified,
    /// The process acquired the lock, and no process is seen to hold it; but the descriptors of the
    /// process are hidden.
    Unverified,
}

/// A process that holds or waits for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockUser {
    /// Its role.
    pub role: Role,
    /// The kind of lock.
    pub kind: ListedKind,
    /// [`Mode::Shared`] or [`Mode::Exclusive`]; `None` if there is no difference, or it is unknown.
    pub mode: Option<Mode>,
    /// The locked bytes; `None` means the whole file.
    pub range: Option<Range>,
    /// The PID in `/proc`, which is the PID here unless the namespace is [`Namespace::Foreign`];
    /// `None` if it is unknown.
    pub pid: Option<Pid>,
    /// How certain it is.
    pub confidence: Confidence,
    /// When it arrived or acquired the lock, if a marker says so.
    pub since: Option<ArrivalTime>,
}

/// The process that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A process that exists only to ask: even if it has inherited a lock, it is not listed.
    Process,
    /// A shell that asks in its own process, and may hold or wait for the lock itself.
    Shell,
    /// A subshell, forked for `$(flock --who ...)`: it holds whatever the shell holds.
    Subshell,
}

/// A lock that the asking process holds with a descriptor of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnLock {
    /// The descriptor.
    pub fd: RawFd,
    /// The lock.
    pub user: LockUser,
    /// Its record, which is the same for all descriptors of one open file description.
    pub record: LockRecord,
}

/// The holders and waiters at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// The device and the inode of the file.
    pub key: FileKey,
    /// All processes that are known to use the lock, holders first.
    pub users: Vec<LockUser>,
    /// The locks of the asking process, even if it is not listed.
    pub own_locks: Vec<OwnLock>,
    /// Whether the asking process, which is not listed, has a lock that no other visible process
    /// has.
    pub is_inherited: bool,
    /// Whether only the file's server knows of the holder.
    pub is_remote_holder: bool,
    /// On a file system whose locks may be known only to its server, if no holder is known: the
    /// processes that have the file open.
    pub openers: Vec<Pid>,
    /// Whether the file has been deleted.
    pub is_deleted: bool,
    /// How many locks on ranges of bytes are not listed, because there are too many.
    pub omitted: usize,
    /// The processes that guard a lock elsewhere that is tied to a descriptor of the file, and its
    /// mark.
    pub guards: Vec<(Pid, Mark)>,
    /// What may be missing.
    pub visibility: Visibility,
}

/// The limits of what could be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visibility {
    /// Whether there are processes whose descriptors are hidden, or there may be processes that are
    /// hidden altogether.
    pub is_restricted: bool,
    /// Whether all processes of the machine are visible.
    pub namespace: Namespace,
    /// Whether other machines can lock the file.
    pub locality: Locality,
    /// The type of the file system.
    pub file_system: Option<String>,
    /// Why processes could not be examined, although that is permitted: descriptors or memory are
    /// exhausted.
    pub error: Option<Errno>,
    /// Whether not all processes were examined, because there was no time left.
    pub is_cut_short: bool,
}

impl Visibility {
    /// Returns whether a process that has the lock may be invisible.
    pub(super) fn is_partial(&self) -> bool {
        self.is_restricted
            || self.namespace != Namespace::Whole
            || self.error.is_some()
            || self.is_cut_short
    }
}

/// The processes that `/proc` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// All processes of the machine.
    Whole,
    /// The processes of this process's PID namespace.
    Part,
    /// The processes of another PID namespace, whose PIDs mean other processes here.
    Foreign,
}

impl Namespace {
    /// Returns what `/proc` shows to this process.
    pub(super) fn current() -> Self {
        if !shows_own_pids() {
            Self::Foreign
        } else if is_initial_pid_namespace() {
            Self::Whole
        } else {
            Self::Part
        }
    }

    /// Returns whether a process with this PID in `/proc` exists.
    pub(super) fn has(self, pid: Pid) -> bool {
        match self {
            Self::Foreign => parent(pid).is_some(),
            Self::Whole | Self::Part => liveness::check(pid) != Liveness::Dead,
        }
    }
}
