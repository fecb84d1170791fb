//! What a marker is verified against: the processes, as `/proc` shows them.

use rustix::process::Pid;

use crate::holders::lock_user::Namespace;
use crate::holders::scan::Scan;
use crate::sys::procfs::stat::{self, Stat};
use crate::sys::procfs::status::{Status, comm};
use crate::sys::procfs::{self};
use crate::sys::sentinel;

/// A child that has the name of a sentinel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::holders) struct ChildSentinel {
    /// Its PID in `/proc`.
    pub pid: Pid,
    /// Its PID in its own PID namespace, which is that of its parent. Markers contain this one.
    pub ns_pid: Pid,
}

/// The processes.
pub(in crate::holders) trait Processes {
    /// Returns the parent of a process.
    fn parent(&self, pid: Pid) -> Option<Pid>;

    /// Returns whether a process exists.
    fn is_alive(&self, pid: Pid) -> bool;

    /// Returns whether the descriptors of a process are visible.
    fn is_visible(&self, pid: Pid) -> bool;

    /// Returns whether a process has the name of a sentinel, or `None` if its name is hidden, or it
    /// does not exist.
    fn has_sentinel_name(&self, pid: Pid) -> Option<bool>;

    /// Returns the children of a process that have the name of a sentinel, or `None` if the kernel
    /// does not list children.
    fn child_sentinels(&self, pid: Pid) -> Option<Vec<ChildSentinel>>;

    /// Returns whether a process exits without a signal to its parent, as a sentinel does.
    fn exits_silently(&self, pid: Pid) -> bool;
}

/// The processes that `/proc` shows.
pub(in crate::holders) struct ProcProcesses<'s> {
    pub namespace: Namespace,
    pub scan: &'s Scan,
}

impl Processes for ProcProcesses<'_> {
    fn parent(&self, pid: Pid) -> Option<Pid> {
        stat::parent(pid)
    }

    fn is_alive(&self, pid: Pid) -> bool {
        self.namespace.has(pid)
    }

    fn is_visible(&self, pid: Pid) -> bool {
        self.scan.is_visible(pid)
    }

    fn has_sentinel_name(&self, pid: Pid) -> Option<bool> {
        let name = comm(pid).ok()?;
        Some(name == sentinel::NAME.to_bytes())
    }

    fn child_sentinels(&self, pid: Pid) -> Option<Vec<ChildSentinel>> {
        let children = procfs::children(pid)?.into_iter();
        let named = children.filter(|child| self.has_sentinel_name(*child) == Some(true));
        let with_ns_pid = named.filter_map(|pid| {
            let ns_pid = Status::read(pid)?.ns_pid()?;
            Some(ChildSentinel { pid, ns_pid })
        });
        Some(with_ns_pid.collect())
    }

    fn exits_silently(&self, pid: Pid) -> bool {
        Stat::read(pid).is_some_and(|stat| stat.exit_signal == 0)
    }
}
