//! Carries out a request: acquires the lock, runs the command, and returns how to exit.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};

use super::failure::Failure;
use super::progress::Progress;
use super::verbose::VerboseLog;
use super::{
    ExecMode, Fairness, Job, LockRequest, OnRelease, Request, Target, exec_hint, print_path,
    remote, replace, who,
};
use crate::exit::{self, Exit};
use crate::holders::Caller;
use crate::lock::acquire::{LockKind, Order};
use crate::lock::fair::claim::Claim;
use crate::lock::multi::{self, LockTarget};
use crate::lock::{self, Acquired, Deadline, Guard, Mode};
use crate::report::{Output, Report};
use crate::run::{self, RunOptions};
use crate::sys::clock::Uptime;
use crate::sys::init_signals;

/// Carries out a request and returns how to exit.
pub fn run(request: &Request, report: &mut Report) -> Exit {
    match request {
        Request::Lock(request) => {
            let result = lock_and_run(request, report);
            report.finish(&exit::FLOCK, result)
        }
        Request::Remote(request) => remote::run(request, report),
        Request::RemoteWho(request) => who::remote::run(request, report),
        Request::Who(request) => who::run(request, Caller::Process, report),
        Request::PrintPath(path) => print_path::run(path, report),
    }
}

fn lock_and_run(request: &LockRequest, report: &mut Report) -> Result<Exit, Failure> {
    let mut log = VerboseLog::start(request.verbosity, Caller::Process);
    let locks = match acquire_checked(request, &mut log, report)? {
        Acquired::Held(locks) => locks,
        Acquired::NotHeld(reason) => {
            log.report_refusal(request, reason, report);
            return Ok(Exit::Status(request.conflict_status));
        }
    };
    log.report_acquired(report);
    log.report_limitations(request, locks.fds(), report);
    let Some(job) = &request.job else {
        if let (Mode::Unlocked, Target::Descriptor(number)) = (request.mode, &request.target) {
            remote::release_all(*number)?;
        }
        release_if_output_failed(request, &locks, report);
        return Ok(Exit::Status(exit::SUCCESS));
    };
    log.report_command(&job.command, report);
    let exit = run_command(&locks, job, report).map_err(|error| exec_hint::add(error, request));
    let command_has_run = exit.as_ref().err().is_none_or(run::Error::command_has_run);
    release_and_unlink(request, locks, command_has_run, report);
    Ok(exit?)
}

/// Acquires the locks, but does not create a missing lock file for a command that is missing too:
/// no lock holder could be about to install it, and a typo in a crontab leaves nothing behind.
fn acquire_checked(
    request: &LockRequest,
    log: &mut VerboseLog,
    report: &Report,
) -> Result<Acquired<HeldLocks>, Failure> {
    let params = AcquireParams::start(request);
    if let (Target::Path(path), Some(job)) = (&request.target, &request.job)
        && !(lock::file::exists(path) && request.also.iter().all(|path| lock::file::exists(path)))
    {
        let found = job.command.find();
        found.map_err(|error| exec_hint::add(error, request))?;
    }
    let outcome = acquire(request, &params, log, report);
    Ok(outcome.map_err(|error| match request.target {
        Target::Descriptor(number) => lock::descriptor::hint_if_open_in_parent(error, number),
        Target::Path(_) => error,
    })?)
}

/// The locks of a request.
#[derive(Debug)]
pub struct HeldLocks(Vec<Guard>);

impl HeldLocks {
    /// Returns the locked descriptors.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> + Clone {
        self.0.iter().map(Guard::as_fd)
    }

    /// Returns the guards.
    pub fn into_guards(self) -> Vec<Guard> {
        self.0
    }
}

/// What is fixed when the wait for the locks starts, however many attempts it consists of.
#[derive(Clone, Copy, Debug)]
pub struct AcquireParams {
    /// The kind of lock, with the place in its queue.
    pub kind: LockKind,
    /// When the wait ends.
    pub deadline: Deadline,
}

impl AcquireParams {
    /// Starts the wait now.
    pub fn start(request: &LockRequest) -> Self {
        Self {
            kind: match request.fairness {
                _ if request.max_waiters.is_some() => bounded_kind(request),
                _ if request.replace.is_some() => LockKind::Claimed(Claim::new(Uptime::now())),
                Fairness::None => LockKind::Advisory(request.api),
                Fairness::Fifo => LockKind::Fair {
                    arrived: Uptime::now(),
                    is_shared: request.target.may_be_shared(),
                },
                Fairness::Slots(limit) => LockKind::Slot {
                    limit,
                    arrived: Uptime::now(),
                },
            },
            deadline: request.timeout.start(),
        }
    }
}

#[cold]
fn bounded_kind(request: &LockRequest) -> LockKind {
    LockKind::Bounded {
        limit: request.max_waiters.unwrap_or(u32::MAX),
        order: match request.fairness {
            Fairness::None => Order::Kernel,
            Fairness::Fifo => Order::Fair {
                arrived: Uptime::now(),
                is_shared: request.target.may_be_shared(),
            },
            Fairness::Slots(limit) => Order::Slot {
                limit,
                arrived: Uptime::now(),
            },
        },
    }
}

/// Acquires the locks. With `--verbose`, reports the holder once before blocking. Looking it up
/// counts towards the timeout, and happens before a queue is joined, but the place in the queue is
/// that of the caller's arrival.
///
/// # Errors
///
/// As for [`lock::descriptor::acquire`], [`lock::file::acquire`], [`multi::acquire`] and
/// [`lock::named::prepare`].
pub fn acquire(
    request: &LockRequest,
    params: &AcquireParams,
    log: &mut VerboseLog,
    report: &Report,
) -> Result<Acquired<HeldLocks>, lock::Error> {
    if let (true, Target::Path(path)) = (request.is_named, &request.target) {
        lock::named::prepare(path)?;
    }
    let deadline = &params.deadline;
    let caller = log.caller();
    // Dropped, and so ended, before the caller goes on.
    let mut progress = Progress::new(request, report);
    let mut on_wait = |path: Option<&OsStr>| {
        // A host process handles its signals itself.
        if !matches!(deadline, Deadline::Interruptible(..)) {
            init_signals::die_of_signals();
        }
        log.report_wait(request, report);
        progress.start(path, deadline);
    };
    if let (Some(replace), LockKind::Claimed(claim)) = (&request.replace, params.kind) {
        let target = &request.target;
        return replace::acquire(target, replace, claim, deadline, caller, &mut |deadline| {
            acquire_until(request, params.kind, deadline, &mut on_wait)
        });
    }
    acquire_until(request, params.kind, deadline, &mut on_wait)
}

/// Acquires the locks, and waits no longer than the deadline.
fn acquire_until(
    request: &LockRequest,
    kind: LockKind,
    deadline: &Deadline,
    on_wait: &mut dyn FnMut(Option<&OsStr>),
) -> Result<Acquired<HeldLocks>, lock::Error> {
    let mode = request.mode;
    let outcome = match &request.target {
        Target::Descriptor(number) => {
            lock::descriptor::acquire(*number, kind, mode, deadline, &mut || on_wait(None))?
        }
        Target::Path(path) if request.also.is_empty() => {
            lock::file::acquire(path, kind, mode, deadline, &mut || on_wait(None))?
        }
        Target::Path(path) => {
            let paths = [path].into_iter().chain(&request.also).cloned();
            let targets: Vec<_> = paths.map(|path| LockTarget { path, kind }).collect();
            return Ok(
                match multi::acquire(&targets, mode, deadline, &mut |path| on_wait(Some(path)))? {
                    Acquired::Held(guards) => Acquired::Held(HeldLocks(guards)),
                    Acquired::NotHeld(contended) => Acquired::NotHeld(contended.reason),
                },
            );
        }
    };
    Ok(outcome.map(|guard| HeldLocks(vec![guard])))
}

/// Leaves the lock with the caller's descriptor, unless the exit status is about to say that it is
/// not held.
pub fn release_if_output_failed(request: &LockRequest, locks: &HeldLocks, report: &Report) {
    if report.output() == Output::Failed {
        for guard in &locks.0 {
            if let Guard::Borrowed(fd) = guard {
                lock::descriptor::release(*fd, request.api);
            }
        }
    }
}

fn run_command(locks: &HeldLocks, job: &Job, report: &mut Report) -> Result<Exit, run::Error> {
    let close_fds: Vec<_> = match job.exec_mode {
        ExecMode::Exec => return Err(job.command.exec()),
        ExecMode::ForkAndClose => locks.fds().collect(),
        ExecMode::Fork => Vec::new(),
    };
    let options = RunOptions {
        close_fds: &close_fds,
        ..RunOptions::default()
    };
    let reason = job
        .command
        .run(options, &mut |error| report.error(error.message()))?;
    Ok(reason.into())
}

/// Releases the locks after the command has exited or could not be executed, and removes the lock
/// files if the request says so. If the command has not run, the user may have named the wrong file,
/// and it stays.
fn release_and_unlink(
    request: &LockRequest,
    locks: HeldLocks,
    command_has_run: bool,
    report: &Report,
) {
    let Target::Path(path) = &request.target else {
        return;
    };
    if request.on_release == OnRelease::Keep {
        return;
    }
    // All locks are released first: `remove` acquires them again.
    drop(locks);
    for path in [path].into_iter().chain(&request.also) {
        let result = if command_has_run {
            lock::unlink::remove(path, request.api)
        } else {
            Err(lock::Error::NotRemoved {
                path: path.clone(),
                reason: "the command was not run",
            })
        };
        if let Err(error) = result {
            report.error(error.message());
        }
    }
}
