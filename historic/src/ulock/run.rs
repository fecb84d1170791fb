//! A request to `ulock`, carried out: LOCK for the caller, or a reader's link for as long as his command runs.

use std::ffi::{OsStr, OsString};

use fdlock::exit::Exit;
use fdlock::flock::failure::{Failure, finish};

use crate::exit;
use crate::hard_link::{Contender, NotTaken, Reader, Taken};
use crate::ulock::{Request, UlockOp};
use fdlock::report::Report;
use fdlock::run::{self, Command, ExitReason, RunOptions};
use fdlock::sys::deferred_signals::DeferredSignals;

/// Carries out a request and says how to end.
///
/// A signal that would end us takes effect when all is tidied up, when `held` is dropped: no LOCK is left that nobody
/// holds, and no link that nobody reads by.
pub fn perform(request: &Request, report: &mut Report) -> Exit {
    finish(&exit::ULOCK, report, |report| {
        attempt(request, DeferredSignals::terminating(), report)
    })
}

fn attempt(request: &Request, held: DeferredSignals, report: &mut Report) -> Result<Exit, Failure> {
    let deadline = request.wait.begin();
    let mut contender = Contender::new(&request.lock, deadline, request.invalid, &held);
    let taken = match &request.op {
        UlockOp::Read { counter, line } => {
            return match contender.read(counter) {
                Ok(reader) => run_as(reader, line, &held, report),
                Err(not) => refused(not),
            };
        }
        UlockOp::Write {
            counter: Some(counter),
        } => contender.write(counter),
        UlockOp::Write { counter: None } | UlockOp::Exclusive => contender.exclusive(),
    };
    match taken.map(Taken::leave) {
        Ok(()) => {
            drop(contender);
            // The caller is about to hear that he has LOCK; he must not hear otherwise.
            held.until_exit();
            Ok(Exit::Status(fdlock::exit::SUCCESS))
        }
        Err(not) => refused(not),
    }
}

fn refused(not: NotTaken) -> Result<Exit, Failure> {
    match not {
        // Where a signal does not end us after all, as it cannot end process 1, the status says as much.
        NotTaken::TimedOut | NotTaken::Interrupted => Ok(Exit::Status(exit::ULOCK.conflict)),
        NotTaken::Failed(error) => Err(error.into()),
    }
}

/// Runs the line as a reader. If it fails, the reader stays: what it has read, or not, is for somebody to look after
/// before anybody writes.
fn run_as(
    reader: Reader,
    line: &OsStr,
    held: &DeferredSignals,
    report: &mut Report,
) -> Result<Exit, Failure> {
    let terms = RunOptions {
        deferred: Some(held),
        ..RunOptions::default()
    };
    let ended = Command::system(line.to_owned()).run(terms, &mut |error| {
        report.error(error.message());
    });
    match ended {
        Ok(ExitReason::Exited(fdlock::exit::SUCCESS)) => {
            reader.leave()?;
            Ok(Exit::Status(fdlock::exit::SUCCESS))
        }
        Ok(ended) => {
            leave_behind(reader, line, report);
            Ok(ended.into())
        }
        Err(error) => {
            // It may be running for all we know.
            if let run::Error::Wait(_) = error {
                leave_behind(reader, line, report);
            }
            Err(error.into())
        }
    }
}

/// In the words of the original.
fn leave_behind(reader: Reader, line: &OsStr, report: &Report) {
    let mut message = OsString::from("Error(282)[ulock] : command '");
    message.push(line);
    message.push("' failed, file '");
    message.push(reader.link());
    message.push("' is left.\n");
    report.error_raw(message);
    reader.stay();
}
