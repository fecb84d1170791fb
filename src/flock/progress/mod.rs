//! `--progress`: shows what a wait is for, and that it goes on.
//!
//! The wait itself is one blocking system call, so a [companion](Companion) draws: a child process
//! that looks up the holder, prints, and sleeps. It exists only while this process waits.

mod line;
mod log;
mod schedule;
mod text;
mod wait;

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::time::Instant;

use super::{LockRequest, ProgressMode, Target, terminal};
use crate::holders::File;
use crate::lock::Deadline;
use crate::report::Report;
use crate::sys;
use crate::sys::companion::{Companion, Stage};
use wait::Wait;

/// The environment variable that turns it on: set to anything but nothing or `0`.
const VARIABLE: &str = "FLOCK_PROGRESS";

/// Returns whether the progress of a request is to be shown.
fn is_wanted(request: &LockRequest) -> bool {
    match request.progress {
        ProgressMode::Shown => true,
        ProgressMode::FromEnvironment => {
            std::env::var_os(VARIABLE).is_some_and(|value| !value.is_empty() && value != "0")
        }
    }
}

/// The display of the progress, until this value is dropped.
#[derive(Debug)]
pub(super) struct Progress<'r> {
    request: &'r LockRequest,
    report: &'r Report,
    /// When the wait started.
    started: Option<Instant>,
    /// The process that draws, and the file that it is about.
    companion: Option<(Companion, Target)>,
}

impl<'r> Progress<'r> {
    pub fn new(request: &'r LockRequest, report: &'r Report) -> Self {
        Self {
            request,
            report,
            started: None,
            companion: None,
        }
    }

    /// Shows that this process is about to wait for a file of the request, the first one or the one
    /// at this path, until the deadline. It can be called again: the file may have been replaced,
    /// or the wait is now for another one.
    ///
    /// Best effort: if no process can be created, nothing is shown.
    #[cold]
    #[inline(never)]
    pub fn start(&mut self, path: Option<&OsStr>, deadline: &Deadline) {
        // A host process handles its signals while it waits, and has no time for this.
        if matches!(deadline, Deadline::Interruptible(..)) || !is_wanted(self.request) {
            return;
        }
        let target = match path {
            Some(path) => Target::Path(path.to_owned()),
            None => self.request.target.clone(),
        };
        if self.companion.as_ref().is_some_and(|(_, of)| *of == target) {
            return;
        }
        self.end();
        let is_first = self.started.is_none();
        let started = *self.started.get_or_insert_with(Instant::now);
        let mut body = |stage: &Stage<'_>| {
            let wait = Wait {
                target: &target,
                request: self.request,
                started,
                is_first,
                stage,
                report: self.report,
            };
            show(&wait);
        };
        if let Ok(companion) = Companion::start(&mut body) {
            self.companion = Some((companion, target));
        }
    }

    /// Ends the display. Nothing is drawn after that: the process that draws has been reaped.
    fn end(&mut self) {
        let Some((companion, _)) = self.companion.take() else {
            return;
        };
        // After `bg`, the line is above what other programs have printed, and stays there.
        if companion.end() && line::is_in_foreground() {
            self.report.error_raw(line::CLEAR);
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if self.companion.is_some() {
            self.end();
        }
    }
}

/// Runs in the companion, until it is killed.
fn show(wait: &Wait<'_>) {
    // The descriptor of the request would keep the lock.
    let file = match wait.target {
        Target::Descriptor(number) => File::reopen(*number).ok(),
        Target::Path(_) => None,
    };
    wait.stage.close_descriptors(file.as_ref().map(AsFd::as_fd));
    match sys::fd::inherited(2) {
        Some(stderr) if terminal::is_capable(stderr) => line::show(wait, file.as_ref(), stderr),
        Some(_) => log::show(wait, file.as_ref()),
        None => {}
    }
}
