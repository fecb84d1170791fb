//! `--replace`: stops the processes that hold the lock, and takes their place.
//!
//! *Which processes are signalled?* The holders, all of them: `flock`, its command, and what else
//! has inherited the lock. Each is known for sure, because the kernel shows its descriptor.
//!
//! *Race:* a holder may exit, and its PID may be given to a bystander, before it is signalled.
//! Therefore a pidfd is opened first, and then the holders are looked up again: if the process of
//! this PID is still one of them, the pidfd refers to a holder, for it cannot refer to a process that
//! came later than itself. A signal to a process that has exited since then reaches none.
//!
//! *Race:* a holder may release the lock and go on without it, between that look and the signal. No
//! kernel call does both at once. The process was a holder when it was asked to stop.
//!
//! *Race:* a holder may start a process that inherits the lock, after we have looked. It is found
//! when we look again, because the lock is still held when the grace period is over.
//!
//! *Race:* a newer process that replaces the same holder may have acquired the lock in the meantime.
//! Its [claim](crate::lock::fair::claim) was set before that, so it is visible after we have seen the
//! process as a holder, and before we signal it.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{Mode as Permissions, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open};

use super::{Replace, Target};
use crate::holders::{
    self, Caller, Confidence, File, ListedKind, Lookup, Namespace, OwnLock, Role, Snapshot,
};
use crate::lock::fair::claim::Claim;
use crate::lock::{self, Acquired, Deadline, Refusal};
use crate::sys::pidfd::send_signal;
use crate::sys::procfs::locks::LockType;
use crate::sys::procfs::stat::ancestors;
use crate::sys::procfs::status;
use crate::sys::{self, signal};

/// How often holders are looked up that change meanwhile, before the known ones are signalled.
const MAX_LOOKS: u32 = 8;

/// How often in a row no holder is found although the lock is held, before that is an error.
const MAX_UNSEEN: u32 = 3;

/// How long to wait for the lock before looking again if all holders have been killed, or none was
/// found.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A process that has been asked to stop.
struct Stopping {
    pid: Pid,
    pidfd: OwnedFd,
    /// When it will be killed; `None` if it has been.
    kill_at: Option<Instant>,
}

/// Acquires a lock by `attempt`, which waits until the deadline that it is given, and stops the
/// processes that hold the lock.
///
/// # Errors
///
/// Those of `attempt`; [`lock::Error::NotReplaced`].
#[cold]
#[inline(never)]
pub(super) fn acquire<G>(
    target: &Target,
    replace: &Replace,
    claim: Claim,
    deadline: &Deadline,
    caller: Caller,
    attempt: &mut dyn FnMut(&Deadline) -> Result<Acquired<G>, lock::Error>,
) -> Result<Acquired<G>, lock::Error> {
    let mut stopping = Vec::new();
    let mut unseen = 0;
    let mut published = None;
    loop {
        match attempt(&Deadline::Immediate)? {
            Acquired::NotHeld(Refusal::WouldBlock) if !matches!(deadline, Deadline::Immediate) => {}
            other => return Ok(other),
        }
        if deadline.has_passed() {
            return Ok(Acquired::NotHeld(Refusal::TimedOut));
        }
        published = published.or_else(|| with_fd(target, |fd| claim.publish(fd))?);
        let stopped = stop_holders(target, replace, claim, caller, &mut stopping);
        match stopped.map_err(|reason| not_replaced(target, reason))? {
            Stopped::All => unseen = 0,
            Stopped::Superseded => return Ok(Acquired::NotHeld(Refusal::Superseded)),
            // The lock has just been released, or goes from one process to the next.
            Stopped::NoneSeen => unseen += 1,
        }
        if unseen >= MAX_UNSEEN {
            return Err(not_replaced(target, "no holder is visible".to_owned()));
        }
        let kill_at = stopping.iter().filter_map(|process| process.kill_at).min();
        let end = kill_at.unwrap_or_else(|| Instant::now() + RECHECK_INTERVAL);
        match attempt(&earlier(*deadline, end))? {
            Acquired::NotHeld(Refusal::TimedOut | Refusal::WouldBlock) => {}
            other => return Ok(other),
        }
    }
}

/// Returns the deadline, or this instant if it is earlier.
fn earlier(deadline: Deadline, end: Instant) -> Deadline {
    let end = deadline.instant().map_or(end, |instant| instant.min(end));
    match deadline {
        Deadline::Interruptible(_, check) => Deadline::Interruptible(Some(end), check),
        _ => Deadline::At(end),
    }
}

fn not_replaced(target: &Target, reason: String) -> lock::Error {
    let target = match target {
        Target::Path(path) => path.clone(),
        Target::Descriptor(number) => OsString::from(format!("descriptor {number}")),
    };
    lock::Error::NotReplaced { target, reason }
}

enum Stopped {
    /// All holders have been signalled.
    All,
    /// No holder was seen.
    NoneSeen,
    /// A newer process replaces the holder.
    Superseded,
}

/// Signals the holders that have not been signalled yet, and kills those whose grace period is over.
/// If one cannot be signalled, none is; the error says why.
fn stop_holders(
    target: &Target,
    replace: &Replace,
    claim: Claim,
    caller: Caller,
    stopping: &mut Vec<Stopping>,
) -> Result<Stopped, String> {
    let mut found: Vec<(Pid, OwnedFd)> = Vec::new();
    let mut holders = find_holders(target, caller)?;
    if holders.is_empty() {
        stopping.clear();
        return Ok(Stopped::NoneSeen);
    }
    for _ in 0..MAX_LOOKS {
        let is_known = |pid: Pid| {
            found.iter().any(|(known, _)| *known == pid)
                || stopping.iter().any(|process| process.pid == pid)
        };
        let new: Vec<Pid> = holders
            .iter()
            .copied()
            .filter(|pid| !is_known(*pid))
            .collect();
        let are_all_known = new.is_empty();
        for pid in new {
            match pidfd_open(pid, PidfdFlags::empty()) {
                Ok(pidfd) => found.push((pid, pidfd)),
                Err(Errno::SRCH) => {}
                Err(errno) => return Err(format!("cannot watch {}: {errno}", name_of(pid))),
            }
        }
        holders = find_holders(target, caller)?;
        if are_all_known {
            break;
        }
    }
    if holders.is_empty() {
        return Ok(Stopped::NoneSeen);
    }
    if with_fd(target, |fd| claim.is_superseded(fd)) == Some(true) {
        return Ok(Stopped::Superseded);
    }
    // A process that does not hold the lock any more has exited, or goes on without it.
    found.retain(|(pid, _)| holders.contains(pid));
    stopping.retain(|process| holders.contains(&process.pid));
    // A PID that has been given to another holder is a new one.
    stopping.retain(|process| send_signal(&process.pidfd, 0) != Err(Errno::SRCH));
    for (pid, pidfd) in &found {
        match send_signal(pidfd, 0) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => return Err(refusal(*pid, errno)),
        }
    }
    let now = Instant::now();
    for (pid, pidfd) in found {
        match send_signal(&pidfd, replace.signal) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => return Err(refusal(pid, errno)),
        }
        stopping.push(Stopping {
            pid,
            pidfd,
            kill_at: now.checked_add(replace.grace),
        });
    }
    for process in stopping {
        if process.kill_at.is_some_and(|instant| instant <= now) {
            // It was permitted to signal it before.
            let _ = send_signal(&process.pidfd, signal::number::KILL);
            process.kill_at = None;
        }
    }
    Ok(Stopped::All)
}

fn refusal(pid: Pid, errno: Errno) -> String {
    match errno {
        Errno::PERM => format!("{} may not be signalled by this user", name_of(pid)),
        _ => format!("cannot signal {}: {errno}", name_of(pid)),
    }
}

fn name_of(pid: Pid) -> String {
    let comm = status::comm(pid).unwrap_or_default();
    let comm = String::from_utf8_lossy(&comm);
    format!("process {} ({comm})", pid.as_raw_nonzero())
}

/// Returns the processes that hold the lock, all of which may be stopped as far as is known.
fn find_holders(target: &Target, caller: Caller) -> Result<Vec<Pid>, String> {
    let Snapshot {
        users,
        own_locks,
        visibility,
        ..
    } = snapshot(target, caller)?;
    if visibility.namespace == Namespace::Foreign {
        return Err("the processes of this PID namespace are not visible".to_owned());
    }
    let is_flock = |own: &OwnLock| own.record.lock_type == LockType::Flock;
    if own_locks.iter().any(is_flock) {
        return Err("this process holds it itself, or has inherited it".to_owned());
    }
    let mut pids = Vec::new();
    for user in users {
        if user.role != Role::Holder || user.kind != ListedKind::Flock {
            continue;
        }
        match (user.pid, user.confidence) {
            (Some(pid), Confidence::Verified) => {
                if !pids.contains(&pid) {
                    pids.push(pid);
                }
            }
            (Some(pid), Confidence::Unverified) => {
                return Err(format!("it is not certain that {} holds it", name_of(pid)));
            }
            (None, _) => return Err("it is held by a process that is not visible".to_owned()),
        }
    }
    let own = [getpid()].into_iter().chain(ancestors());
    match own.into_iter().find(|pid| pids.contains(pid)) {
        Some(pid) => Err(format!("this process descends from {}", name_of(pid))),
        None => Ok(pids),
    }
}

fn snapshot(target: &Target, caller: Caller) -> Result<Snapshot, String> {
    let lookup = Lookup {
        is_wanted: |record| record.lock_type == LockType::Flock,
        ..Lookup::ALL
    };
    let file = match target {
        Target::Path(path) => File::from_path(path),
        Target::Descriptor(number) => File::from_inherited(*number),
    };
    let snapshot = file.and_then(|file| holders::snapshot(&file, caller, lookup));
    snapshot.map_err(|error| error.message().to_string_lossy().into_owned())
}

/// Calls a function with a descriptor of the target, if it can be opened.
fn with_fd<R>(target: &Target, f: impl FnOnce(BorrowedFd<'_>) -> R) -> Option<R> {
    match target {
        Target::Path(path) => {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
            let opened = rustix::fs::open(path, flags, Permissions::empty()).ok()?;
            Some(f(opened.as_fd()))
        }
        Target::Descriptor(number) => sys::fd::inherited(*number).map(f),
    }
}
