//! `--who`: lists the holders and waiters of locks.

mod blockers;
mod json;
mod notes;
mod row;
mod table;
mod target;
mod text;

use std::collections::BTreeSet;

use rustix::process::Pid;

use super::{OutputFormat, WhoRequest};
use crate::exit::{self, Exit};
use crate::holders::{Caller, Confidence, Error, LockUser, Role, find_deadlocks};
use crate::report::{Output, Report};

pub(super) use blockers::blocker_lines;
use row::Row;
use target::{label, raw_pid, snapshots};

/// Lists the holders and waiters, and returns how to exit. A target that cannot be examined does
/// not prevent the others from being listed; its status is the exit status.
#[cold]
#[inline(never)]
pub fn run(request: &WhoRequest, caller: Caller, report: &mut Report) -> Exit {
    let mut failed = None;
    let mut rows = Vec::new();
    for target in &request.targets {
        let snapshots = match snapshots(target, caller) {
            Ok(snapshots) => snapshots,
            Err(error) => {
                report.error(error.message());
                failed.get_or_insert(exit::FLOCK.for_holders(&error));
                continue;
            }
        };
        let exists = snapshots.iter().any(|snapshot| !snapshot.is_deleted);
        for snapshot in snapshots {
            let found = Row::from_snapshot(target, &snapshot, request.format);
            let users: Vec<LockUser> = found.iter().map(|row| row.lock).collect();
            let deleted = notes::deleted(target, &found, exists);
            for note in deleted.into_iter().chain(notes::all(&snapshot, &users)) {
                let mut message = label(target);
                message.push(": ");
                message.push(note);
                report.error(message);
            }
            let is_held = users.iter().any(|user| user.role == Role::Holder);
            if let Some(errno) = snapshot.visibility.error.filter(|_| !is_held) {
                failed.get_or_insert(exit::FLOCK.for_holders(&Error::unexamined(errno)));
            }
            rows.extend(found);
        }
    }
    for deadlock in mark_deadlocks(&mut rows) {
        report.error(notes::deadlock(&deadlock));
    }
    let mut print = |text: &[u8]| report.print(text);
    match request.format {
        OutputFormat::Table => table::print(&rows, request.targets.len(), &mut print),
        OutputFormat::Json => json::print(&rows, &mut print),
        OutputFormat::Pids => print(&pids(&rows)),
    }
    let is_held = rows.iter().any(|row| row.lock.role == Role::Holder);
    Exit::Status(match (failed, is_held, report.output()) {
        (Some(status), _, _) => status,
        (None, true, Output::Good) => exit::SUCCESS,
        (None, true, Output::Failed) => exit::FLOCK.no_output,
        (None, false, _) => exit::NOT_HELD,
    })
}

/// Marks the waiters that wait in a deadlock, and returns the deadlocks: the processes that wait for
/// each other, if their PIDs mean the same processes here.
fn mark_deadlocks(rows: &mut [Row<'_>]) -> Vec<Vec<Pid>> {
    let is_waiter = |row: &Row<'_>| row.lock.role == Role::Waiter && row.lock.pid.is_some();
    if !rows.iter().any(is_waiter) {
        return Vec::new();
    }
    let mut shown = Vec::new();
    for deadlock in find_deadlocks() {
        let is_in = |row: &&mut Row<'_>| row.lock.pid.is_some_and(|pid| deadlock.contains(&pid));
        let mut is_listed = false;
        for row in rows.iter_mut().filter(|row| is_waiter(row)).filter(is_in) {
            row.is_deadlocked = true;
            is_listed |= row.pid.is_some();
        }
        if is_listed {
            shown.push(deadlock);
        }
    }
    shown
}

/// Returns the PIDs of the verified holders: the user may kill them.
fn pids(rows: &[Row<'_>]) -> Vec<u8> {
    let verified = rows
        .iter()
        .filter(|row| row.lock.role == Role::Holder && row.lock.confidence == Confidence::Verified);
    let mut pids = BTreeSet::new();
    pids.extend(verified.filter_map(|row| row.pid.map(raw_pid)));
    let lines = pids.iter().map(|pid| format!("{pid}\n"));
    lines.collect::<String>().into_bytes()
}
