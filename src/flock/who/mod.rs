//! `--who`: who holds a lock, and who waits for it.

mod blockers;
mod json;
mod row;
mod table;
mod text;

use std::ffi::OsString;

use rustix::process::{Pid, geteuid};

use crate::exit::{self, Exit};
use crate::flock::{Form, Target, Who};
use crate::holders::{self, Asker, Certainty, Error, File, Horizon, Look, Namespace, Role};
use crate::lock;
use crate::report::{Output, Report};
use crate::sys::filesystem::Locality;

pub(super) use blockers::lines as in_the_way;
use row::Row;

/// Looks, and says who it is. A target that cannot be looked at does not keep us from the others; its status is the one to
/// end with.
#[cold]
#[inline(never)]
pub fn perform(request: &Who, asker: Asker, report: &mut Report) -> Exit {
    let mut failed = None;
    let mut rows = Vec::new();
    for target in &request.targets {
        match look(target, asker) {
            Ok(look) => {
                let found = Row::of_all(target, &look);
                for note in notes(&found, look.horizon) {
                    let mut message = label(target);
                    message.push(": ");
                    message.push(note);
                    report.complain(message);
                }
                rows.extend(found);
            }
            Err(error) => {
                report.complain(error.message());
                failed.get_or_insert(exit::FLOCK.of_holders(&error));
            }
        }
    }
    report.print(&match request.form {
        Form::Table => table::text(&rows, request.targets.len()),
        Form::Json => json::text(&rows),
        Form::Pids => pids(&rows),
    });
    let held = rows.iter().any(|row| row.party.role == Role::Holder);
    Exit::Status(match (failed, held, report.output()) {
        (Some(status), _, _) => status,
        (None, true, Output::Good) => exit::SUCCESS,
        (None, true, Output::Failed) => exit::FLOCK.no_output,
        (None, false, _) => exit::NOBODY,
    })
}

fn look(target: &Target, asker: Asker) -> Result<Look, Error> {
    let file = match target {
        Target::Path(path) => File::at(path)?,
        Target::Descriptor(number) => File::inherited(*number).map_err(|error| match error {
            Error::Lock(error) if asker == Asker::Process => {
                Error::Lock(lock::descriptor::kept_by_the_shell(error, *number))
            }
            other => other,
        })?,
    };
    holders::look(&file, asker)
}

/// What a target is called.
fn label(target: &Target) -> OsString {
    match target {
        Target::Path(path) => path.clone(),
        Target::Descriptor(number) => format!("descriptor {number}").into(),
    }
}

/// Those who hold a lock for sure: what is killed must not be somebody else.
fn pids(rows: &[Row]) -> Vec<u8> {
    let sure = rows
        .iter()
        .filter(|row| row.party.role == Role::Holder && row.party.certainty == Certainty::Verified);
    let mut pids: Vec<i32> = Vec::new();
    for pid in sure.filter_map(|row| row.number.map(raw)) {
        if let Err(place) = pids.binary_search(&pid) {
            pids.insert(place, pid);
        }
    }
    let lines = pids.iter().map(|pid| format!("{pid}\n"));
    lines.collect::<String>().into_bytes()
}

fn raw(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

/// What the rows cannot say: that there may be others, or that it is not sure.
fn notes(rows: &[Row], horizon: Horizon) -> Vec<String> {
    let mut notes = Vec::new();
    let holders = || rows.iter().filter(|row| row.party.role == Role::Holder);
    let is_blind = horizon.closed > 0 || !geteuid().is_root();
    if holders().any(|row| row.party.pid.is_none()) {
        notes.push(match horizon {
            _ if is_blind => "held by a process that only root can see".to_owned(),
            Horizon {
                locality: Locality::Remote,
                ..
            } => "held, but the holder is not visible; it may be on another machine".to_owned(),
            Horizon {
                namespace: Namespace::Whole,
                ..
            } => "held, but no process has it open".to_owned(),
            _ => "held by a process outside this PID namespace".to_owned(),
        });
    }
    for row in holders().filter(|row| row.party.certainty == Certainty::Unverified) {
        if let Some(pid) = row.number {
            let pid = raw(pid);
            notes.push(format!(
                "PID {pid} acquired the lock; root privileges are needed to check that it still holds it"
            ));
        }
    }
    if holders().next().is_none() {
        if horizon.namespace != Namespace::Whole {
            notes.push(
                "no holder found; processes outside this PID namespace are not visible".to_owned(),
            );
        }
        if horizon.locality == Locality::Remote {
            notes.push(
                "no holder found on this machine; holders on other machines are not visible"
                    .to_owned(),
            );
        }
    }
    if horizon.namespace == Namespace::Foreign && rows.iter().any(|row| row.party.pid.is_some()) {
        notes.push("PIDs are not shown, because /proc belongs to another PID namespace".to_owned());
    }
    notes
}
