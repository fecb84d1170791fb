//! A request to `flock`, carried out: the lock, then the command under it, then how it ended.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::time::Instant;

use super::failure::{Failure, conclude};
use super::who;
use crate::exit::{self, Exit};
use crate::flock::{Afterwards, Job, Lock, Manner, Order, Request, Target, Verbosity};
use crate::holders::Asker;
use crate::lock::fair::marker::Moment;
use crate::lock::fair::ticket;
use crate::lock::{self, Answer, Deadline, Guard, Kind, multi};
use crate::report::{Output, Report};
use crate::run::Terms;

/// Carries out a request and says how to end.
pub fn perform(request: &Request, report: &mut Report) -> Exit {
    match request {
        Request::Lock(lock) => conclude(&exit::FLOCK, report, |report| attempt(lock, report)),
        Request::Who(who) => who::perform(who, Asker::Process, report),
    }
}

fn attempt(request: &Lock, report: &mut Report) -> Result<Exit, Failure> {
    let mut story = Story::begin(request.verbosity, Asker::Process);
    let locks = match obtain(request, &mut story, report)? {
        Ok(locks) => locks,
        Err(answer) => {
            story.refused(request, answer, report);
            return Ok(Exit::Status(request.on_conflict));
        }
    };
    story.granted(report);
    story.queued(request, &locks, report);
    match &request.job {
        Some(job) => {
            story.executing(job, report);
            let ended = run_under(&locks, job, report);
            give_up(request, locks, report);
            ended
        }
        None => {
            keep(request, &locks, report);
            Ok(Exit::Status(exit::SUCCESS))
        }
    }
}

/// Takes the locks. A lock file that is missing is not made for a command that is missing too: there is nobody to wait
/// for who might yet install it, and a misspelt line in a crontab leaves nothing behind.
fn obtain(request: &Lock, story: &mut Story, report: &Report) -> Result<Grants, Failure> {
    let begun = Begun::now(request);
    if let (Target::Path(path), Some(job)) = (&request.target, &request.job)
        && !(lock::file::exists(path) && request.also.iter().all(|path| lock::file::exists(path)))
    {
        job.command.find()?;
    }
    let grants = take(request, &begun, story, report).map_err(|error| match request.target {
        Target::Descriptor(number) => lock::descriptor::kept_by_the_shell(error, number),
        Target::Path(_) => error,
    });
    Ok(grants?)
}

/// What is held, or the answer that it is not to be had.
pub type Grants = Result<Locks, Answer>;

/// The locks of a request, which it has one of, or several.
#[derive(Debug)]
pub struct Locks {
    /// On a descriptor or a file.
    pub first: Guard,
    /// On the files that are locked too.
    pub others: Vec<Guard>,
}

impl Locks {
    /// All of them.
    pub fn into_guards(self) -> impl Iterator<Item = Guard> {
        std::iter::once(self.first).chain(self.others)
    }
}

/// What is settled when the wait for the locks begins, however many attempts it is made of.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// The kind of lock, with the place in its queue.
    pub kind: Kind,
    /// When it is over.
    pub deadline: Deadline,
}

impl Begun {
    /// It begins at this moment.
    pub fn now(request: &Lock) -> Self {
        Self {
            kind: match request.order {
                Order::Kernel => request.kind,
                Order::Arrival => Kind::Fair(Moment::now()),
                Order::Slots(of) => Kind::Slot {
                    of,
                    since: Moment::now(),
                },
            },
            deadline: request.wait.begin(),
        }
    }
}

/// Takes the locks, whatever is done under them. If there is a story to tell, and a wait to come, it says first who is in
/// the way, once: whatever that takes is before the wait, and counts for the time limit. It waits in no queue meanwhile, but
/// in one by arrival it comes to the place of when it began.
///
/// # Errors
///
/// Those of [`lock::descriptor::acquire`], [`lock::file::acquire`] and [`multi::acquire`].
pub fn take(
    request: &Lock,
    begun: &Begun,
    story: &mut Story,
    report: &Report,
) -> Result<Grants, lock::Error> {
    if story.is_to_tell_of_a_wait() && !matches!(begun.deadline, Deadline::Now) {
        let deadline = Deadline::Now;
        match take_by(request, &Begun { deadline, ..*begun })? {
            Err(_) => story.waits(request, report),
            granted => return Ok(granted),
        }
    }
    take_by(request, begun)
}

fn take_by(request: &Lock, begun: &Begun) -> Result<Grants, lock::Error> {
    let (Begun { kind, deadline }, mode) = (begun, request.mode);
    let kind = *kind;
    let grant = match &request.target {
        Target::Descriptor(number) => lock::descriptor::acquire(*number, kind, mode, deadline)?,
        Target::Path(path) if request.also.is_empty() => {
            lock::file::acquire(path, kind, mode, deadline)?
        }
        Target::Path(path) => {
            let paths = [path].into_iter().chain(&request.also);
            let wanted: Vec<_> = paths.map(|path| (path.clone(), kind)).collect();
            return Ok(
                match multi::acquire(&wanted, mode, deadline, &mut |_| {})? {
                    Ok(mut guards) => Ok(Locks {
                        first: guards.remove(0),
                        others: guards,
                    }),
                    Err((answer, _)) => Err(answer),
                },
            );
        }
    };
    Ok(grant.map(|first| Locks {
        first,
        others: Vec::new(),
    }))
}

/// Leaves the lock with the caller's descriptor, unless he is about to be told by the status that he has none.
pub fn keep(request: &Lock, locks: &Locks, report: &Report) {
    if report.output() == Output::Failed
        && let Guard::Theirs(fd) = &locks.first
    {
        lock::descriptor::release(*fd, request.kind);
    }
}

fn run_under(locks: &Locks, job: &Job, report: &mut Report) -> Result<Exit, Failure> {
    let others = locks.others.iter().map(Guard::as_fd);
    let without = match job.manner {
        Manner::InPlace => return Err(job.command.exec().into()),
        Manner::ChildWithoutLock => [locks.first.as_fd()].into_iter().chain(others).collect(),
        Manner::Child => Vec::new(),
    };
    let terms = Terms {
        without: &without,
        ..Terms::default()
    };
    let ended = job
        .command
        .run(terms, &mut |error| report.complain(error.message()))?;
    Ok(ended.into())
}

/// The command is over, or has never been.
fn give_up(request: &Lock, locks: Locks, report: &Report) {
    let Target::Path(path) = &request.target else {
        return;
    };
    if request.afterwards == Afterwards::Keep {
        return;
    }
    // Which guard is which path's does not matter: they are all given up, and then all the files are looked at.
    drop(locks);
    for path in [path].into_iter().chain(&request.also) {
        if let Err(error) = lock::file::remove(path, request.kind) {
            report.complain(error.message());
        }
    }
}

/// What `--verbose` tells. When nobody listens, the clock is not even looked at.
#[derive(Clone, Copy, Debug)]
pub struct Story {
    /// When the wait began, if somebody listens.
    began: Option<Instant>,
    asker: Asker,
    wait: Wait,
}

/// Whether it has been told that there is somebody to wait for: a host may be interrupted, and make several attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Told,
    Untold,
}

impl Story {
    /// The wait begins, of a process that is there for it, or of a shell that may have locks itself.
    pub fn begin(verbosity: Verbosity, asker: Asker) -> Self {
        Self {
            began: (verbosity == Verbosity::Verbose).then(Instant::now),
            asker,
            wait: Wait::Untold,
        }
    }

    /// The lock is there.
    pub fn granted(self, report: &mut Report) {
        if let Some(began) = self.began {
            let took = began.elapsed();
            let (seconds, micros) = (took.as_secs(), took.subsec_micros());
            report.tell(format!("getting lock took {seconds}.{micros:06} seconds"));
        }
    }

    /// Whether it was by turns, if that was asked for.
    pub fn queued(self, request: &Lock, locks: &Locks, report: &Report) {
        if self.began.is_some() && request.order == Order::Arrival {
            for guard in [&locks.first].into_iter().chain(&locks.others) {
                if let Some(obstacle) = ticket::obstacle(guard.as_fd()) {
                    report.complain(format!("warning: --fair has no effect: {obstacle}"));
                }
            }
        }
    }

    fn is_to_tell_of_a_wait(&self) -> bool {
        self.began.is_some() && self.wait == Wait::Untold
    }

    /// Somebody else has it, and will be waited for.
    fn waits(&mut self, request: &Lock, report: &Report) {
        self.wait = Wait::Told;
        for line in who::in_the_way(request, self.asker) {
            let mut message = OsString::from("waiting for ");
            message.push(line);
            report.complain(message);
        }
    }

    /// Somebody else has it.
    pub fn refused(self, request: &Lock, answer: Answer, report: &Report) {
        if self.began.is_some() {
            report.complain(match answer {
                Answer::TimedOut => "timeout while waiting to get lock",
                _ => "failed to get lock",
            });
            for line in who::in_the_way(request, self.asker) {
                report.complain(line);
            }
        }
    }

    /// The command begins.
    pub fn executing(self, job: &Job, report: &mut Report) {
        if self.began.is_some() {
            let mut line = OsString::from("executing ");
            line.push(job.command.name());
            report.tell(line);
        }
    }
}
