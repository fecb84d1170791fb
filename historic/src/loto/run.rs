//! Carries out a request to `loto`: acquires all locks, and runs the command under supervision.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::exit;
use crate::loto::resource::Resources;
use crate::loto::{Request, Verbosity};
use fdlock::exit::{Exit, SUCCESS};
use fdlock::lock::acquire::LockKind;
use fdlock::lock::advisory::LockApi;
use fdlock::lock::multi::{self, LockTarget};
use fdlock::lock::{self, Acquired, Guard, Mode, Refusal};
use fdlock::report::Report;
use fdlock::run::{ExitReason, RunOptions, Supervision};
use fdlock::sys::clock::Uptime;
use fdlock::sys::init_signals;

/// Carries out a request and returns how to exit.
pub fn run(request: &Request, report: &mut Report) -> Exit {
    let result = lock_and_run(request, report);
    report.finish(&exit::LOTO, result)
}

fn lock_and_run(request: &Request, report: &mut Report) -> Result<Exit, Error> {
    let mut log = VerboseLog {
        verbosity: request.verbosity,
        started: Instant::now(),
        report,
    };
    let targets = lock_targets(request, &mut log)?;
    // As in `flock`: a typo in a crontab leaves nothing behind.
    if targets
        .iter()
        .any(|target| !lock::file::exists(&target.path))
    {
        request.command.find()?;
    }
    let deadline = request.timeout.start();
    let outcome = multi::acquire(&targets, Mode::Exclusive, &deadline, &mut |path| {
        init_signals::die_of_signals();
        log.info("waiting for lock on ", path);
    })?;
    let guards = match outcome {
        Acquired::Held(guards) => guards,
        Acquired::NotHeld(contended) => {
            return Ok(log.report_refusal(contended.reason, contended.path));
        }
    };
    let waited = log.started.elapsed();
    log.info("executing ", request.command.name());
    let close_fds = guards.iter().map(Guard::as_fd).collect::<Vec<_>>();
    let options = RunOptions {
        close_fds: &close_fds,
        supervision: Supervision::Supervised,
        ..RunOptions::default()
    };
    let reason = request.command.run(options, &mut |error| {
        log.report.error(error.message());
    })?;
    log.report_exit(reason, waited);
    Ok(reason.into())
}

/// Returns the lock files, and how they are locked.
fn lock_targets(request: &Request, log: &mut VerboseLog<'_>) -> Result<Vec<LockTarget>, Error> {
    let resources = Resources::load_for(&request.targets)?;
    let flock = LockKind::Advisory(LockApi::Flock);
    let target = |name: &OsString| {
        let Some(resource) = resources.get(name) else {
            return LockTarget {
                path: name.clone(),
                kind: flock,
            };
        };
        log.info("resource lock file ", &resource.file);
        LockTarget {
            path: resource.file.clone(),
            kind: resource.slots.map_or(flock, |limit| LockKind::Slot {
                limit,
                arrived: Uptime::now(),
            }),
        }
    };
    Ok(request.targets.iter().map(target).collect())
}

/// The output of `-v`, on standard output, and the message about a conflict.
struct VerboseLog<'a> {
    verbosity: Verbosity,
    started: Instant,
    report: &'a mut Report,
}

impl VerboseLog<'_> {
    fn info(&mut self, text: &str, object: &OsStr) {
        if self.verbosity == Verbosity::Verbose {
            self.report
                .info([text.as_ref(), object].join(OsStr::new("")));
        }
    }

    fn report_exit(&mut self, reason: ExitReason, waited: Duration) {
        let reason = match reason {
            ExitReason::Exited(status) => format!("exited with {status}"),
            ExitReason::SignaledToo(signal) | ExitReason::Signaled(signal) => {
                format!("was killed by signal {signal}")
            }
        };
        let total = self.started.elapsed();
        let (ran, waited) = ((total - waited).as_secs(), waited.as_secs());
        let line = format!("command {reason} (run time: {ran} sec, lock wait: {waited} sec)");
        self.info(&line, OsStr::new(""));
    }

    /// Reports a conflict, which is a failure unless `-q` was given.
    fn report_refusal(&mut self, reason: Refusal, file: &OsStr) -> Exit {
        if self.verbosity == Verbosity::Quiet {
            return Exit::Status(SUCCESS);
        }
        let mut message = OsString::from(match reason {
            Refusal::TimedOut => "Timeout to gain lock on ",
            Refusal::WouldBlock
            | Refusal::QueueFull
            | Refusal::Superseded
            | Refusal::Interrupted => "Failed to gain lock on ",
        });
        message.push(file);
        self.report.error(message);
        Exit::Status(exit::LOTO.conflict)
    }
}
