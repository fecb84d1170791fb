//! One attempt at a call, up to the point where bash is needed.

use std::ffi::{OsStr, OsString};

use fdlock::exit::{self, ExitError};
use fdlock::flock::failure::Failure;
use fdlock::flock::run::{self, AcquireParams};
use fdlock::flock::verbose::VerboseLog;
use fdlock::flock::{Fairness, Job, LockRequest, ProgressMode, Request, Target};
use fdlock::flock::{args, print_path, who};
use fdlock::holders::Caller;
use fdlock::lock::{Acquired, Deadline, Guard, InterruptCheck, Mode, Refusal};
use fdlock::program::Program;
use fdlock::report::{Output, Report};
use fdlock::sys::fd;
use rustix::io::{self, FdFlags};

use crate::external;
use crate::ffi::{Bash, WordList, Words};
use crate::function::{self, FilesToUnlink, GuardedCall, HeldLock};
use crate::handle;
use crate::next::{Next, Progress};
use crate::remote;

static PROGRAM: Program<Request> = Program {
    spec: &args::SPEC,
    statuses: &exit::FLOCK,
    parse: args::parse,
    run: run::run,
};

/// Carries out a call until it is complete or bash is needed.
pub fn attempt(
    bash: &Bash,
    list: *mut WordList,
    progress: &mut Progress,
    check: InterruptCheck,
) -> Next {
    let mut report = Report::new(OsStr::new("flock"));
    let request = match PROGRAM.parse(Words(list).to_os_strings(), &mut report) {
        Ok(Request::Lock(request)) => request,
        Ok(Request::Remote(request)) => {
            return remote::attempt(bash, list, &request, progress, check, &mut report);
        }
        // It forks, and waits for a helper, which a host process must not do.
        Ok(Request::RemoteWho(_)) => return Next::RunExternal,
        // The screen is not the shell's to take, and signals end it.
        Ok(Request::Who(request)) if request.watch => return Next::RunExternal,
        Ok(Request::Who(request)) => {
            let caller = match bash.is_in_substitution() {
                true => Caller::Subshell,
                false => Caller::Shell,
            };
            return Next::Return(who::run(&request, caller, &mut report).into_code());
        }
        Ok(Request::PrintPath(path)) => {
            return Next::Return(print_path::run(&path, &mut report).into_code());
        }
        Err(status) => return Next::Return(status),
    };
    let job = match &request.job {
        None => None,
        // Waiters for a slot wait until its process exits, but the shell outlives its function.
        Some(_) if matches!(request.fairness, Fairness::Slots(_)) => return Next::RunExternal,
        Some(job) => match function::words(bash, list, job.command.args()) {
            Some(words) => Some((job, words)),
            None => return Next::RunExternal,
        },
    };
    let start = || {
        (
            AcquireParams::start(&request),
            VerboseLog::start(request.verbosity, Caller::Shell),
        )
    };
    let (params, log) = progress.local.get_or_insert_with(start);
    // With job control, the user may want to stop the wait and continue it later (Ctrl-Z, fg),
    // which bash cannot do with a builtin. Then the program waits; it locks the same open file
    // description. It also waits if it is to show its progress. With -o, however, there is still
    // something to do once the lock is held, and after it the program does not inherit the
    // descriptor.
    let program_waits = matches!(params.deadline, Deadline::Never | Deadline::At(_))
        && job.is_none()
        && (request.progress == ProgressMode::Shown || bash.has_job_control())
        && !request.close_on_exec
        && is_inherited(&request.target)
        && external::installed_program().is_some();
    let mut params = *params;
    params.deadline = if program_waits {
        Deadline::Immediate
    } else {
        params.deadline.interruptible(check)
    };
    let result = lock(
        bash,
        &request,
        job,
        &params,
        program_waits,
        log,
        &mut report,
    );
    let next = result.unwrap_or_else(|failure| {
        report.error(failure.message());
        Next::Return(failure.exit_status(&exit::FLOCK))
    });
    match (next, report.output()) {
        (Next::Return(exit::SUCCESS), Output::Failed) => Next::Return(exit::FLOCK.no_output),
        _ => next,
    }
}

/// Acquires the locks. If a function is to run under them, registers the cleanup.
fn lock(
    bash: &Bash,
    request: &LockRequest,
    job: Option<(&Job, *mut WordList)>,
    params: &AcquireParams,
    program_waits: bool,
    log: &mut VerboseLog,
    report: &mut Report,
) -> Result<Next, Failure> {
    if let Target::Descriptor(number) = request.target {
        function::check_descriptor(number)?;
    }
    let locks = match run::acquire(request, params, log, report)? {
        Acquired::Held(locks) => locks,
        Acquired::NotHeld(_) if program_waits => return Ok(Next::RunExternal),
        Acquired::NotHeld(Refusal::Interrupted) => return Ok(Next::HandleSignals),
        Acquired::NotHeld(reason) => {
            log.report_refusal(request, reason, report);
            return Ok(Next::Return(request.conflict_status));
        }
    };
    log.report_acquired(report);
    log.report_limitations(request, locks.fds(), report);
    let Some((job, words)) = job else {
        run::release_if_output_failed(request, &locks, report);
        if request.close_on_exec
            && request.mode != Mode::Unlocked
            && report.output() == Output::Good
        {
            for fd in locks.fds() {
                // This does not fail: the descriptor is open.
                let _ = io::fcntl_setfd(fd, FdFlags::CLOEXEC);
            }
        }
        return Ok(match request.target {
            Target::Descriptor(number)
                if request.mode == Mode::Unlocked && handle::may_have_lock(bash, number) =>
            {
                Next::RunExternal
            }
            _ => Next::Return(exit::SUCCESS),
        });
    };
    log.report_command(&job.command, report);
    let guards = locks.into_guards().into_iter();
    let held = guards.filter_map(|guard| match guard {
        Guard::Borrowed(_) => None,
        Guard::Owned(fd) => Some(HeldLock::new(fd, request.api, request.mode, job.exec_mode)),
    });
    let path = match &request.target {
        Target::Path(path) => path.clone(),
        Target::Descriptor(_) => OsString::new(),
    };
    let files = FilesToUnlink::from_request(request);
    let call = GuardedCall::start(path, held.collect(), files);
    let finish = |call: GuardedCall| {
        call.finish();
    };
    bash.push_unwind(finish, call);
    Ok(Next::CallFunction(words, call))
}

/// Returns whether programs inherit the target if it is a descriptor.
fn is_inherited(target: &Target) -> bool {
    let fd = match target {
        Target::Descriptor(number) => fd::inherited(*number),
        Target::Path(_) => None,
    };
    fd.and_then(|fd| io::fcntl_getfd(fd).ok())
        .is_some_and(|flags| !flags.contains(FdFlags::CLOEXEC))
}
