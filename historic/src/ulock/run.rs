//! Carries out a request to `ulock`: acquires LOCK for the caller, or runs a command as a reader.

use std::ffi::{OsStr, OsString};

use crate::error::Error;
use crate::exit;
use crate::hard_link::{LinkGuard, LinkLock, Reader};
use crate::ulock::{Request, UlockOp};
use fdlock::exit::{Exit, SUCCESS};
use fdlock::lock::Acquired;
use fdlock::report::Report;
use fdlock::run::{self, Command, ExitReason, RunOptions};
use fdlock::sys::deferred_signals::DeferredSignals;

/// Carries out a request and returns how to exit.
///
/// A signal that would terminate this process takes effect when everything has been cleaned up and
/// the deferred signals are dropped: no LOCK is left behind without a holder, and no link without a
/// reader.
pub fn run(request: &Request, report: &mut Report) -> Exit {
    let result = lock_and_run(request, DeferredSignals::terminating(), report);
    report.finish(&exit::ULOCK, result)
}

fn lock_and_run(
    request: &Request,
    deferred: DeferredSignals,
    report: &Report,
) -> Result<Exit, Error> {
    let deadline = request.timeout.start();
    let mut lock = LinkLock::new(&request.lock, deadline, request.max_age, &deferred);
    let outcome = match &request.op {
        UlockOp::Read { counter, line } => {
            return match lock.read(counter)? {
                Acquired::Held(reader) => run_as_reader(reader, line, &deferred, report),
                Acquired::NotHeld(_) => Ok(Exit::Status(exit::ULOCK.conflict)),
            };
        }
        UlockOp::Write {
            counter: Some(counter),
        } => lock.write(counter)?,
        UlockOp::Write { counter: None } | UlockOp::Exclusive => lock.exclusive()?,
    };
    match outcome.map(LinkGuard::disarm) {
        Acquired::Held(()) => {
            drop(lock);
            // The exit status is about to report that the caller has LOCK, so it must not change.
            deferred.until_exit();
            Ok(Exit::Status(SUCCESS))
        }
        // Also after a signal, which terminates this process when the deferred ones are dropped.
        Acquired::NotHeld(_) => Ok(Exit::Status(exit::ULOCK.conflict)),
    }
}

/// Runs the command line as a reader. If it fails, the reader's link remains, so that a user looks
/// into it before anything is written.
fn run_as_reader(
    reader: Reader,
    line: &OsStr,
    deferred: &DeferredSignals,
    report: &Report,
) -> Result<Exit, Error> {
    let options = RunOptions {
        deferred: Some(deferred),
        ..RunOptions::default()
    };
    let result = Command::system(line.to_owned()).run(options, &mut |error| {
        report.error(error.message());
    });
    match result {
        Ok(ExitReason::Exited(SUCCESS)) => {
            reader.unregister()?;
            Ok(Exit::Status(SUCCESS))
        }
        Ok(reason) => {
            leave_behind(reader, line, report);
            Ok(reason.into())
        }
        Err(error) => {
            // The command may still be running.
            if let run::Error::Wait(_) = error {
                leave_behind(reader, line, report);
            }
            Err(error.into())
        }
    }
}

/// Keeps the reader's link, and reports that with the message of the original.
fn leave_behind(reader: Reader, line: &OsStr, report: &Report) {
    let mut message = OsString::from("Error(282)[ulock] : command '");
    message.push(line);
    message.push("' failed, file '");
    message.push(reader.link());
    message.push("' is left.\n");
    report.error_raw(message);
    reader.keep();
}
