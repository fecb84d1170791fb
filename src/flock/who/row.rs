//! One row of `--who`: a holder or waiter, with process details.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::Pid;

use super::target::raw_pid;
use super::text;
use crate::flock::{OutputFormat, Target};
use crate::holders::{ListedKind, LockUser, Namespace, Role, Snapshot};
use crate::sys;
use crate::sys::clock;
use crate::sys::procfs::liveness::{self, Liveness};
use crate::sys::procfs::status::{ProcessInfo, command_line};

/// A row.
#[derive(Debug)]
pub(super) struct Row<'t> {
    pub target: &'t Target,
    pub lock: LockUser,
    /// Whether the file has been deleted.
    pub is_deleted: bool,
    /// Whether it waits in a deadlock.
    pub is_deadlocked: bool,
    /// The PID, if it means the same process here as in `/proc`.
    pub pid: Option<Pid>,
    pub time: Option<Time>,
    /// What is known about the process. The rows of a process share it: there may be many.
    pub process: Rc<Process>,
}

/// What is shown of a process.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub uid: Option<u32>,
    pub user: Option<OsString>,
    pub name: Option<OsString>,
    /// `None` if it is unknown, as for a process that is hidden, or has no arguments, as for a
    /// zombie; or if it is not shown.
    pub args: Option<Vec<OsString>>,
    age: Option<Duration>,
}

impl Process {
    /// Reads what the output format shows. Returns `None` if the process has exited.
    fn read(pid: Pid, namespace: Namespace, format: OutputFormat) -> Option<Self> {
        let info = ProcessInfo::read(pid);
        let has_exited =
            || namespace == Namespace::Foreign || liveness::check(pid) == Liveness::Dead;
        if info.is_none() && has_exited() {
            return None;
        }
        if format == OutputFormat::Pids {
            return Some(Self::default());
        }
        let uid = info.as_ref().and_then(|info| info.uid);
        Some(Self {
            uid,
            user: uid.and_then(sys::user::name_of),
            age: info.as_ref().and_then(ProcessInfo::age),
            name: info.map(|info| info.name),
            args: Some(command_line(pid)).filter(|args| !args.is_empty()),
        })
    }

    /// Returns the command for a table, if it is known.
    pub fn command(&self) -> Option<String> {
        if let Some(args) = &self.args {
            let args = args.iter().map(|arg| text::escape(arg.as_encoded_bytes()));
            return Some(args.collect::<Vec<_>>().join(" "));
        }
        let name = self.name.as_ref()?;
        Some(format!("[{}]", text::escape(name.as_encoded_bytes())))
    }
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

/// Returns when a process has acquired a lock, or has begun to wait for it, according to its marker.
///
/// Any process can place a marker with any time, so it counts only if it is possible: after the
/// machine was booted and, for a waiter, after the process was started. (A process that has
/// inherited a slot may be younger.)
pub(super) fn marker_time(user: &LockUser, age: Option<Duration>) -> Option<Duration> {
    /// The start of a process is known less exactly.
    const TOLERANCE: Duration = Duration::from_secs(1);
    let elapsed = user.since?.elapsed();
    let limit = match user.role {
        Role::Waiter => age,
        Role::Holder => None,
    };
    let limit = limit.unwrap_or_else(clock::since_boot);
    (elapsed <= limit + TOLERANCE).then_some(elapsed)
}

impl<'t> Row<'t> {
    /// Returns a row for each process that has not exited in the meantime.
    pub fn from_snapshot(
        target: &'t Target,
        snapshot: &Snapshot,
        format: OutputFormat,
    ) -> Vec<Self> {
        let namespace = snapshot.visibility.namespace;
        let mut processes: BTreeMap<i32, Option<Rc<Process>>> = BTreeMap::new();
        let unknown = Rc::new(Process::default());
        let row = |user: &LockUser| {
            let process = match user.pid {
                None => Rc::clone(&unknown),
                Some(pid) => {
                    let read = || Process::read(pid, namespace, format).map(Rc::new);
                    let entry = processes.entry(raw_pid(pid)).or_insert_with(read);
                    entry.clone()?
                }
            };
            let age = process.age;
            Some(Self {
                target,
                lock: *user,
                is_deleted: snapshot.is_deleted,
                is_deadlocked: false,
                pid: user.pid.filter(|_| namespace != Namespace::Foreign),
                time: match marker_time(user, age) {
                    Some(time) => Some(Time::Lock(time)),
                    None => age.map(Time::Process),
                },
                process,
            })
        };
        snapshot.users.iter().filter_map(row).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holders::Confidence;
    use crate::lock::fair::marker::ArrivalTime;

    #[test]
    fn impossible_times_of_markers_do_not_count() {
        let arrived = ArrivalTime::now();
        let mut later = arrived;
        // A second.
        (0..62_500).for_each(|_| later = later.next());
        let counts = |role, since, age: Option<u64>| {
            let user = LockUser {
                role,
                kind: ListedKind::Slot,
                mode: None,
                range: None,
                pid: None,
                confidence: Confidence::Verified,
                since: Some(since),
            };
            marker_time(&user, age.map(Duration::from_secs)).is_some()
        };
        for role in [Role::Holder, Role::Waiter] {
            assert!(counts(role, arrived, Some(0)) && counts(role, arrived, None));
            assert!(!counts(role, later, Some(0)), "it is in the future");
        }
    }
}
