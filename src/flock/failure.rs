//! Requests, carried out, one file a program: the lock, then the command under it, then how it ended.

use std::ffi::OsString;

use crate::exit::{self, Exit, Table};
use crate::report::{Output, Report};
use crate::{lock, run};

/// What went wrong, whichever layer it comes from.
#[derive(Debug)]
pub enum Failure {
    /// The lock could not be asked for.
    Lock(lock::Error),
    /// The command did not run as it should.
    Run(run::Error),
}

impl Failure {
    /// The message, in bytes, as paths are.
    pub fn message(&self) -> OsString {
        match self {
            Self::Lock(error) => error.message(),
            Self::Run(error) => error.message(),
        }
    }

    /// The status to end with.
    pub fn status(&self, table: &Table) -> u8 {
        match self {
            Self::Lock(error) => table.of_lock(error),
            Self::Run(error) => table.of_run(error),
        }
    }
}

impl From<lock::Error> for Failure {
    fn from(error: lock::Error) -> Self {
        Self::Lock(error)
    }
}

impl From<run::Error> for Failure {
    fn from(error: run::Error) -> Self {
        Self::Run(error)
    }
}

/// Does the deed, tells what went wrong, and says how to end. What should have been on standard output and is not
/// turns success into failure.
pub fn conclude(
    table: &Table,
    report: &mut Report,
    deed: impl FnOnce(&mut Report) -> Result<Exit, Failure>,
) -> Exit {
    let exit = deed(report).unwrap_or_else(|failure| {
        report.complain(failure.message());
        Exit::Status(failure.status(table))
    });
    match (exit, report.output()) {
        (Exit::Status(exit::SUCCESS), Output::Failed) => Exit::Status(table.no_output),
        _ => exit,
    }
}
