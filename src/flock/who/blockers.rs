//! The processes that hold a lock which a request waits for, in one line for each file.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use rustix::process::Pid;

use super::row::marker_time;
use super::target::{label, raw_pid, snapshot};
use super::{notes, text};
use crate::flock::{Fairness, LockRequest, Target};
use crate::holders::{
    Caller, Confidence, ListedKind, LockUser, Lookup, Namespace, OwnLock, Role, Snapshot, TimeLimit,
};
use crate::lock::advisory::LockApi;
use crate::lock::fair::marker::SLOT_RANGE;
use crate::lock::{Mode, Timeout};
use crate::sys::filesystem::Locality;
use crate::sys::procfs::liveness::{self, Liveness};
use crate::sys::procfs::locks::{LockRecord, LockType};
use crate::sys::procfs::own_pid;
use crate::sys::procfs::stat::ancestors;
use crate::sys::procfs::status::ProcessInfo;

/// Returns a line for each lock of the request that another process holds: `FILE: held by 1234
/// rsync, 3m 12s, and 2 others`. If no holder is known, the lines say why.
///
/// The time of the lookup is limited: other users' processes can make it long, by placing
/// locks on the file, or by opening many files. The processes that have acquired locks are examined
/// first, so most holders are named even then.
///
/// Best effort: on any error, including a panic, it reports less and leaves the lock alone.
#[cold]
#[inline(never)]
pub(in crate::flock) fn blocker_lines(
    request: &LockRequest,
    caller: Caller,
    limit: TimeLimit,
) -> Vec<OsString> {
    panic::catch_unwind(AssertUnwindSafe(|| lines(request, caller, limit))).unwrap_or_default()
}

fn lines(request: &LockRequest, caller: Caller, limit: TimeLimit) -> Vec<OsString> {
    let also = request.also.iter().cloned().map(Target::Path);
    let targets: Vec<Target> = [request.target.clone()].into_iter().chain(also).collect();
    let found: Vec<Finding> = targets
        .iter()
        .map(|target| find_holders(target, request, caller, limit))
        .collect();
    let is_held = |finding: &Finding| matches!(finding, Finding::Held(_));
    let any_held = found.iter().any(is_held);
    let line = |(target, finding): (&Target, Finding)| {
        let text = match finding {
            Finding::Held(text) => text,
            Finding::Unknown(text) if !any_held => text,
            Finding::Unknown(_) | Finding::NotHeld => return None,
        };
        let mut line = label(target);
        line.push(": ");
        line.push(text);
        Some(line)
    };
    let lines: Vec<OsString> = targets.iter().zip(found).filter_map(line).collect();
    if lines.is_empty() {
        let released = Finding::Unknown("no holder found; it may just have released it".into());
        return line((&targets[0], released)).into_iter().collect();
    }
    lines
}

/// What is known about the holders that block a request for one file.
enum Finding {
    /// There are some.
    Held(OsString),
    /// There may be some: why none is known.
    Unknown(OsString),
    /// No process holds the lock any more.
    NotHeld,
}

fn find_holders(
    target: &Target,
    request: &LockRequest,
    caller: Caller,
    limit: TimeLimit,
) -> Finding {
    let lookup = Lookup {
        is_wanted: is_relevant(request),
        limit: Some(limit),
    };
    let snapshot = match snapshot(target, caller, lookup) {
        Ok(snapshot) => snapshot,
        Err(error) => return Finding::Unknown(error.unknown_holder()),
    };
    let own_pid = own_pid();
    let is_own = |user: &LockUser| user.pid.is_some() && user.pid == own_pid;
    let blockers = snapshot.users.iter();
    let blockers = blockers.filter(|user| blocks(user, request) && !is_own(user));
    let blockers: Vec<LockUser> = blockers.copied().collect();
    let others = describe_holders(&blockers, snapshot.visibility.namespace, limit);
    let others = others.map(|holder| (holder.text(", ", Duration::ZERO), holder.is_ancestor));
    if let Some(fd) = own_blocking_fd(&snapshot, target, request) {
        let others = match others {
            Some((name, _)) => Some(format!("also by {name}")),
            None => (!blockers.is_empty()).then(|| notes::unseen_holder(&snapshot)),
        };
        return Finding::Held(describe_self(fd, others, caller).into());
    }
    if let Some((name, is_ancestor)) = others {
        let mut text = format!("held by {name}");
        if is_ancestor && request.timeout == Timeout::Infinite {
            text += "; if it waits for this process, neither can continue";
        }
        return Finding::Held(text.into());
    }
    if !blockers.is_empty() {
        let mut text = notes::unseen_holder(&snapshot);
        if snapshot.visibility.locality == Locality::Remote
            && let Some(waiters) = notes::waiters(&snapshot, own_pid)
        {
            text += &format!("; {waiters}");
        }
        return Finding::Held(text.into());
    }
    match notes::no_holder(&snapshot) {
        Some(note) => Finding::Unknown(note.into()),
        None => Finding::NotHeld,
    }
}

/// Returns which locks matter: a stranger can place any number of locks that block nothing.
pub(super) fn is_relevant(request: &LockRequest) -> fn(&LockRecord) -> bool {
    match (request.api, request.fairness) {
        (LockApi::Flock, Fairness::Slots(_)) => is_flock_or_slot,
        (LockApi::Flock, Fairness::None | Fairness::Fifo) => is_flock,
        (LockApi::Ofd { .. }, _) => |record| !is_flock(record),
    }
}

fn is_flock(record: &LockRecord) -> bool {
    record.lock_type == LockType::Flock
}

fn is_flock_or_slot(record: &LockRecord) -> bool {
    is_flock(record) || SLOT_RANGE.contains(&record.first)
}

/// Returns a descriptor of this process whose lock is in the way of its own request: this process
/// has inherited it from the script that holds the lock, or has opened the file twice.
///
/// A request for a descriptor converts the lock of its open file description, all of whose
/// descriptors have the same record. With `--also`, this process may have acquired locks in this
/// very request.
fn own_blocking_fd(snapshot: &Snapshot, target: &Target, request: &LockRequest) -> Option<RawFd> {
    if matches!(request.fairness, Fairness::Slots(limit) if limit > 1) {
        return None;
    }
    let own_locks = || snapshot.own_locks.iter();
    let is_converted = |own: &OwnLock| match target {
        Target::Descriptor(number) => {
            own_locks().any(|other| other.fd == *number && other.record == own.record)
        }
        Target::Path(_) => false,
    };
    let is_acquired = |own: &OwnLock| {
        !request.also.is_empty() && own.record.pid.is_none_or(|pid| Some(pid) == own.user.pid)
    };
    let mut blocking = own_locks().filter(|own| blocks(&own.user, request));
    blocking
        .find(|own| !is_converted(own) && !is_acquired(own))
        .map(|own| own.fd)
}

fn describe_self(fd: RawFd, others: Option<String>, caller: Caller) -> String {
    let itself = match caller {
        Caller::Process => "this process",
        Caller::Shell | Caller::Subshell => "this shell",
    };
    let others = others.map_or_else(String::new, |others| format!(" ({others})"));
    format!(
        "held by {itself} itself through descriptor {fd}{others}, so it can never be acquired; \
         close that descriptor first, as with {fd}>&-"
    )
}

/// A holder, with what `/proc` shows of it.
type Holder = (Pid, LockUser, Option<ProcessInfo>);

/// A holder and the number of others, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::flock) struct HolderText {
    name: String,
    /// For how long it has held the lock, or has existed.
    time: Option<Duration>,
    rest: String,
    /// Whether it is an ancestor of this process.
    pub is_ancestor: bool,
}

impl HolderText {
    /// Returns the text: `4711 rsync for 3m 12s, and 2 others`, with these words before the time,
    /// some time after the holders were looked up.
    pub fn text(&self, before_time: &str, later: Duration) -> String {
        let time = self.time.map(|time| text::elapsed(time + later));
        let time = time.map_or_else(String::new, |time| format!("{before_time}{time}"));
        format!("{}{time}{}", self.name, self.rest)
    }
}

/// Names one of the holders and counts the others, or returns `None` if no PID is known.
pub(super) fn describe_holders(
    blockers: &[LockUser],
    namespace: Namespace,
    limit: TimeLimit,
) -> Option<HolderText> {
    let mut listed = BTreeSet::new();
    let mut unread = 0;
    let known = blockers.iter().filter_map(|user| {
        let pid = user.pid?;
        // A process may have any number of locks.
        if !listed.insert(raw_pid(pid)) {
            return None;
        }
        if listed.len() > 1 && limit.is_over() {
            unread += 1;
            return None;
        }
        let info = ProcessInfo::read(pid);
        let has_exited =
            || namespace == Namespace::Foreign || liveness::check(pid) == Liveness::Dead;
        if info.is_none() && has_exited() {
            return None;
        }
        Some((pid, *user, info))
    });
    let mut known: Vec<Holder> = known.collect();
    let unknown = blockers.iter().filter(|user| user.pid.is_none()).count();
    let is_flock = |(_, _, info): &Holder| info.as_ref().is_some_and(|info| info.name == "flock");
    // A flock that runs a command is less interesting than the command.
    if !known.iter().all(is_flock) {
        known.retain(|holder| !is_flock(holder));
    }
    let ancestors = if known.is_empty() {
        Vec::new()
    } else {
        ancestors()
    };
    let (pid, user, info) = known.iter().min_by_key(|(pid, _, info)| {
        let start = info.as_ref().and_then(|info| info.start);
        let is_ancestor = ancestors.contains(pid);
        (!is_ancestor, start.unwrap_or(u64::MAX), raw_pid(*pid))
    })?;
    let is_ancestor = ancestors.contains(pid);
    let mut names = Vec::new();
    if namespace != Namespace::Foreign {
        names.push(raw_pid(*pid).to_string());
    }
    let name = info
        .as_ref()
        .map(|info| text::escape(info.name.as_encoded_bytes()));
    names.extend(name);
    let mut text = String::new();
    let age = info.as_ref().and_then(ProcessInfo::age);
    if user.confidence == Confidence::Unverified {
        text += ", unverified";
    }
    if is_ancestor {
        text += ", an ancestor of this process";
    }
    match known.len() - 1 + unread + unknown {
        0 => {}
        1 => text += ", and 1 other",
        others => text += &format!(", and {others} others"),
    }
    Some(HolderText {
        name: names.join(" "),
        time: marker_time(user, age).or(age),
        rest: text,
        is_ancestor,
    })
}

/// Whether the user holds a lock that conflicts with the request.
pub(super) fn blocks(user: &LockUser, request: &LockRequest) -> bool {
    let same_kind = match (request.api, user.kind) {
        (_, ListedKind::Elsewhere) => false,
        (LockApi::Ofd { .. }, ListedKind::Flock | ListedKind::Slot) => false,
        (LockApi::Flock, ListedKind::Flock) => true,
        // Slots conflict only with requests for slots.
        (LockApi::Flock, ListedKind::Slot) => matches!(request.fairness, Fairness::Slots(_)),
        (LockApi::Ofd { start, length }, ListedKind::Ofd | ListedKind::Posix) => {
            let last = match length {
                0 => i64::MAX,
                _ => start.saturating_add(length - 1),
            };
            user.range.is_none_or(|range| {
                range.first <= last && range.last.is_none_or(|range_last| range_last >= start)
            })
        }
        // A process on another machine.
        (LockApi::Flock, ListedKind::Posix) => user.pid.is_none(),
        (LockApi::Flock, ListedKind::Ofd) => false,
    };
    let excludes = request.mode == Mode::Exclusive || user.mode != Some(Mode::Shared);
    user.role == Role::Holder && same_kind && excludes
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::fs::{FlockOperation, flock};

    use super::*;
    use crate::cli::ParseResult;
    use crate::flock::{Request, args};

    #[test]
    fn search_ends_when_the_time_is_over() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        flock(file.as_file().as_fd(), FlockOperation::LockExclusive).expect("a lock");
        let path = file.path().as_os_str().to_owned();
        let request = args::parse(vec!["-n".into(), path, "true".into()]);
        let Ok(ParseResult::Request(Request::Lock(request))) = request else {
            panic!("{request:?}");
        };
        let line = |time| {
            let limit = TimeLimit::start(time, time);
            let lines = lines(&request, Caller::Process, limit);
            lines[0].to_string_lossy().into_owned()
        };
        assert!(
            line(Duration::ZERO).contains("in time"),
            "{}",
            line(Duration::ZERO)
        );
        let found = line(Duration::from_secs(3600));
        assert!(found.contains("held by this process itself"), "{found}");
    }
}
