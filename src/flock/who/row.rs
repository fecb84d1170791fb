//! One row of `--who`: a holder or waiter, with process details.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::Pid;

use super::target::{label, raw_pid};
use super::text;
use crate::flock::{OutputFormat, Target};
use crate::holders::{ListedKind, LockUser, LockedFile, Namespace, Role, Snapshot};
use crate::sys;
use crate::sys::procfs::liveness::{self, Liveness};
use crate::sys::procfs::locks::FileKey;
use crate::sys::procfs::status::{ProcessInfo, command_line};

/// What a row is about.
#[derive(Clone, Debug)]
pub(super) enum Subject<'t> {
    /// A file or a descriptor of the request.
    Target(&'t Target),
    /// A file that was found.
    Found(Rc<LockedFile>),
}

impl Subject<'_> {
    /// Returns its name in messages and tables.
    pub fn label(&self) -> OsString {
        let file = match self {
            Self::Target(target) => return label(target),
            Self::Found(file) => file,
        };
        if let Some(path) = &file.path {
            return path.clone();
        }
        let mut name = OsString::from(format!("inode {} on ", file.key.inode));
        match &file.mount_point {
            Some(path) => name.push(path),
            None => name.push(format!(
                "device {}:{}",
                file.key.device.0, file.key.device.1
            )),
        }
        name
    }
}

/// A row.
#[derive(Debug)]
pub(super) struct Row<'t> {
    pub subject: Subject<'t>,
    /// The device and the inode of the file.
    pub key: FileKey,
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
/// Any process can place a marker with any time, so that of a waiter counts only if it is after the
/// start of the process. (A process that has inherited a slot may be younger.)
pub(super) fn marker_time(user: &LockUser, age: Option<Duration>) -> Option<Duration> {
    /// The start of a process is known less exactly.
    const TOLERANCE: Duration = Duration::from_secs(1);
    let elapsed = user.since?.elapsed();
    let limit = age.filter(|_| user.role == Role::Waiter);
    let is_possible = limit.is_none_or(|age| elapsed <= age + TOLERANCE);
    is_possible.then_some(elapsed)
}

/// The processes of the rows, each of which is read once.
pub(super) struct Processes {
    namespace: Namespace,
    format: OutputFormat,
    known: BTreeMap<i32, Option<Rc<Process>>>,
    unknown: Rc<Process>,
}

impl Processes {
    pub fn new(namespace: Namespace, format: OutputFormat) -> Self {
        Self {
            namespace,
            format,
            known: BTreeMap::new(),
            unknown: Rc::new(Process::default()),
        }
    }

    /// Returns what is known about a process, or `None` if it has exited.
    fn get(&mut self, pid: Option<Pid>) -> Option<Rc<Process>> {
        let Some(pid) = pid else {
            return Some(Rc::clone(&self.unknown));
        };
        let read = || Process::read(pid, self.namespace, self.format).map(Rc::new);
        self.known.entry(raw_pid(pid)).or_insert_with(read).clone()
    }
}

impl<'t> Row<'t> {
    /// Returns a row for each process that has not exited in the meantime.
    pub fn from_snapshot(
        target: &'t Target,
        snapshot: &Snapshot,
        format: OutputFormat,
    ) -> Vec<Self> {
        let mut processes = Processes::new(snapshot.visibility.namespace, format);
        let row = |user: &LockUser| {
            let subject = Subject::Target(target);
            Self::new(
                subject,
                snapshot.key,
                *user,
                snapshot.is_deleted,
                &mut processes,
            )
        };
        snapshot.users.iter().filter_map(row).collect()
    }

    /// Returns a row for each process that uses the locks of a file and has not exited in the
    /// meantime.
    pub fn from_file(file: &Rc<LockedFile>, processes: &mut Processes) -> Vec<Self> {
        let row = |user: &LockUser| {
            let subject = Subject::Found(Rc::clone(file));
            Self::new(subject, file.key, *user, file.is_deleted, processes)
        };
        file.users.iter().filter_map(row).collect()
    }

    fn new(
        subject: Subject<'t>,
        key: FileKey,
        user: LockUser,
        is_deleted: bool,
        processes: &mut Processes,
    ) -> Option<Self> {
        let process = processes.get(user.pid)?;
        let age = process.age;
        Some(Self {
            subject,
            key,
            lock: user,
            is_deleted,
            is_deadlocked: false,
            pid: user
                .pid
                .filter(|_| processes.namespace != Namespace::Foreign),
            time: match marker_time(&user, age) {
                Some(time) => Some(Time::Lock(time)),
                None => age.map(Time::Process),
            },
            process,
        })
    }

    /// Returns the kind of lock, in the terms of lslocks(8).
    pub fn kind(&self) -> &'static str {
        match self.lock.kind {
            ListedKind::Flock => "FLOCK",
            ListedKind::Ofd => "OFDLCK",
            ListedKind::Posix => "POSIX",
            ListedKind::Slot => "SLOT",
            ListedKind::Elsewhere => "ELSEWHERE",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holders::Confidence;
    use crate::lock::Mode;
    use crate::lock::fair::marker::{ArrivalTime, Marker};

    #[test]
    fn a_wait_is_not_older_than_its_process() {
        let (mode, pid) = (Mode::Exclusive, Pid::INIT);
        let arrived = ArrivalTime::now();
        let ticket = Marker::Ticket { arrived, mode, pid };
        // A minute earlier, in ticks of 16 µs.
        let earlier = ticket.offset() - ((60 * 62_500) << 23);
        let Some(Marker::Ticket { arrived: since, .. }) = Marker::from_offset(earlier) else {
            panic!("a ticket");
        };
        let counts = |role, age| {
            let user = LockUser {
                role,
                kind: ListedKind::Slot,
                mode: None,
                range: None,
                pid: None,
                confidence: Confidence::Verified,
                since: Some(since),
            };
            marker_time(&user, Some(Duration::from_secs(age))).is_some()
        };
        assert!(!counts(Role::Waiter, 50) && counts(Role::Waiter, 70));
        // A slot may have been inherited from a process that was started earlier.
        assert!(counts(Role::Holder, 50));
    }
}
