//! Carries out a request to `runlock`: creates the PID file, and runs the command under
//! supervision.

use std::ffi::OsString;
use std::os::fd::AsFd;

use crate::error::Error;
use crate::exit;
use crate::pid_file;
use crate::runlock::Request;
use fdlock::exit::{Exit, ExitError};
use fdlock::lock::Acquired;
use fdlock::report::Report;
use fdlock::run::{self, RunOptions, Supervision};

/// Carries out a request and returns how to exit.
pub fn run(request: &Request, report: &mut Report) -> Exit {
    let result = lock_and_run(request, report);
    report.finish(&exit::RUNLOCK, result)
}

fn lock_and_run(request: &Request, report: &Report) -> Result<Exit, Error> {
    let mut path = request.file.clone();
    path.push(".lock");
    let outcome = pid_file::acquire(&path, &mut |pid| {
        let mut line = OsString::from("UNLOCKED ");
        line.push(&request.file);
        line.push(format!(" (stale lock by PID {pid})"));
        report.error(line);
    })?;
    let lock = match outcome {
        Acquired::Held(lock) => lock,
        Acquired::NotHeld(contended) => {
            // Word for word the original's, for the readers of cron's mail.
            report.error_raw("Still locked.\n");
            if let Some(message) = contended.message() {
                report.error(message);
            }
            return Ok(Exit::Status(exit::RUNLOCK.conflict));
        }
    };
    let options = RunOptions {
        close_fds: &[lock.as_fd()],
        supervision: Supervision::Supervised,
        deferred: Some(lock.deferred_signals()),
    };
    let warn = &mut |error: run::Error| report.error(error.message());
    let result = request.command.run(options, warn);
    if let Err(error) = lock.release() {
        report.error(error.message());
    }
    drop(lock);
    Ok(result?.into())
}
