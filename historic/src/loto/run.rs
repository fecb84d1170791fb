//! A request to `loto`, carried out: all the locks, then the command under them, on a leash.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use fdlock::exit::Exit;
use fdlock::flock::failure::{Failure, finish};

use crate::exit;
use crate::loto::resource::Resources;
use crate::loto::{Request, Verbosity};
use fdlock::lock::fair::marker::ArrivalTime;
use fdlock::lock::multi::{self, Wanted};
use fdlock::lock::{self, Answer, Guard, Kind, Mode};
use fdlock::report::Report;
use fdlock::run::{ExitReason, RunOptions, Supervision};

/// Carries out a request and says how to end.
pub fn perform(request: &Request, report: &mut Report) -> Exit {
    finish(&exit::LOTO, report, |report| attempt(request, report))
}

fn attempt(request: &Request, report: &mut Report) -> Result<Exit, Failure> {
    let mut log = VerboseLog {
        verbosity: request.verbosity,
        began: Instant::now(),
        report,
    };
    let files = lock_files(request, &mut log)?;
    // As in `flock`: a misspelt line in a crontab leaves nothing behind.
    if files.iter().any(|(file, _)| !lock::file::exists(file)) {
        request.command.find()?;
    }
    let grants = multi::acquire(
        &files,
        Mode::Exclusive,
        &request.wait.begin(),
        &mut |file| log.waiting(file),
    )?;
    let guards = match grants {
        Ok(guards) => guards,
        Err((answer, file)) => return Ok(log.refused(answer, file)),
    };
    let waited = log.began.elapsed();
    log.executing(request.command.name());
    let without = guards.iter().map(Guard::as_fd).collect::<Vec<_>>();
    let terms = RunOptions {
        close_fds: &without,
        supervision: Supervision::Supervised,
        ..RunOptions::default()
    };
    let ended = request.command.run(terms, &mut |error| {
        log.report.error(error.message());
    })?;
    log.ended(ended, waited);
    Ok(ended.into())
}

/// The lock files that the words mean, and how they are locked.
fn lock_files(request: &Request, log: &mut VerboseLog<'_>) -> Result<Vec<Wanted>, Failure> {
    let resources = Resources::for_words(&request.files)?;
    let file = |word: &OsString| {
        let Some(resource) = resources.named(word) else {
            return (word.to_owned(), Kind::Flock);
        };
        log.resource(&resource.file);
        let kind = resource.slots.map_or(Kind::Flock, |of| Kind::Slot {
            of,
            arrived: ArrivalTime::now(),
        });
        (resource.file.clone(), kind)
    };
    Ok(request.files.iter().map(file).collect())
}

/// What is told, on standard output, of what goes well.
struct VerboseLog<'a> {
    verbosity: Verbosity,
    began: Instant,
    report: &'a mut Report,
}

impl VerboseLog<'_> {
    fn tell(&mut self, parts: &[&OsStr]) {
        if self.verbosity == Verbosity::Verbose {
            self.report.info(parts.join(OsStr::new("")));
        }
    }

    fn resource(&mut self, file: &OsStr) {
        self.tell(&["resource lock file ".as_ref(), file]);
    }

    fn waiting(&mut self, file: &OsStr) {
        self.tell(&["waiting for lock on ".as_ref(), file]);
    }

    fn executing(&mut self, command: &OsStr) {
        self.tell(&["executing ".as_ref(), command]);
    }

    fn ended(&mut self, ended: ExitReason, waited: Duration) {
        let how = match ended {
            ExitReason::Exited(status) => format!("exited with {status}"),
            ExitReason::SignaledToo(signal) | ExitReason::Signaled(signal) => {
                format!("was killed by signal {signal}")
            }
        };
        let all = self.began.elapsed();
        let (ran, waited) = ((all - waited).as_secs(), waited.as_secs());
        let line = format!("command {how} (run time: {ran} sec, lock wait: {waited} sec)");
        self.tell(&[line.as_ref()]);
    }

    /// That a lock is taken is a failure only if somebody wants to hear of it.
    fn refused(&mut self, answer: Answer, file: &OsStr) -> Exit {
        if self.verbosity == Verbosity::Quiet {
            return Exit::Status(fdlock::exit::SUCCESS);
        }
        let mut message = OsString::from(match answer {
            Refusal::TimedOut => "Timeout to gain lock on ",
            _ => "Failed to gain lock on ",
        });
        message.push(file);
        self.report.error(message);
        Exit::Status(exit::LOTO.conflict)
    }
}
