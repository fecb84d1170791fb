//! Who is in the way of a lock, in a few words.

use std::ffi::OsString;
use std::panic::{self, AssertUnwindSafe};

use super::{label, raw, text};
use crate::flock::{Lock, Order, Target};
use crate::holders::process::Profile;
use crate::holders::{Asker, Certainty, Kind, Namespace, Party, Role};
use crate::lock::{self, Mode};

/// A line for each lock of the request that somebody else holds: `FILE: held by 1234 rsync, 3m 12s, and 2 others`. One that
/// says so if nobody is seen.
///
/// It is only talk: whatever goes wrong, a defect of ours included, there is less of it, and the lock is not touched.
#[cold]
#[inline(never)]
pub(in crate::flock) fn lines(request: &Lock, asker: Asker) -> Vec<OsString> {
    panic::catch_unwind(AssertUnwindSafe(|| all(request, asker))).unwrap_or_default()
}

fn all(request: &Lock, asker: Asker) -> Vec<OsString> {
    let also = request.also.iter().cloned().map(Target::Path);
    let targets: Vec<Target> = [request.target.clone()].into_iter().chain(also).collect();
    let line = |target: &Target, text: String| {
        let mut line = label(target);
        line.push(": ");
        line.push(text);
        line
    };
    let told = targets
        .iter()
        .filter_map(|target| Some(line(target, held(target, request, asker)?)));
    let told: Vec<OsString> = told.collect();
    if told.is_empty() {
        return vec![line(&targets[0], "no holder found".to_owned())];
    }
    told
}

/// Who holds a lock that is in the way; `None` if nobody is seen.
fn held(target: &Target, request: &Lock, asker: Asker) -> Option<String> {
    let look = super::look(target, asker).ok()?;
    let in_the_way = look
        .parties
        .iter()
        .filter(|party| is_in_the_way(party, request));
    let known = in_the_way.clone().filter_map(|party| {
        let profile = Profile::of(party.pid?)?;
        Some((*party, profile))
    });
    let mut known: Vec<(Party, Profile)> = known.collect();
    let unknown = in_the_way.filter(|party| party.pid.is_none()).count();
    // A flock that runs a command is there for the command.
    if known.iter().any(|(_, profile)| profile.name != "flock") {
        known.retain(|(_, profile)| profile.name != "flock");
    }
    let mut pids: Vec<i32> = Vec::new();
    for pid in known.iter().filter_map(|(party, _)| party.pid.map(raw)) {
        if !pids.contains(&pid) {
            pids.push(pid);
        }
    }
    let Some((party, first)) = known
        .iter()
        .min_by_key(|(party, profile)| (profile.start, party.pid.map(raw)))
    else {
        return (unknown > 0).then(|| "held, but the holder is not visible".to_owned());
    };
    let mut words = String::from("held by ");
    if let Some(pid) = party
        .pid
        .filter(|_| look.horizon.namespace != Namespace::Foreign)
    {
        words += &format!("{} ", raw(pid));
    }
    words += &text::shown(first.name.as_encoded_bytes());
    let time = party
        .since
        .map_or(first.age(), |since| Some(since.elapsed()));
    if let Some(time) = time {
        words += &format!(", {}", text::elapsed(time));
    }
    if party.certainty == Certainty::Unverified {
        words += ", unverified";
    }
    match pids.len() - 1 + unknown {
        0 => {}
        1 => words += ", and 1 other",
        others => words += &format!(", and {others} others"),
    }
    Some(words)
}

fn is_in_the_way(party: &Party, request: &Lock) -> bool {
    let same = match (request.kind, party.kind) {
        (lock::Kind::Ofd { .. }, Kind::Flock | Kind::Slot) => false,
        (_, Kind::Flock) => true,
        // Slots are counted with the lock of flock(2), and are nothing to anybody else.
        (_, Kind::Slot) => matches!(request.order, Order::Slots(_)),
        (lock::Kind::Ofd { start, length }, Kind::Ofd | Kind::Posix) => {
            let last = match length {
                0 => i64::MAX,
                _ => start.saturating_add(length - 1),
            };
            party.range.is_none_or(|range| {
                range.first <= last && range.last.is_none_or(|theirs| theirs >= start)
            })
        }
        // Somebody on another machine, of whom no more is known.
        _ => party.kind == Kind::Posix && party.pid.is_none(),
    };
    let excludes = request.mode == Mode::Exclusive || party.mode != Some(Mode::Shared);
    party.role == Role::Holder && same && excludes
}
