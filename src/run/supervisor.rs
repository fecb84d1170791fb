//! Supervised commands, which do not outlive this process: between this process and the command
//! stands a supervisor, a child of this process that has the same descriptors open, above all the
//! locks.
//!
//! The supervisor is the parent of the command, and the adoptive parent (`PR_SET_CHILD_SUBREAPER`)
//! of all processes that the command leaves behind. For signals, stops and the exit, the supervisor
//! is to this process what the command is to the supervisor. So both processes have a
//! [`SignalForwarder`], like two nested `flock`.
//!
//! * This process is killed with `SIGKILL`: the kernel notifies the supervisor, which kills the
//!   command first and then all that it left behind.
//! * This process is asked to stop, and the command exits: the processes left behind are sent the
//!   same signal and waited for, unless they ignore it. (`sh -c 'a; b'` dies of `SIGTERM` at once,
//!   and leaves `a` running.)
//! * The supervisor is killed: the kernel kills the command, and this process kills all that the
//!   command left behind, if it could become the adoptive parent. It does not become that if it has
//!   had children before, because it could not distinguish them from processes left behind. (The
//!   lock may then be released a moment before the command has exited.)
//! * The command exits by itself: the processes left behind continue to run and are not waited for.
//!
//! Processes that are left behind in a session of their own, such as daemons, are spared, unless
//! the session is the command's own (`loto … -- setsid job`). When this process is killed, however,
//! each process that still has a living parent among the descendants is killed, in any session (`su
//! -c` creates one).
//!
//! A model kills each of the processes at any point, and shows that the lock lasts until then: see
//! `docs/design/protocols.md`.
//!
//! Limits:
//!
//! * If the whole group is killed in one call (`timeout -s KILL`), none of its processes does
//!   anything more, but the lock may be released a moment before the last of them has exited.
//! * If this process and the supervisor are killed together, but no other process, the kernel kills
//!   the command, but not what the command leaves behind.
//! * A process that runs with other privileges (sudo) cannot be killed. The supervisor waits for
//!   it.
//! * A nested supervisor is recognized by its program. If that is installed in another directory,
//!   the supervisor is killed like any other process, and its lock may be released a moment before
//!   the last of its processes has exited.

use std::collections::BTreeSet;
use std::io;

use rustix::process::{Pid, WaitOptions};

use super::descendants::{children, ignores, in_session_of, is_renamed_fork, may_be_stopped};
use super::error::{Error, SpawnError};
use super::forward::{self, Event, ExitReason, SignalForwarder};
use crate::sys::args;
use crate::sys::deferred_signals::STOP_SIGNALS;
use crate::sys::process;
use crate::sys::shared_memory::SharedU64;
use crate::sys::signal::{self, Origin, SignalSet, number};
use crate::sys::spawn::{self, ExecImage, SpawnOptions};

/// The name of the supervisor, which also replaces its command line. It differs from that of this
/// process, because `pkill -9 loto`, and `pkill -f` with an argument of this process, is meant for
/// this process. The supervisor must survive it.
const NAME: &str = "lock-keeper";

/// The programs that have a supervisor.
const PROGRAMS: [&str; 3] = ["flock", "loto", "runlock"];

/// Starts a supervisor, which starts the command, and waits until both have exited. Every signal
/// must be blocked.
pub(super) fn run(
    image: ExecImage,
    options: &SpawnOptions<'_>,
    warn: &mut dyn FnMut(Error),
) -> Result<ExitReason, SpawnError> {
    let shared = SharedU64::new().map_err(SpawnError::Fork)?;
    let is_subreaper = process::has_no_children() && process::become_subreaper();
    let parent = rustix::process::getpid();
    let supervisor = spawn::fork_with(|| {
        let options = SpawnOptions {
            report_pid: Some(&shared),
            ..*options
        };
        let report = supervise(parent, image, &options, warn);
        shared.set(report.encode());
        0
    });
    let supervisor = supervisor.map_err(SpawnError::Fork)?;
    let mut forwarder = SignalForwarder::new(supervisor, None);
    let reason = forwarder.wait_for_exit(warn).map_err(SpawnError::Wait)?;
    match SupervisorReport::decode(shared.get()) {
        Some(report) => report.into_reason(&forwarder),
        None => {
            if is_subreaper {
                kill_descendants(Pid::from_raw(shared.get() as i32));
            }
            Ok(forwarder.classify(reason))
        }
    }
}

/// What the supervisor reports in the shared memory where the command has stored its PID before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SupervisorReport {
    Exited(ExitReason),
    ForkFailed(i32),
    ExecFailed(i32),
    WaitFailed(i32),
}

impl SupervisorReport {
    /// Encodes the report as a number that is not a PID.
    pub(super) fn encode(self) -> u64 {
        let (kind, value) = match self {
            Self::Exited(ExitReason::Exited(status)) => (1, i32::from(status)),
            Self::Exited(ExitReason::Signaled(signal) | ExitReason::SignaledToo(signal)) => {
                (2, signal)
            }
            Self::ForkFailed(errno) => (3, errno),
            Self::ExecFailed(errno) => (4, errno),
            Self::WaitFailed(errno) => (5, errno),
        };
        kind << 32 | u64::from(value as u32)
    }

    /// Decodes the number. Returns `None` if the supervisor has not reported anything.
    pub(super) fn decode(number: u64) -> Option<Self> {
        let value = number as u32 as i32;
        Some(match number >> 32 {
            1 => Self::Exited(ExitReason::Exited(value as u8)),
            2 => Self::Exited(ExitReason::Signaled(value)),
            3 => Self::ForkFailed(value),
            4 => Self::ExecFailed(value),
            5 => Self::WaitFailed(value),
            _ => return None,
        })
    }
}

impl SupervisorReport {
    /// Returns why the command exited, or why it did not run.
    pub(super) fn into_reason(self, forwarder: &SignalForwarder) -> Result<ExitReason, SpawnError> {
        let os_error = io::Error::from_raw_os_error;
        match self {
            Self::Exited(reason) => Ok(forwarder.classify(reason)),
            Self::ForkFailed(errno) => Err(SpawnError::Fork(os_error(errno))),
            Self::ExecFailed(errno) => Err(SpawnError::Exec(os_error(errno))),
            Self::WaitFailed(errno) => Err(SpawnError::Wait(os_error(errno))),
        }
    }
}

/// Makes this process a supervisor. Returns false if the parent has exited already.
pub(super) fn become_supervisor(parent: Pid) -> bool {
    process::set_name(NAME);
    args::overwrite(NAME);
    process::become_subreaper();
    // SIGCONT, so that a stopped supervisor is notified, too.
    process::set_parent_death_signal(number::CONT);
    !process::is_orphaned_by(parent)
}

/// Returns whether a process is a supervisor of one of our programs, by its name and program.
pub(super) fn is_supervisor(pid: Pid) -> bool {
    is_renamed_fork(pid, NAME, &PROGRAMS)
}

/// Runs in the supervisor: starts the command, and waits until it has exited.
fn supervise(
    parent: Pid,
    image: ExecImage,
    options: &SpawnOptions<'_>,
    warn: &mut dyn FnMut(Error),
) -> SupervisorReport {
    let errno = |error: io::Error| error.raw_os_error().unwrap_or_default();
    if !become_supervisor(parent) {
        return SupervisorReport::WaitFailed(0);
    }
    let child = match spawn::spawn(image, options) {
        Ok(child) => child,
        Err(error) => return SupervisorReport::ForkFailed(errno(error)),
    };
    let mut supervisor = Supervisor {
        parent,
        command: child.pid,
        forwarder: SignalForwarder::new(child.pid, Some(parent)),
    };
    let reason = match supervisor.run(warn) {
        Ok(reason) => reason,
        Err(error) => {
            kill_descendants(Some(child.pid));
            return SupervisorReport::WaitFailed(errno(error));
        }
    };
    match child.into_exec_error() {
        Some(error) => SupervisorReport::ExecFailed(errno(error)),
        None => SupervisorReport::Exited(reason),
    }
}

struct Supervisor {
    /// The process that the command must not outlive.
    parent: Pid,
    command: Pid,
    forwarder: SignalForwarder,
}

impl Supervisor {
    fn has_lost_parent(&self) -> bool {
        process::is_orphaned_by(self.parent)
    }

    /// Waits until the command has exited and, if it was asked to stop, until the processes that it
    /// left behind have exited, too.
    fn run(&mut self, warn: &mut dyn FnMut(Error)) -> io::Result<ExitReason> {
        let reason = loop {
            let info = signal::wait(SignalSet::ALL)?;
            if self.has_lost_parent() {
                kill_descendants(Some(self.command));
                return Ok(ExitReason::Signaled(number::KILL));
            }
            if info.signal == number::CHLD {
                reap_others(self.command);
            }
            if let Event::Exited(reason) = self.forwarder.handle(info, warn)? {
                break reason;
            }
        };
        if let Some(signal) = stop_signal(&self.forwarder, reason) {
            self.stop_descendants(signal)?;
        }
        Ok(reason)
    }

    /// Sends the processes left behind the signal by which the command was asked to stop, and waits
    /// until they have exited. Further stop signals are forwarded to them.
    ///
    /// A signal that is typed at the terminal has reached the whole group already, and is not sent
    /// again: a second Ctrl-C makes many programs exit without cleaning up. Ctrl-Z stops this
    /// process too, so that the shell sees it.
    ///
    /// *Race:* at any moment, a process may exit or may itself leave processes behind. These become
    /// children of the supervisor before the exit is reported, so the children are listed again
    /// after every `SIGCHLD`, until no child is left. One `SIGCHLD` may stand for several exits,
    /// and may have been received earlier. So the children that have exited are reaped before the
    /// others are listed, and the exit of any that is listed has yet to be reported.
    fn stop_descendants(&self, stop: i32) -> io::Result<()> {
        let mut signaled = BTreeSet::new();
        let mut signal = stop;
        let mut is_from_terminal = self.forwarder.was_sent_to_group(stop);
        loop {
            while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
            let mut remaining = children();
            remaining.retain(|child| {
                in_session_of(*child, Some(self.command)) && !ignores(*child, stop)
            });
            let Some(first) = remaining.first().copied() else {
                return Ok(());
            };
            signaled.retain(|pid| remaining.iter().any(|child| child.as_raw_nonzero() == *pid));
            for child in remaining {
                if signaled.insert(child.as_raw_nonzero())
                    && !(is_from_terminal && receives_key(signal, child))
                {
                    // Fails if the process runs with other privileges. It is waited for
                    // nevertheless.
                    let _ = signal::send(child, signal);
                    if may_be_stopped(child) {
                        let _ = signal::send(child, number::CONT);
                    }
                }
            }
            let info = signal::wait(SignalSet::ALL)?;
            if self.has_lost_parent() {
                kill_descendants(Some(self.command));
                return Ok(());
            }
            if STOP_SIGNALS.contains(&info.signal) {
                signal = info.signal;
                is_from_terminal = info.origin == Origin::Kernel;
                signaled.clear();
            }
            if info.signal == number::TSTP && info.origin == Origin::Kernel {
                forward::stop(number::TSTP, first, || {
                    Ok(self.has_lost_parent() || process::exited_child().is_some())
                })?;
            }
        }
    }
}

/// Returns the signal by which the command was asked to stop, if it was: the command died of it, or
/// reports it in its status. `SIGTERM` counts however the command exits. Ctrl-C in a command that
/// continues does not count, nor does a `SIGHUP` that makes it read its configuration again.
pub(super) fn stop_signal(forwarder: &SignalForwarder, reason: ExitReason) -> Option<i32> {
    let died_of = |signal: i32| {
        reason == ExitReason::Signaled(signal) || reason == ExitReason::Exited(128 + signal as u8)
    };
    STOP_SIGNALS
        .into_iter()
        .find(|signal| forwarder.was_sent(*signal) && (died_of(*signal) || *signal == number::TERM))
}

/// Returns whether a process receives this signal when it is typed at the terminal, as this process
/// does.
pub(super) fn receives_key(signal: i32, pid: Pid) -> bool {
    matches!(signal, number::INT | number::QUIT)
        && process::process_group_of(Some(pid)) == process::process_group_of(None)
}

/// Kills the command, if it has not been reaped, and all that it left behind, and waits until they
/// have exited. What they leave behind in turn has become a child of this process by then.
///
/// Daemons are spared: processes that had already been left behind in a session of their own.
///
/// A supervisor among the processes left behind belongs to a program that held a lock of its own,
/// and was killed. That supervisor does the same as this function, and its lock lasts until then.
/// So it is waited for, and continued if it is stopped. A name is no evidence of that, because any
/// process can give itself that name: only a process that runs one of our own programs counts. The
/// command does, too, until it is executed, but is not a supervisor.
fn kill_descendants(command: Option<Pid>) {
    let mut daemons = children();
    daemons.retain(|child| Some(*child) != command && !in_session_of(*child, command));
    loop {
        let command = command.filter(|pid| process::is_child(*pid));
        let mut remaining = children();
        remaining.retain(|child| Some(*child) != command && !daemons.contains(child));
        if remaining.is_empty() && command.is_none() {
            return;
        }
        for child in &remaining {
            let signal = if is_supervisor(*child) {
                number::CONT
            } else {
                number::KILL
            };
            let _ = signal::send(*child, signal);
        }
        if let Some(command) = command {
            let _ = signal::send(command, number::KILL);
        }
        for child in remaining.into_iter().chain(command) {
            // Not interrupted, because every signal is blocked.
            let _ = rustix::process::waitpid(Some(child), WaitOptions::empty());
        }
    }
}

/// Reaps adopted children that have exited, so that zombies do not accumulate.
pub(super) fn reap_others(command: Pid) {
    while let Some(exited) = process::exited_child().filter(|exited| *exited != command) {
        let _ = rustix::process::waitpid(Some(exited), WaitOptions::NOHANG);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_survive_encoding_and_decoding() {
        for report in [
            SupervisorReport::Exited(ExitReason::Exited(0)),
            SupervisorReport::Exited(ExitReason::Exited(255)),
            SupervisorReport::Exited(ExitReason::Signaled(15)),
            SupervisorReport::ForkFailed(11),
            SupervisorReport::ExecFailed(2),
            SupervisorReport::WaitFailed(0),
        ] {
            assert_eq!(SupervisorReport::decode(report.encode()), Some(report));
        }
        assert_eq!(SupervisorReport::decode(0), None);
    }
}
