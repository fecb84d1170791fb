//! One attempt to do what a call asks for, up to where bash is needed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use fdlock::exit;
use fdlock::flock::failure::Failure;
use fdlock::flock::run::{self as flock, AcquireParams, VerboseLog};
use fdlock::flock::{Fairness, Job, LockRequest, Request};
use fdlock::flock::{args, who};
use fdlock::holders::Asker;
use fdlock::lock::{Answer, Deadline, Guard, InterruptCheck};
use fdlock::program::Program;
use fdlock::report::{Output, Report};

use crate::external;
use crate::ffi::{self, Bash, WordList, Words};
use crate::function::{Errand, Files, Held};

/// The name in front of messages.
const NAME: &str = "flock";

static PROGRAM: Program<Request> = Program {
    spec: &args::SPEC,
    statuses: &exit::FLOCK,
    parse: args::parse,
    perform: flock::perform,
};

/// What comes next. Nothing in it has to be dropped, as bash may jump away from whoever has it.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The call is over, with this status.
    Over(u8),
    /// A signal has come: bash must see to it before the next attempt.
    Signal,
    /// The lock is there, and a shell function is to be called with these words, name first.
    Function(*mut WordList, Errand),
    /// It is for the program to do.
    Elsewhere,
}

/// What a call remembers from one attempt to the next: it has one beginning and one log, however often it is
/// interrupted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress(Option<(AcquireParams, VerboseLog)>);

/// Does what the words ask for, until it is done or bash is needed.
pub fn attempt(
    bash: &Bash,
    list: *mut WordList,
    progress: &mut Progress,
    called: InterruptCheck,
) -> Step {
    let mut report = Report::new(OsStr::new(NAME));
    let request = match PROGRAM.read(Words(list).copied(), &mut report) {
        Ok(Request::Lock(request)) => request,
        Ok(Request::Who(request)) => {
            let asker = match bash.is_in_substitution() {
                true => Asker::Subshell,
                false => Asker::Shell,
            };
            return Step::Over(who::perform(&request, asker, &mut report).into_code());
        }
        Err(status) => return Step::Over(status),
    };
    let job = match &request.job {
        None => None,
        // A slot is waited for by its process's end, and a shell goes on when its function has ended.
        Some(_) if matches!(request.fairness, Fairness::Slots(_)) => return Step::Elsewhere,
        Some(job) => match function_words(bash, list, job) {
            Some(words) => Some((job, words)),
            None => return Step::Elsewhere,
        },
    };
    let begin = || {
        (
            AcquireParams::now(&request),
            VerboseLog::begin(request.verbosity, Asker::Shell),
        )
    };
    let (params, log) = progress.0.get_or_insert_with(begin);
    let params = *params;
    let at = |deadline| AcquireParams { deadline, ..params };
    let wait = match params.deadline {
        // With job control there is somebody who may want to stop the wait and go on with it later (Ctrl-Z, fg), which
        // bash cannot do with a builtin. There the program waits; it locks the same open file.
        Deadline::Never | Deadline::At(_)
            if job.is_none() && bash.has_job_control() && external::program().is_some() =>
        {
            Wait::Elsewhere(at(Deadline::Immediate))
        }
        deadline => Wait::Here(at(deadline.interruptible(called))),
    };
    let step = under_lock(bash, &request, job, wait, log, &mut report).unwrap_or_else(|failure| {
        report.error(failure.message());
        Step::Over(failure.status(&exit::FLOCK))
    });
    match (step, report.output()) {
        (Step::Over(exit::SUCCESS), Output::Failed) => Step::Over(exit::FLOCK.no_output),
        _ => step,
    }
}

/// Who waits.
enum Wait {
    Here(AcquireParams),
    Elsewhere(AcquireParams),
}

fn under_lock(
    bash: &Bash,
    request: &LockRequest,
    job: Option<(&Job, *mut WordList)>,
    wait: Wait,
    log: &mut VerboseLog,
    report: &mut Report,
) -> Result<Step, Failure> {
    let grant = match wait {
        Wait::Here(params) => flock::take(request, &params, log, report)?,
        Wait::Elsewhere(params) => match flock::take(request, &params, log, report)? {
            Err(_) => return Ok(Step::Elsewhere),
            granted => granted,
        },
    };
    let locks = match grant {
        Ok(locks) => locks,
        Err(Refusal::Interrupted) => return Ok(Step::Signal),
        Err(answer) => {
            log.refused(request, answer, report);
            return Ok(Step::Over(request.conflict_status));
        }
    };
    log.granted(report);
    log.queued(request, &locks, report);
    let Some((job, words)) = job else {
        flock::keep(request, &locks, report);
        return Ok(Step::Over(exit::SUCCESS));
    };
    log.executing(job, report);
    let held = locks.into_guards().filter_map(|guard| match guard {
        Guard::Borrowed(_) => None,
        Guard::Owned(fd) => Some(Held::new(fd, request.kind, job.exec_mode)),
    });
    let errand = Errand::begin(held.collect(), Files::of(request));
    bash.protect(Errand::end, errand);
    Ok(Step::Function(words, errand))
}

/// The words of the command, if it is a shell function.
fn function_words(bash: &Bash, list: *mut WordList, job: &Job) -> Option<*mut WordList> {
    // The command is what the line ends with, unless it was made of `-c LINE`.
    let words = job.command.args();
    let ahead = Words(list).count().checked_sub(words.len())?;
    let first = Words(list).nth(ahead)?;
    let name = ffi::word(first);
    (name.to_bytes() == words[0].as_bytes() && bash.has_function(name)).then_some(first)
}
