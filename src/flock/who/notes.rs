//! What a snapshot cannot show, and why: the same words for `--who` and for `--verbose`.

use std::collections::BTreeSet;

use rustix::process::{Pid, geteuid};

use super::row::Row;
use super::target::raw_pid;
use crate::flock::Target;
use crate::holders::{Confidence, LockUser, Machine, Namespace, Role, Snapshot};
use crate::sys::errno;
use crate::sys::filesystem::Locality;
use crate::sys::procfs::access::{is_initial_user_namespace, may_inspect_all};
use crate::sys::procfs::status::ProcessInfo;

/// How many processes that have the file open, or wait for the lock, are named.
const MAX_NAMES: usize = 8;

const REMOTE_HOLDER: &str = "held by a process that is not visible, perhaps on another machine";

/// What keeps this process from inspecting others.
enum Obstacle {
    NotRoot,
    /// A container's root usually lacks it.
    NoCapability,
    /// The capability counts only within the user namespace.
    UserNamespace,
    /// A security module.
    Policy,
}

impl Obstacle {
    fn current() -> Self {
        match (may_inspect_all(), geteuid().is_root()) {
            (false, false) => Self::NotRoot,
            (false, true) => Self::NoCapability,
            (true, _) if !is_initial_user_namespace() => Self::UserNamespace,
            (true, _) => Self::Policy,
        }
    }

    /// Completes "a process".
    fn hidden_process(&self) -> &'static str {
        match self {
            Self::NotRoot => "that only root can see",
            Self::NoCapability => {
                "of another user, invisible without the capability CAP_SYS_PTRACE \
                 (docker run --cap-add SYS_PTRACE, or run flock --who as that user)"
            }
            Self::UserNamespace => "outside this user namespace",
            Self::Policy => "that the security policy of this system hides",
        }
    }

    /// Completes "PID 1234 acquired the lock; ".
    fn unverified(&self) -> &'static str {
        match self {
            Self::NotRoot => "root privileges are needed to check that it still holds it",
            Self::NoCapability => {
                "the capability CAP_SYS_PTRACE is needed to check that it still holds it \
                 (docker run --cap-add SYS_PTRACE, or run flock --who as its user)"
            }
            Self::UserNamespace => {
                "it is outside this user namespace, so whether it still holds it is not visible"
            }
            Self::Policy => "the security policy of this system hides whether it still holds it",
        }
    }
}

/// Returns what the rows of `--who` cannot show: that there may be other holders, or that a holder
/// is uncertain.
pub(super) fn all(snapshot: &Snapshot, users: &[LockUser]) -> Vec<String> {
    let mut notes = Vec::new();
    let holders = || users.iter().filter(|user| user.role == Role::Holder);
    if holders().any(|user| user.pid.is_none()) {
        notes.push(unseen_holder(snapshot));
    }
    let unverified = holders().filter(|user| user.confidence == Confidence::Unverified);
    let mut pids = BTreeSet::new();
    pids.extend(unverified.filter_map(|user| user.pid.map(raw_pid)));
    notes.extend(pids.iter().map(|pid| unverified_holder(*pid, snapshot)));
    if snapshot.omitted > 0 {
        notes.push(format!("{} more locks are not listed", snapshot.omitted));
    }
    if holders().next().is_none() {
        notes.extend(no_holder(snapshot));
    } else if let Some(error) = &snapshot.visibility.error
        && holders().all(|user| user.pid.is_some())
    {
        let reason = errno::text(&(*error).into());
        notes.push(format!("some processes could not be examined: {reason}"));
    }
    let is_foreign = snapshot.visibility.namespace == Namespace::Foreign;
    if is_foreign && users.iter().any(|user| user.pid.is_some()) {
        notes.push("PIDs are not shown, because /proc belongs to another PID namespace".to_owned());
    }
    notes
}

/// Returns what the rows of all locks of the machine cannot show.
pub(super) fn machine(machine: &Machine, rows: &[Row<'_>]) -> Vec<String> {
    let visibility = &machine.visibility;
    let mut notes = Vec::new();
    let holders = rows.iter().filter(|row| row.lock.role == Role::Holder);
    let uncertain = holders.filter(|row| row.lock.confidence == Confidence::Unverified);
    let mut files = BTreeSet::new();
    files.extend(uncertain.map(|row| row.key));
    let hidden = match visibility.is_restricted {
        true => format!("by processes {}", Obstacle::current().hidden_process()),
        false if visibility.namespace != Namespace::Whole => {
            "by processes outside this PID namespace".to_owned()
        }
        false => "by processes that are not visible, or by none that has a descriptor".to_owned(),
    };
    match files.len() {
        0 => {}
        1 => notes.push(format!("the lock on 1 file may be held {hidden}")),
        count => notes.push(format!("the locks on {count} files may be held {hidden}")),
    }
    if let Some(error) = &visibility.error {
        let reason = errno::text(&(*error).into());
        notes.push(format!("some processes could not be examined: {reason}"));
    }
    if visibility.namespace != Namespace::Whole {
        notes.push("locks of processes outside this PID namespace are not visible".to_owned());
    }
    if visibility.namespace == Namespace::Foreign {
        notes.push("PIDs are not shown, because /proc belongs to another PID namespace".to_owned());
    }
    if visibility.is_cut_short {
        notes.push("there are too many locks to list them all".to_owned());
    } else if machine.omitted > 0 {
        notes.push(format!("{} more locks are not listed", machine.omitted));
    }
    notes
}

/// Says that the rows are those of a deleted file.
pub(super) fn deleted(target: &Target, rows: &[Row<'_>], exists: bool) -> Option<String> {
    if !rows.iter().any(|row| row.is_deleted) {
        return None;
    }
    let file = match target {
        Target::Path(_) => "",
        Target::Descriptor(_) => "its file ",
    };
    let mut pids = BTreeSet::new();
    pids.extend(rows.iter().filter_map(|row| row.pid.map(raw_pid)));
    let pids: Vec<String> = pids.iter().map(i32::to_string).collect();
    let pids = match &pids[..] {
        _ if !exists => String::new(),
        [] => String::new(),
        [pid] => format!(" (PID {pid})"),
        _ => format!(" (PIDs {})", pids.join(", ")),
    };
    let again = if exists { ", and created again" } else { "" };
    let new_file = if exists {
        "the new file"
    } else {
        "its path from now on: they create a new file"
    };
    Some(format!(
        "{file}was deleted while locked{again}; the lock of the deleted file{pids} does not exclude \
         processes that lock {new_file}"
    ))
}

/// Says why the process that holds a lock is not known.
pub(super) fn unseen_holder(snapshot: &Snapshot) -> String {
    let visibility = &snapshot.visibility;
    let held = if snapshot.is_inherited {
        "inherited by this flock from a process"
    } else {
        "held by a process"
    };
    if let Some(error) = &visibility.error {
        let reason = errno::text(&(*error).into());
        return format!("held, but the processes could not be examined: {reason}");
    }
    if visibility.is_cut_short {
        let place = match visibility.locality {
            Locality::Local => "",
            Locality::Remote => ", perhaps on another machine",
        };
        return format!(
            "held{place}, but there was no time to find the holder; flock --who takes it"
        );
    }
    if snapshot.is_remote_holder {
        return REMOTE_HOLDER.to_owned();
    }
    let is_outside = visibility.namespace != Namespace::Whole;
    if visibility.is_restricted {
        let hidden = Obstacle::current().hidden_process();
        let outside = if is_outside {
            ", or by one outside this PID namespace"
        } else {
            ""
        };
        return format!("{held} {hidden}{outside}");
    }
    match (visibility.locality, is_outside) {
        (Locality::Remote, _) => REMOTE_HOLDER.to_owned(),
        (Locality::Local, true) => format!("{held} outside this PID namespace"),
        (Locality::Local, false) => {
            "held, but by no descriptor of a process; the open file may be \
            mapped into memory, in use by io_uring, or sent through a socket and not received yet"
                .to_owned()
        }
    }
}

fn unverified_holder(pid: i32, snapshot: &Snapshot) -> String {
    let visibility = &snapshot.visibility;
    let missing = match &visibility.error {
        _ if visibility.is_cut_short => "whether it still holds it was not found out in time",
        Some(_) => "whether it still holds it could not be checked",
        None => Obstacle::current().unverified(),
    };
    format!("PID {pid} acquired the lock; {missing}")
}

/// Says why there may be a holder, although none is known. Returns `None` if it would be known.
pub(super) fn no_holder(snapshot: &Snapshot) -> Option<String> {
    let visibility = &snapshot.visibility;
    if snapshot.is_inherited {
        return Some(
            "held by this flock itself, which has inherited it; no other holder is visible"
                .to_owned(),
        );
    }
    if visibility.is_cut_short {
        return Some("no holder was found in time; flock --who takes more".to_owned());
    }
    let mut reasons = Vec::new();
    if let Some(error) = &visibility.error {
        let reason = errno::text(&(*error).into());
        reasons.push(format!("processes could not be examined: {reason}"));
    }
    if visibility.namespace != Namespace::Whole {
        if visibility.is_restricted {
            let hidden = Obstacle::current().hidden_process();
            reasons.push(format!("it may be held by a process {hidden}"));
        }
        reasons.push("processes outside this PID namespace are not visible".to_owned());
    }
    if visibility.locality == Locality::Remote {
        let file_system = visibility.file_system.as_ref();
        let name = file_system.map_or_else(String::new, |name| format!(" ({name})"));
        reasons.push(format!(
            "locks on this file system{name} may be known only to its server"
        ));
        reasons.extend(openers(&snapshot.openers, visibility.namespace));
    }
    (!reasons.is_empty()).then(|| format!("no holder is visible; {}", reasons.join("; ")))
}

/// Names the processes of this machine that wait for the lock, if the one that holds it is not
/// visible.
pub(super) fn waiters(snapshot: &Snapshot, own_pid: Option<Pid>) -> Option<String> {
    let waiters = snapshot.users.iter();
    let waiters = waiters.filter(|user| user.role == Role::Waiter && user.pid != own_pid);
    let mut pids = Vec::new();
    for pid in waiters.filter_map(|user| user.pid) {
        if !pids.contains(&pid) {
            pids.push(pid);
        }
    }
    let names = names(&pids, snapshot.visibility.namespace)?;
    Some(format!("waiting on this machine: {names}"))
}

/// Names the processes that have the file open.
fn openers(pids: &[Pid], namespace: Namespace) -> Option<String> {
    names(pids, namespace).map(|names| format!("open in {names}"))
}

/// Names some of these processes, and counts the others.
fn names(pids: &[Pid], namespace: Namespace) -> Option<String> {
    let name = |pid: &Pid| {
        let name = ProcessInfo::read(*pid)?.name;
        let name = super::text::escape(name.as_encoded_bytes());
        Some(match namespace {
            Namespace::Foreign => name,
            Namespace::Whole | Namespace::Part => format!("{} {name}", raw_pid(*pid)),
        })
    };
    let names: Vec<String> = pids.iter().take(MAX_NAMES).filter_map(name).collect();
    let others = match pids.len().saturating_sub(MAX_NAMES) {
        0 => String::new(),
        others => format!(" and {others} others"),
    };
    (!names.is_empty()).then(|| format!("{}{others}", names.join(", ")))
}

/// Says which processes wait for each other, or which one waits for itself.
pub(super) fn deadlock(pids: &[Pid]) -> String {
    let pids: Vec<String> = pids
        .iter()
        .map(|pid| format!("PID {}", raw_pid(*pid)))
        .collect();
    match &pids[..] {
        [pid] => format!("deadlock: {pid} waits for a lock that it holds itself"),
        [first, others @ ..] => format!(
            "deadlock: {first} waits for {}, which waits for {first}",
            others.join(", which waits for ")
        ),
        [] => "deadlock".to_owned(),
    }
}
