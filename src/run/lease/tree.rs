//! All descendants of this process: asking them to terminate, and killing them.

use std::collections::{BTreeMap, BTreeSet};

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, pidfd_open, pidfd_send_signal,
};

use crate::run::descendants::children;
use crate::run::supervisor::is_supervisor;
use crate::sys::procfs;
use crate::sys::procfs::stat::Stat;
use crate::sys::signal::{self, SignalSet, number};

/// Asks all descendants of this process to terminate, and continues those that are stopped. What
/// they start afterwards is not asked.
///
/// *Race:* a process may exit between the listing and the signal, and a stranger may get its PID.
/// So the signal is sent by a pidfd, and after the pidfd has been opened, the parent must be in the
/// tree, which a stranger's is not. (The parent's PID, too, may belong to a stranger by then, but
/// only if all PIDs have been assigned once in the meantime, which takes far longer.) Where there
/// are no pidfds (before Linux 5.3), or `/proc` does not show the processes, only the children are
/// asked, whose PIDs stay theirs until this process reaps them.
pub(super) fn terminate() {
    let mut tree = BTreeSet::from([getpid().as_raw_nonzero().get()]);
    for pid in descendants() {
        let in_tree =
            |tree: &BTreeSet<i32>| Stat::read(pid).is_some_and(|stat| tree.contains(&stat.parent));
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
            continue;
        };
        if in_tree(&tree) {
            tree.insert(pid.as_raw_nonzero().get());
            let _ = pidfd_send_signal(&process, Signal::TERM);
            let _ = pidfd_send_signal(&process, Signal::CONT);
        }
    }
    for child in children() {
        if !tree.contains(&child.as_raw_nonzero().get()) {
            let _ = signal::send(child, number::TERM);
            let _ = signal::send(child, number::CONT);
        }
    }
}

/// Returns the descendants that `/proc` shows, each after its parent.
fn descendants() -> Vec<Pid> {
    if !procfs::shows_own_pids() {
        return Vec::new();
    }
    let mut by_parent = BTreeMap::<i32, Vec<Pid>>::new();
    for pid in procfs::pids().unwrap_or_default() {
        if let Some(stat) = Stat::read(pid) {
            by_parent.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut unvisited = vec![getpid()];
    while let Some(parent) = unvisited.pop() {
        // Removed, so that a tree that changes while it is read cannot be circular.
        let parent = parent.as_raw_nonzero().get();
        let children = by_parent.remove(&parent).unwrap_or_default();
        found.extend(&children);
        unvisited.extend(children);
    }
    found
}

/// Kills all descendants of this process, which must be the adoptive parent of those that lose their
/// parent, and returns when the last one has exited. These children, and their descendants, are
/// spared.
///
/// A supervisor that has lost its parent kills its own descendants, and is waited for; it is
/// continued if it is stopped.
///
/// *Race:* processes come and go while they are listed. A process without a living parent is a child
/// of this one before the exit of that parent is reported, so as long as there are descendants, there
/// are children. The children that have exited are reaped before the others are listed, so the exit
/// of any that is listed has yet to be reported, and then they are listed again: whatever it left
/// behind is a child by then. Processes that cannot be killed, because they run with other
/// privileges, do not keep the others from being killed.
pub(super) fn kill(spared: &[Pid]) {
    loop {
        reap_exited(spared);
        let mut remaining = children();
        remaining.retain(|child| !spared.contains(child));
        if remaining.is_empty() {
            return;
        }
        for child in remaining {
            let signal = if is_supervisor(child) {
                number::CONT
            } else {
                number::KILL
            };
            let _ = signal::send(child, signal);
        }
        // Fails only where a sandbox does not permit it; then the loop is busy until the end.
        let _ = signal::wait(SignalSet::single(number::CHLD));
    }
}

/// Reaps the children that have exited, except those that are spared: the caller does that.
pub(super) fn reap_exited(spared: &[Pid]) {
    if spared.is_empty() {
        while let Ok(Some(_)) | Err(Errno::INTR) = rustix::process::wait(WaitOptions::NOHANG) {}
        return;
    }
    for child in children() {
        if !spared.contains(&child) {
            let _ = rustix::process::waitpid(Some(child), WaitOptions::NOHANG);
        }
    }
}
