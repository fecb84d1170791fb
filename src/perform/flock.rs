//! A request to `flock`, carried out: the lock, then the command under it, then how it ended.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::time::Instant;

use super::Failure;
use crate::exit::{self, Exit};
use crate::lock::{self, Answer, Deadline, Grant, Guard};
use crate::report::{Output, Report};
use crate::request::flock::{Job, Manner, Request, Target, Verbosity};
use crate::run::Terms;

/// Carries out a request and says how to end.
pub fn perform(request: &Request, report: &mut Report) -> Exit {
    super::conclude(&exit::FLOCK, report, |report| attempt(request, report))
}

fn attempt(request: &Request, report: &mut Report) -> Result<Exit, Failure> {
    let story = Story::begin(request.verbosity);
    let guard = match obtain(request)? {
        Ok(guard) => guard,
        Err(answer) => {
            story.refused(answer, report);
            return Ok(Exit::Status(request.on_conflict));
        }
    };
    story.granted(report);
    match &request.job {
        Some(job) => {
            story.executing(job, report);
            run_under(&guard, job, report)
        }
        None => {
            keep(request, &guard, report);
            Ok(Exit::Status(exit::SUCCESS))
        }
    }
}

/// Takes the lock. A lock file that is missing is not made for a command that is missing too: there is nobody to wait
/// for who might yet install it, and a misspelt line in a crontab leaves nothing behind.
fn obtain(request: &Request) -> Result<Grant, Failure> {
    let deadline = request.wait.begin();
    if let (Target::Path(path), Some(job)) = (&request.target, &request.job)
        && !lock::file::exists(path)
    {
        job.command.find()?;
    }
    let grant = take(request, &deadline).map_err(|error| match request.target {
        Target::Descriptor(number) => lock::descriptor::kept_by_the_shell(error, number),
        Target::Path(_) => error,
    });
    Ok(grant?)
}

/// Takes the lock, whatever is done under it.
///
/// # Errors
///
/// Those of [`lock::descriptor::acquire`] and [`lock::file::acquire`].
pub fn take(request: &Request, deadline: &Deadline) -> Result<Grant, lock::Error> {
    let (kind, mode) = (request.kind, request.mode);
    match &request.target {
        Target::Descriptor(number) => lock::descriptor::acquire(*number, kind, mode, deadline),
        Target::Path(path) => lock::file::acquire(path, kind, mode, deadline),
    }
}

/// Leaves the lock with the caller's descriptor, unless he is about to be told by the status that he has none.
pub fn keep(request: &Request, guard: &Guard, report: &Report) {
    if report.output() == Output::Failed
        && let Guard::Theirs(fd) = guard
    {
        lock::descriptor::release(*fd, request.kind);
    }
}

fn run_under(guard: &Guard, job: &Job, report: &mut Report) -> Result<Exit, Failure> {
    let lock = [guard.as_fd()];
    let without = match job.manner {
        Manner::InPlace => return Err(job.command.exec().into()),
        Manner::ChildWithoutLock => &lock[..],
        Manner::Child => &[],
    };
    let terms = Terms {
        without,
        ..Terms::default()
    };
    let ended = job
        .command
        .run(terms, &mut |error| report.complain(error.message()))?;
    Ok(ended.into())
}

/// What `--verbose` tells. When nobody listens, the clock is not even looked at.
#[derive(Clone, Copy, Debug)]
pub struct Story(Option<Instant>);

impl Story {
    /// The wait begins.
    pub fn begin(verbosity: Verbosity) -> Self {
        Self((verbosity == Verbosity::Verbose).then(Instant::now))
    }

    /// The lock is there.
    pub fn granted(self, report: &mut Report) {
        if let Self(Some(began)) = self {
            let took = began.elapsed();
            let (seconds, micros) = (took.as_secs(), took.subsec_micros());
            report.tell(format!("getting lock took {seconds}.{micros:06} seconds"));
        }
    }

    /// Somebody else has it.
    pub fn refused(self, answer: Answer, report: &Report) {
        if self.0.is_some() {
            report.complain(match answer {
                Answer::TimedOut => "timeout while waiting to get lock",
                _ => "failed to get lock",
            });
        }
    }

    /// The command begins.
    pub fn executing(self, job: &Job, report: &mut Report) {
        if self.0.is_some() {
            let mut line = OsString::from("executing ");
            line.push(job.command.name());
            report.tell(line);
        }
    }
}
