//! The output of `--verbose`.

use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::{LockRequest, Verbosity, directory_scope, missing_queue, who};
use crate::holders::{Caller, TimeLimit};
use crate::lock::{Refusal, Timeout};
use crate::report::Report;
use crate::run::Command;

/// How much processor time the search for the holder takes before the wait.
const MAX_LOOKUP: Duration = Duration::from_millis(250);

/// How much processor time the search takes after the lock has been refused.
const MAX_FINAL_LOOKUP: Duration = Duration::from_millis(100);

/// On a busy machine, the search takes as many times longer.
const MAX_SLOWDOWN: u32 = 4;

/// Reports the progress of a request, if `--verbose` was given. Without it, not even the clock is
/// read.
#[derive(Clone, Copy, Debug)]
pub struct VerboseLog {
    /// When the wait started; `None` without `--verbose`.
    started: Option<Instant>,
    caller: Caller,
    /// Whether the holder has been reported: an interrupted wait consists of several attempts.
    is_holder_reported: bool,
}

impl VerboseLog {
    /// Starts the clock of the wait.
    pub fn start(verbosity: Verbosity, caller: Caller) -> Self {
        Self {
            started: (verbosity == Verbosity::Verbose).then(Instant::now),
            caller,
            is_holder_reported: false,
        }
    }

    /// Returns the process that asks.
    pub fn caller(self) -> Caller {
        self.caller
    }

    /// Reports the holder before the wait, once.
    pub fn report_wait(&mut self, request: &LockRequest, report: &Report) {
        if self.started.is_none() || std::mem::replace(&mut self.is_holder_reported, true) {
            return;
        }
        // The time counts as part of the wait.
        let left = match (request.timeout, self.started) {
            (Timeout::After(timeout), Some(started)) => timeout.saturating_sub(started.elapsed()),
            _ => MAX_LOOKUP,
        };
        let limit = limit(left.clamp(MAX_FINAL_LOOKUP, MAX_LOOKUP));
        for line in who::blocker_lines(request, self.caller, limit) {
            let mut message = OsString::from("waiting for ");
            message.push(line);
            report.error(message);
        }
    }

    /// Reports how long it took to acquire the lock.
    pub fn report_acquired(self, report: &mut Report) {
        if let Some(started) = self.started {
            let took = started.elapsed();
            let (seconds, micros) = (took.as_secs(), took.subsec_micros());
            report.info(format!("getting lock took {seconds}.{micros:06} seconds"));
        }
    }

    /// Warns if `--fair` or `--slots` was given for a file that cannot have a queue, and if other
    /// machines do not see the lock.
    pub fn report_limitations<'f>(
        self,
        request: &LockRequest,
        fds: impl Iterator<Item = BorrowedFd<'f>> + Clone,
        report: &Report,
    ) {
        if self.started.is_some() {
            missing_queue::warn(request, fds.clone(), report);
            directory_scope::warn(fds, report);
        }
    }

    /// Reports why the lock was not acquired, and the holder.
    pub fn report_refusal(self, request: &LockRequest, reason: Refusal, report: &Report) {
        if self.started.is_some() {
            report.error(match reason {
                Refusal::TimedOut => "timeout while waiting to get lock",
                Refusal::QueueFull => "failed to get lock: enough processes wait for it",
                Refusal::Superseded => "failed to get lock: a newer process takes it over",
                Refusal::WouldBlock | Refusal::Interrupted => "failed to get lock",
            });
            for line in who::blocker_lines(request, self.caller, limit(MAX_FINAL_LOOKUP)) {
                report.error(line);
            }
            missing_queue::warn_about_targets(request, report);
        }
    }

    /// Reports the command that is about to run.
    pub fn report_command(self, command: &Command, report: &mut Report) {
        if self.started.is_some() {
            let mut line = OsString::from("executing ");
            line.push(command.name());
            report.info(line);
        }
    }
}

fn limit(processor: Duration) -> TimeLimit {
    TimeLimit::start(processor, processor * MAX_SLOWDOWN)
}
