//! The processes that hold a lock which a request waits for, in one line for each file.

use std::ffi::OsString;
use std::panic::{self, AssertUnwindSafe};

use super::target::{label, raw_pid, snapshot};
use super::text;
use crate::flock::{Fairness, LockRequest, Target};
use crate::holders::{Caller, Confidence, ListedKind, LockUser, Namespace, Role};
use crate::lock::Mode;
use crate::lock::advisory::LockApi;
use crate::sys::procfs::status::ProcessInfo;

/// Returns a line for each lock of the request that another process holds: `FILE: held by 1234
/// rsync, 3m 12s, and 2 others`. If no holder is found, returns one line that says so.
///
/// Best effort: on any error, including a panic, it reports less and leaves the lock alone.
#[cold]
#[inline(never)]
pub(in crate::flock) fn blocker_lines(request: &LockRequest, caller: Caller) -> Vec<OsString> {
    panic::catch_unwind(AssertUnwindSafe(|| lines(request, caller))).unwrap_or_default()
}

fn lines(request: &LockRequest, caller: Caller) -> Vec<OsString> {
    let also = request.also.iter().cloned().map(Target::Path);
    let targets: Vec<Target> = [request.target.clone()].into_iter().chain(also).collect();
    let line = |target: &Target, text: String| {
        let mut line = label(target);
        line.push(": ");
        line.push(text);
        line
    };
    let held = targets
        .iter()
        .filter_map(|target| Some(line(target, describe_holders(target, request, caller)?)));
    let held: Vec<OsString> = held.collect();
    if held.is_empty() {
        return vec![line(&targets[0], "no holder found".to_owned())];
    }
    held
}

/// Describes the holders that block the request, or returns `None` if none is found.
fn describe_holders(target: &Target, request: &LockRequest, caller: Caller) -> Option<String> {
    let snapshot = snapshot(target, caller).ok()?;
    let blockers = snapshot.users.iter().filter(|user| blocks(user, request));
    let known = blockers.clone().filter_map(|user| {
        let info = ProcessInfo::read(user.pid?)?;
        Some((*user, info))
    });
    let mut known: Vec<(LockUser, ProcessInfo)> = known.collect();
    let unknown = blockers.filter(|user| user.pid.is_none()).count();
    // A flock that runs a command is less interesting than the command.
    if known.iter().any(|(_, info)| info.name != "flock") {
        known.retain(|(_, info)| info.name != "flock");
    }
    let mut pids: Vec<i32> = Vec::new();
    for pid in known.iter().filter_map(|(user, _)| user.pid.map(raw_pid)) {
        if !pids.contains(&pid) {
            pids.push(pid);
        }
    }
    let Some((user, info)) = known
        .iter()
        .min_by_key(|(user, info)| (info.start, user.pid.map(raw_pid)))
    else {
        return (unknown > 0).then(|| "held, but the holder is not visible".to_owned());
    };
    let mut text = String::from("held by ");
    let is_foreign = snapshot.visibility.namespace == Namespace::Foreign;
    if let Some(pid) = user.pid.filter(|_| !is_foreign) {
        text += &format!("{} ", raw_pid(pid));
    }
    text += &text::escape(info.name.as_encoded_bytes());
    let time = user.since.map_or(info.age(), |since| Some(since.elapsed()));
    if let Some(time) = time {
        text += &format!(", {}", text::elapsed(time));
    }
    if user.confidence == Confidence::Unverified {
        text += ", unverified";
    }
    match pids.len() - 1 + unknown {
        0 => {}
        1 => text += ", and 1 other",
        others => text += &format!(", and {others} others"),
    }
    Some(text)
}

/// Whether the user holds a lock that conflicts with the request.
fn blocks(user: &LockUser, request: &LockRequest) -> bool {
    let same_kind = match (request.api, user.kind) {
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
