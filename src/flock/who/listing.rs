//! The rows that `--who` prints, and its messages.

use std::ffi::OsString;
use std::rc::Rc;

use rustix::process::Pid;

use super::elsewhere::Elsewhere;
use super::notes;
use super::row::{Processes, Row};
use super::target::{label, snapshots};
use crate::exit;
use crate::flock::{OutputFormat, Target, WhoRequest};
use crate::holders::{self, Caller, Error, LockUser, Role, find_deadlocks};

/// What there is to print.
#[derive(Debug, Default)]
pub(super) struct Listing<'t> {
    pub rows: Vec<Row<'t>>,
    /// The locks elsewhere that are tied to descriptors of the files.
    pub elsewhere: Vec<Elsewhere>,
    /// What the rows do not show.
    pub messages: Vec<OsString>,
    /// The exit status, if something could not be examined.
    pub failed: Option<u8>,
}

impl<'t> Listing<'t> {
    /// Lists the targets of the request, or all locks of the machine.
    pub fn create(request: &'t WhoRequest, caller: Caller) -> Self {
        let mut listing = Self::default();
        let deadlocks = if request.targets.is_empty() {
            listing.add_machine(request, caller)
        } else {
            for target in &request.targets {
                listing.add_target(target, request, caller);
            }
            match listing.rows.iter().any(is_waiter) {
                true => find_deadlocks(),
                false => Vec::new(),
            }
        };
        let shown = listing.mark_deadlocks(deadlocks).into_iter();
        let messages: Vec<OsString> = shown.map(|pids| notes::deadlock(&pids).into()).collect();
        listing.messages.extend(messages);
        listing
    }

    fn add_error(&mut self, error: &Error) {
        self.messages.push(error.message());
        self.failed.get_or_insert(exit::FLOCK.for_holders(error));
    }

    fn add_target(&mut self, target: &'t Target, request: &WhoRequest, caller: Caller) {
        let snapshots = match snapshots(target, caller) {
            Ok(snapshots) => snapshots,
            Err(error) => return self.add_error(&error),
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
                self.messages.push(message);
            }
            let is_held = users.iter().any(|user| user.role == Role::Holder);
            if let Some(errno) = snapshot.visibility.error.filter(|_| !is_held) {
                let error = Error::unexamined(errno);
                self.failed.get_or_insert(exit::FLOCK.for_holders(&error));
            }
            self.rows.extend(found);
            if !request.watch && request.format != OutputFormat::Pids {
                let found = Elsewhere::find(&snapshot, caller, &mut self.messages);
                self.elsewhere.extend(found);
            }
        }
    }

    /// Adds all locks of the machine, and returns the deadlocks.
    fn add_machine(&mut self, request: &WhoRequest, caller: Caller) -> Vec<Vec<Pid>> {
        let mut machine = match holders::all_locks(caller) {
            Ok(machine) => machine,
            Err(error) => {
                self.add_error(&error);
                return Vec::new();
            }
        };
        let mut processes = Processes::new(machine.visibility.namespace, request.format);
        for file in std::mem::take(&mut machine.files).into_iter().map(Rc::new) {
            self.rows.extend(Row::from_file(&file, &mut processes));
        }
        let notes = notes::machine(&machine, &self.rows).into_iter();
        self.messages.extend(notes.map(OsString::from));
        let is_held = self.rows.iter().any(|row| row.lock.role == Role::Holder);
        if let Some(errno) = machine.visibility.error.filter(|_| !is_held) {
            let error = Error::unexamined(errno);
            self.failed.get_or_insert(exit::FLOCK.for_holders(&error));
        }
        machine.deadlocks
    }

    /// Marks the waiters that wait in a deadlock, and returns the deadlocks with listed waiters: the
    /// processes that wait for each other, if their PIDs mean the same processes here.
    fn mark_deadlocks(&mut self, deadlocks: Vec<Vec<Pid>>) -> Vec<Vec<Pid>> {
        let mut shown = Vec::new();
        for deadlock in deadlocks {
            let is_in = |row: &&mut Row<'_>| {
                is_waiter(row) && row.lock.pid.is_some_and(|pid| deadlock.contains(&pid))
            };
            let mut is_listed = false;
            for row in self.rows.iter_mut().filter(is_in) {
                row.is_deadlocked = true;
                is_listed |= row.pid.is_some();
            }
            if is_listed {
                shown.push(deadlock);
            }
        }
        shown
    }
}

fn is_waiter(row: &Row<'_>) -> bool {
    row.lock.role == Role::Waiter && row.lock.pid.is_some()
}
