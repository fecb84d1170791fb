//! One row of `--who`: a holder or waiter, with process details.

use std::ffi::OsString;
use std::time::Duration;

use rustix::process::Pid;

use crate::flock::Target;
use crate::holders::{ListedKind, LockUser, Namespace, Snapshot};
use crate::sys;
use crate::sys::procfs::liveness::{self, Liveness};
use crate::sys::procfs::status::{ProcessInfo, command_line};

/// A row.
#[derive(Debug)]
pub(super) struct Row {
    pub target: Target,
    pub lock: LockUser,
    /// Whether the file has been deleted.
    pub is_deleted: bool,
    /// Whether it waits in a deadlock.
    pub is_deadlocked: bool,
    /// The PID, if it means the same process here as in `/proc`.
    pub pid: Option<Pid>,
    pub uid: Option<u32>,
    pub user: Option<OsString>,
    pub time: Option<Time>,
    pub name: Option<OsString>,
    /// `None` if it is unknown, as for a process that is hidden, or has no arguments, as for a
    /// zombie.
    pub args: Option<Vec<OsString>>,
}

/// A duration, and what it is measured from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    /// Since the process was started: the kernel does not record when it acquired the lock.
    Process(Duration),
    /// Since the lock was acquired, or the wait started, according to a marker.
    Lock(Duration),
}

impl Time {
    pub fn elapsed(self) -> Duration {
        match self {
            Self::Process(time) | Self::Lock(time) => time,
        }
    }
}

impl Row {
    /// Returns a row for each process that has not exited in the meantime.
    pub fn from_snapshot(target: &Target, snapshot: &Snapshot) -> Vec<Self> {
        let row = |user: &LockUser| Self::new(target, *user, snapshot);
        snapshot.users.iter().filter_map(row).collect()
    }

    fn new(target: &Target, lock: LockUser, snapshot: &Snapshot) -> Option<Self> {
        let namespace = snapshot.visibility.namespace;
        let info = lock.pid.and_then(ProcessInfo::read);
        let has_exited =
            |pid| namespace == Namespace::Foreign || liveness::check(pid) == Liveness::Dead;
        if info.is_none() && lock.pid.is_some_and(has_exited) {
            return None;
        }
        let age = info.as_ref().and_then(ProcessInfo::age);
        let uid = info.as_ref().and_then(|info| info.uid);
        Some(Self {
            target: target.clone(),
            lock,
            is_deleted: snapshot.is_deleted,
            is_deadlocked: false,
            pid: lock.pid.filter(|_| namespace != Namespace::Foreign),
            uid,
            user: uid.and_then(sys::user::name_of),
            time: match lock.since {
                Some(since) => Some(Time::Lock(since.elapsed())),
                None => age.map(Time::Process),
            },
            name: info.map(|info| info.name),
            args: lock.pid.map(command_line).filter(|args| !args.is_empty()),
        })
    }

    /// Returns the kind of lock, in the terms of lslocks(8).
    pub fn kind(&self) -> &'static str {
        match self.lock.kind {
            ListedKind::Flock => "FLOCK",
            ListedKind::Ofd => "OFDLCK",
            ListedKind::Posix => "POSIX",
            ListedKind::Slot => "SLOT",
        }
    }
}
