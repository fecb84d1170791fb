//! `--who`: lists the holders and waiters of locks.

mod blockers;
mod json;
mod row;
mod table;
mod target;
mod text;

use rustix::process::geteuid;

use super::{OutputFormat, WhoRequest};
use crate::exit::{self, Exit};
use crate::holders::{Caller, Confidence, Namespace, Role, Visibility};
use crate::report::{Output, Report};
use crate::sys::filesystem::Locality;

pub(super) use blockers::blocker_lines;
use row::Row;
use target::{label, raw_pid, snapshot};

/// Lists the holders and waiters, and returns how to exit. A target that cannot be examined does
/// not prevent the others from being listed; its status is the exit status.
#[cold]
#[inline(never)]
pub fn run(request: &WhoRequest, caller: Caller, report: &mut Report) -> Exit {
    let mut failed = None;
    let mut rows = Vec::new();
    for target in &request.targets {
        match snapshot(target, caller) {
            Ok(snapshot) => {
                let found = Row::from_snapshot(target, &snapshot);
                for note in notes(&found, snapshot.visibility) {
                    let mut message = label(target);
                    message.push(": ");
                    message.push(note);
                    report.error(message);
                }
                rows.extend(found);
            }
            Err(error) => {
                report.error(error.message());
                failed.get_or_insert(exit::FLOCK.for_holders(&error));
            }
        }
    }
    report.print(&match request.format {
        OutputFormat::Table => table::format(&rows, request.targets.len()),
        OutputFormat::Json => json::format(&rows),
        OutputFormat::Pids => pids(&rows),
    });
    let is_held = rows.iter().any(|row| row.lock.role == Role::Holder);
    Exit::Status(match (failed, is_held, report.output()) {
        (Some(status), _, _) => status,
        (None, true, Output::Good) => exit::SUCCESS,
        (None, true, Output::Failed) => exit::FLOCK.no_output,
        (None, false, _) => exit::NOT_HELD,
    })
}

/// Returns the PIDs of the verified holders: the user may kill them.
fn pids(rows: &[Row]) -> Vec<u8> {
    let verified = rows
        .iter()
        .filter(|row| row.lock.role == Role::Holder && row.lock.confidence == Confidence::Verified);
    let mut pids: Vec<i32> = Vec::new();
    for pid in verified.filter_map(|row| row.pid.map(raw_pid)) {
        if let Err(index) = pids.binary_search(&pid) {
            pids.insert(index, pid);
        }
    }
    let lines = pids.iter().map(|pid| format!("{pid}\n"));
    lines.collect::<String>().into_bytes()
}

/// Returns what the rows cannot show: that there may be other holders, or that a holder is
/// uncertain.
fn notes(rows: &[Row], visibility: Visibility) -> Vec<String> {
    let mut notes = Vec::new();
    let holders = || rows.iter().filter(|row| row.lock.role == Role::Holder);
    let needs_root = visibility.hidden > 0 || !geteuid().is_root();
    if holders().any(|row| row.lock.pid.is_none()) {
        let note = match (visibility.locality, visibility.namespace) {
            _ if needs_root => "held by a process that only root can see",
            (Locality::Remote, _) => {
                "held, but the holder is not visible; it may be on another machine"
            }
            (_, Namespace::Whole) => "held, but no process has it open",
            _ => "held by a process outside this PID namespace",
        };
        notes.push(note.to_owned());
    }
    for row in holders().filter(|row| row.lock.confidence == Confidence::Unverified) {
        if let Some(pid) = row.pid {
            let pid = raw_pid(pid);
            notes.push(format!(
                "PID {pid} acquired the lock; root privileges are needed to check that it still holds it"
            ));
        }
    }
    if holders().next().is_none() {
        if visibility.namespace != Namespace::Whole {
            notes.push(
                "no holder found; processes outside this PID namespace are not visible".to_owned(),
            );
        }
        if visibility.locality == Locality::Remote {
            notes.push(
                "no holder found on this machine; holders on other machines are not visible"
                    .to_owned(),
            );
        }
    }
    if visibility.namespace == Namespace::Foreign && rows.iter().any(|row| row.lock.pid.is_some()) {
        notes.push("PIDs are not shown, because /proc belongs to another PID namespace".to_owned());
    }
    notes
}
