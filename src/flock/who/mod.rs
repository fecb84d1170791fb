//! `--who`: lists the holders and waiters of locks, of files or of the whole machine.

mod blockers;
mod elsewhere;
mod json;
mod listing;
mod notes;
pub(super) mod remote;
mod row;
mod table;
mod target;
pub(super) mod text;
mod wait_status;
mod watch;

use std::collections::BTreeSet;

use super::{OutputFormat, WhoRequest};
use crate::exit::{self, Exit};
use crate::holders::{Caller, Confidence, Role};
use crate::report::{Output, Report};

pub(super) use blockers::blocker_lines;
use elsewhere::Elsewhere;
use listing::Listing;
use row::Row;
use target::raw_pid;
pub(super) use wait_status::{WaitStatus, wait_status};

/// Lists the holders and waiters, and returns how to exit. A target that cannot be examined does
/// not prevent the others from being listed; its status is the exit status.
#[cold]
#[inline(never)]
pub fn run(request: &WhoRequest, caller: Caller, report: &mut Report) -> Exit {
    if request.watch {
        return watch::run(request, caller, report);
    }
    let Listing {
        rows,
        elsewhere,
        messages,
        failed,
    } = Listing::create(request, caller);
    for message in messages {
        report.error(message);
    }
    let mut print = |text: &[u8]| report.print(text);
    match request.format {
        OutputFormat::Table => {
            table::print(&rows, request.targets.len(), &mut print);
            elsewhere.iter().for_each(|lock| print(&lock.table()));
        }
        OutputFormat::Json => {
            let objects = elsewhere.iter().flat_map(Elsewhere::objects);
            json::print(&rows, objects, &mut print);
        }
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
