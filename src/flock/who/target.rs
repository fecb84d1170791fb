//! What `--who` lists: a file or a descriptor.

use std::ffi::OsString;

use rustix::process::Pid;

use crate::flock::Target;
use crate::holders::{self, Caller, Error, File, Lookup, Snapshot, find_deleted};
use crate::lock;

/// Returns the holders and waiters of a target.
pub(super) fn snapshot(target: &Target, caller: Caller, lookup: Lookup) -> Result<Snapshot, Error> {
    holders::snapshot(&file(target, caller)?, caller, lookup)
}

/// Returns the holders and waiters of a target and, for a path, those of locked files that were
/// there and have been deleted.
pub(super) fn snapshots(target: &Target, caller: Caller) -> Result<Vec<Snapshot>, Error> {
    match (target, file(target, caller)) {
        (Target::Path(path), Ok(file)) => holders::snapshots_at(path, &file, caller),
        (Target::Path(path), Err(error)) => {
            let deleted = find_deleted(path);
            if deleted.is_empty() {
                return Err(error);
            }
            let snapshot = |file| holders::snapshot(file, caller, Lookup::ALL);
            deleted.iter().map(snapshot).collect()
        }
        (Target::Descriptor(_), file) => Ok(vec![holders::snapshot(&file?, caller, Lookup::ALL)?]),
    }
}

fn file(target: &Target, caller: Caller) -> Result<File, Error> {
    match target {
        Target::Path(path) => File::from_path(path),
        Target::Descriptor(number) => File::from_inherited(*number).map_err(|error| match error {
            Error::Lock(error) if caller == Caller::Process => {
                Error::Lock(lock::descriptor::hint_if_open_in_parent(error, *number))
            }
            other => other,
        }),
    }
}

/// Returns the name of a target in messages.
pub(super) fn label(target: &Target) -> OsString {
    match target {
        Target::Path(path) => path.clone(),
        Target::Descriptor(number) => format!("descriptor {number}").into(),
    }
}

/// Returns a PID as a number.
pub(super) fn raw_pid(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}
