//! The `flock` that acquires the lock, and then becomes the guard.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::reply::send;
use super::{guard, list, programs};
use crate::front::{Mode, Request};
use crate::ssh::lines::{LineReader, Progress};
use crate::ssh::target::Target;

/// The statuses of `flock` that do not say that the file cannot be locked: the lock was not free in
/// time; there were not enough resources.
const CONFLICT: i32 = 1;
const RESOURCES: i32 = 71;

/// A wait without an end, for all that matters: `flock` has a limit for the number.
const FOREVER: Duration = Duration::from_secs(1_000_000_000);

/// A process that is killed and reaped when this value is dropped.
pub(super) struct Flock {
    child: Child,
    path: Option<Vec<u8>>,
    /// What it reports; `None` when it has closed that.
    reports: Option<ChildStderr>,
    lines: LineReader,
    is_holder_reported: bool,
    last_report: String,
}

impl Flock {
    /// Starts `flock`. The guard has this socket as its standard input.
    pub(super) fn start(target: &Target, request: &Request, socket: OwnedFd) -> io::Result<Self> {
        let (program, flock) = programs::paths()?;
        let mut command = Command::new(flock);
        command.args(["-F", "--verbose"]);
        match request.slots {
            Some(slots) => command.arg("--slots").arg(slots.to_string()),
            None => command.arg("--fair"),
        };
        if request.mode == Mode::Shared {
            command.arg("-s");
        }
        if let Some(wait) = request.wait.filter(|wait| *wait < FOREVER) {
            command.arg("-w").arg(format!("{}ms", wait.as_millis()));
        }
        for path in &target.also {
            command.arg("--also").arg(OsStr::from_bytes(path));
        }
        command.arg(OsStr::from_bytes(&target.path)).arg(program);
        let holder = &request.holder;
        command.args([guard::WORD, &request.ttl.as_millis().to_string()]);
        command.args([&holder.host, &holder.pid, &holder.user, &holder.command]);
        command.stdin(socket).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).current_dir("/").spawn()?;
        Ok(Self {
            // Of several, it is not known which one is waited for.
            path: Some(&target.path)
                .filter(|_| target.also.is_empty())
                .cloned(),
            reports: child.stderr.take(),
            child,
            lines: LineReader::default(),
            is_holder_reported: false,
            last_report: String::new(),
        })
    }

    /// Kills the process, and returns when it has exited.
    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends it a signal, unless it has exited.
    pub(super) fn signal(&self, signal: Signal) {
        // It has not been reaped: that happens when it is killed.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Returns what it reports on, if it still does.
    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.reports.as_ref().map(AsFd::as_fd)
    }

    /// Reads what it reports: first which process holds the lock, then why it fails.
    pub(super) fn report(&mut self) {
        let Some(reports) = &self.reports else {
            return;
        };
        if self.lines.read(reports) == Progress::End {
            self.reports = None;
        }
        while let Some(line) = self.lines.next_line() {
            let line = String::from_utf8_lossy(&line).into_owned();
            let line = line.strip_prefix("flock: ").unwrap_or(&line);
            match line.strip_prefix("waiting for ") {
                Some(text) => self.report_holder(Some(text)),
                None => self.last_report = line.to_owned(),
            }
        }
    }

    /// Reports which process holds the lock, or this text if that is not known.
    fn report_holder(&mut self, text: Option<&str>) {
        let path = self.path.as_ref();
        let holder = path.and_then(|path| list::describe_holder(path));
        if let Some(holder) = holder.as_deref().or(text) {
            send(&format!("waits {holder}"));
            self.is_holder_reported = true;
        }
    }

    /// Reports why it has exited without the lock.
    pub(super) fn report_failure(&mut self) {
        let status = self.child.wait().ok().and_then(|status| status.code());
        while self.reports.is_some() {
            self.report();
        }
        if status == Some(CONFLICT) {
            // Without a wait, `flock` does not report one.
            if !self.is_holder_reported {
                self.report_holder(None);
            }
            return send("refused");
        }
        let text = &self.last_report;
        match status {
            None => send("error 69 flock was killed there"),
            Some(RESOURCES) => send(&format!("error 69 {text}")),
            Some(_) if text.contains("Permission denied") => send(&format!("error 77 {text}")),
            Some(_) => send(&format!("error 65 {text}")),
        }
    }
}

impl Drop for Flock {
    fn drop(&mut self) {
        self.kill();
    }
}
