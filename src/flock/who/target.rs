//! What `--who` lists: a file or a descriptor.

use std::ffi::OsString;

use rustix::process::Pid;

use crate::flock::Target;
use crate::holders::{self, Caller, Error, File, Snapshot};
use crate::lock;

/// Returns the holders and waiters of a target.
pub(super) fn snapshot(target: &Target, caller: Caller) -> Result<Snapshot, Error> {
    let file = match target {
        Target::Path(path) => File::from_path(path)?,
        Target::Descriptor(number) => {
            File::from_inherited(*number).map_err(|error| match error {
                Error::Lock(error) if caller == Caller::Process => {
                    Error::Lock(lock::descriptor::hint_if_open_in_parent(error, *number))
                }
                other => other,
            })?
        }
    };
    holders::snapshot(&file, caller)
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
