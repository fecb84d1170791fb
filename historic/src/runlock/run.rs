//! A request to `runlock`, carried out: the pid file, then the command on a leash as long as it is ours.

use std::ffi::OsString;
use std::os::fd::AsFd;

use fdlock::exit::Exit;
use fdlock::flock::failure::{Failure, finish};

use crate::exit;
use crate::pid_file::{self, Taken};
use crate::runlock::Request;
use fdlock::report::Report;
use fdlock::run::{self, RunOptions, Supervision};

/// Carries out a request and says how to end.
pub fn perform(request: &Request, report: &mut Report) -> Exit {
    finish(&exit::RUNLOCK, report, |report| attempt(request, report))
}

fn attempt(request: &Request, report: &Report) -> Result<Exit, Failure> {
    let mut path = request.file.clone();
    path.push(".lock");
    let grant = pid_file::acquire(&path, &mut |pid| {
        let mut line = OsString::from("UNLOCKED ");
        line.push(&request.file);
        line.push(format!(" (stale lock by PID {})", pid.as_raw_nonzero()));
        report.error(line);
    })?;
    let lock = match grant {
        Ok(lock) => lock,
        Err(taken) => return Ok(still_locked(&taken, report)),
    };
    let terms = RunOptions {
        close_fds: &[lock.as_fd()],
        supervision: Supervision::Supervised,
        deferred: Some(lock.held()),
    };
    let warn = &mut |error: run::Error| report.error(error.message());
    let ended = request.command.run(terms, warn);
    if let Err(error) = lock.release() {
        report.error(error.message());
    }
    drop(lock);
    Ok(ended?.into())
}

/// In the original's words, to which cron's readers are used.
fn still_locked(taken: &Taken, report: &Report) -> Exit {
    report.error_raw("Still locked.\n");
    if let Some(message) = taken.message() {
        report.error(message);
    }
    Exit::Status(exit::RUNLOCK.conflict)
}
