//! `--path`: prints the path of a lock file that is given by name.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::failure::Failure;
use crate::exit::{self, Exit};
use crate::lock::named;
use crate::report::Report;

/// Prints the path of the lock file, which a script can open from then on, and returns how to exit.
#[cold]
#[inline(never)]
pub fn run(path: &OsStr, report: &mut Report) -> Exit {
    let prepared = named::prepare(path).map_err(Failure::from);
    if prepared.is_ok() {
        report.print(&[path.as_bytes(), b"\n"].concat());
    }
    report.finish(&exit::FLOCK, prepared.map(|()| Exit::Status(exit::SUCCESS)))
}
