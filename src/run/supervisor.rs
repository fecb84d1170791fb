//! Commands that do not outlive us: between us and the command stands a supervisor, a process of ours that has everything
//! open that we have, locks above all.
//!
//! The supervisor is the command's parent, and the adoptive parent (`PR_SET_CHILD_SUBREAPER`) of everything that the command
//! leaves behind. To signals, stops and the end it is to us what the command is to it, so a [`SignalForwarder`] stands on each
//! side of it, as with two `flock` around each other.
//!
//! * We are killed by `SIGKILL`: the kernel tells the supervisor. It kills the command, then what is left behind, and only
//!   then ends, and with it goes the last descriptor that held the lock.
//! * We are told to stop, and the command ends: what it leaves behind is told the same and waited for, unless it ignores
//!   that signal. (`sh -c 'a; b'` dies of `SIGTERM` at once, and leaves `a` running.)
//! * The supervisor is killed: the kernel kills the command, and we do the rest, where we can be the adoptive parent: not if
//!   there were children before, which could not be told apart from what is left behind. (Then the lock may go a moment
//!   before the command has.)
//! * The command ends by itself: what it leaves behind goes on, and is nobody's business.
//!
//! What is left behind in a session of its own, as daemons are, is left alone, unless it is the command's own session (`loto …
//! -- setsid job`). And when we are killed, whatever still has a living parent in the job is part of it, in any session (`su
//! -c` makes one).
//!
//! Things that nobody can help: if the whole group is killed in one call (`timeout -s KILL`), all of it does nothing any
//! more, but the lock may go a moment before the last of it has; if we and the supervisor are killed together and nobody else,
//! the kernel kills the command, but not what that leaves behind; and what runs with other rights than ours (sudo) cannot
//! be killed, so the supervisor waits for it.

use std::collections::BTreeSet;
use std::io;

use rustix::process::{Pid, WaitOptions};

use super::descendants::{children, has_name, ignores, in_session_of, may_be_stopped};
use super::forward::{self, Event, SignalForwarder};
use super::{Error, ExitReason, SpawnError};
use crate::sys::args;
use crate::sys::deferred_signals::STOP_SIGNALS;
use crate::sys::process::{self, ExecImage, SharedWord, SpawnOptions};
use crate::sys::signal::{self, Origin, SignalSet, number};

/// The supervisor's name for ps(1), and its command line. Not ours: who says `pkill -9 loto`, or `pkill -f` with a word of our
/// command line, means us, and the supervisor is to survive it.
const NAME: &str = "lock-supervisor";

/// Starts a supervisor, which starts the command, and waits for the end of both. Every signal must be blocked.
pub(super) fn run(
    image: &mut ExecImage,
    options: &SpawnOptions<'_>,
    warn: &mut dyn FnMut(Error),
) -> Result<ExitReason, SpawnError> {
    let result = SharedWord::new().map_err(SpawnError::Fork)?;
    let adopts = process::has_no_children() && process::become_subreaper();
    let us = rustix::process::getpid();
    let supervisor = process::fork_with(|| {
        let options = SpawnOptions {
            report_pid: Some(&result),
            ..*options
        };
        let outcome = supervise(us, image, &options, warn);
        result.set(outcome.encode());
        0
    });
    let supervisor = supervisor.map_err(SpawnError::Fork)?;
    let mut forwarder = SignalForwarder::new(supervisor, signal::pending());
    let end = forwarder.wait_for_exit(warn).map_err(SpawnError::Wait)?;
    match SupervisorReport::decode(result.get()) {
        Some(SupervisorReport::Exited(end)) => Ok(forwarder.classify(end)),
        Some(SupervisorReport::ForkFailed(error)) => {
            Err(SpawnError::Fork(io::Error::from_raw_os_error(error)))
        }
        Some(SupervisorReport::ExecFailed(error)) => {
            Err(SpawnError::Exec(io::Error::from_raw_os_error(error)))
        }
        Some(SupervisorReport::WaitFailed(error)) => {
            Err(SpawnError::Wait(io::Error::from_raw_os_error(error)))
        }
        None => {
            if adopts {
                kill_descendants(Pid::from_raw(result.get() as i32));
            }
            Ok(forwarder.classify(end))
        }
    }
}

/// What the supervisor has to tell us, in the place where the command has left its number before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SupervisorReport {
    Exited(ExitReason),
    ForkFailed(i32),
    ExecFailed(i32),
    WaitFailed(i32),
}

impl SupervisorReport {
    /// As a number that is no process's.
    fn encode(self) -> u64 {
        let (kind, value) = match self {
            Self::Exited(ExitReason::Exited(status)) => (1, i32::from(status)),
            Self::Exited(ExitReason::Signaled(signal) | ExitReason::SignaledToo(signal)) => {
                (2, signal)
            }
            Self::ForkFailed(error) => (3, error),
            Self::ExecFailed(error) => (4, error),
            Self::WaitFailed(error) => (5, error),
        };
        kind << 32 | u64::from(value as u32)
    }

    /// `None` for a supervisor that has not told anything.
    fn decode(number: u64) -> Option<Self> {
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

/// The supervisor's life.
fn supervise(
    parent: Pid,
    image: &mut ExecImage,
    options: &SpawnOptions<'_>,
    warn: &mut dyn FnMut(Error),
) -> SupervisorReport {
    let code = |error: io::Error| error.raw_os_error().unwrap_or_default();
    process::set_name(NAME);
    args::overwrite(NAME);
    process::become_subreaper();
    // Of all signals it is SIGCONT, so that a supervisor that is stopped hears it.
    process::set_parent_death_signal(number::CONT);
    if process::is_orphaned_by(parent) {
        return SupervisorReport::WaitFailed(0);
    }
    let child = match process::spawn(image, options) {
        Ok(child) => child,
        Err(error) => return SupervisorReport::ForkFailed(code(error)),
    };
    let mut supervisor = Supervisor {
        parent,
        command: child.pid,
        forwarder: SignalForwarder::new(child.pid, signal::pending()).with_parent(parent),
    };
    let end = match supervisor.run(warn) {
        Ok(end) => end,
        Err(error) => {
            kill_descendants(Some(child.pid));
            return SupervisorReport::WaitFailed(code(error));
        }
    };
    match child.exec_error() {
        Some(error) => SupervisorReport::ExecFailed(code(error)),
        None => SupervisorReport::Exited(end),
    }
}

struct Supervisor {
    /// Who the command must not outlive.
    parent: Pid,
    command: Pid,
    forwarder: SignalForwarder,
}

impl Supervisor {
    fn has_lost_parent(&self) -> bool {
        process::is_orphaned_by(self.parent)
    }

    /// Looks after the command, and after what it leaves behind if it was told to stop.
    fn run(&mut self, warn: &mut dyn FnMut(Error)) -> io::Result<ExitReason> {
        let end = loop {
            let arrival = signal::wait(SignalSet::ALL)?;
            if self.has_lost_parent() {
                kill_descendants(Some(self.command));
                return Ok(ExitReason::Signaled(number::KILL));
            }
            if arrival.signal == number::CHLD {
                reap_others(self.command);
            }
            if let Event::Exited(end) = self.forwarder.handle(arrival, warn)? {
                break end;
            }
        };
        if let Some(signal) = stop_signal(&self.forwarder, end) {
            self.stop_descendants(signal)?;
        }
        Ok(end)
    }

    /// Sends what is left behind the signal by which the command was told to stop, and waits for its end; further signals
    /// of that kind are passed on. What the keys of the terminal send has reached all of our group already: a second Ctrl-C
    /// tells many programs to drop everything. Ctrl-Z stops us too, so that the shell sees it.
    ///
    /// *The race:* what is left may end, or itself leave something behind, at any moment. What it leaves behind becomes our
    /// child before its own end is told; so we look again after every `SIGCHLD`, until there is nobody left. One `SIGCHLD`
    /// may stand for several, and have been taken before; so whoever has ended is buried before we look, and whoever ends
    /// after that has yet to be told of.
    fn stop_descendants(&self, stop: i32) -> io::Result<()> {
        let mut told = BTreeSet::new();
        let mut signal = stop;
        let mut from_terminal = self.forwarder.was_sent_to_group(stop);
        loop {
            reap_all();
            let mut left = children();
            left.retain(|child| {
                in_session_of(*child, Some(self.command)) && !ignores(*child, stop)
            });
            let Some(first) = left.first().copied() else {
                return Ok(());
            };
            told.retain(|pid| left.iter().any(|child| child.as_raw_nonzero() == *pid));
            for child in left {
                if told.insert(child.as_raw_nonzero())
                    && !(from_terminal && receives_key(signal, child))
                {
                    // In vain if it runs with other rights; then it is waited for.
                    let _ = signal::send(child, signal);
                    if may_be_stopped(child) {
                        let _ = signal::send(child, number::CONT);
                    }
                }
            }
            let arrival = signal::wait(SignalSet::ALL)?;
            if self.has_lost_parent() {
                kill_descendants(Some(self.command));
                return Ok(());
            }
            if STOP_SIGNALS.contains(&arrival.signal) {
                signal = arrival.signal;
                from_terminal = arrival.origin == Origin::Kernel;
                told.clear();
            }
            if arrival.signal == number::TSTP && arrival.origin == Origin::Kernel {
                forward::stop(number::TSTP, first, || {
                    Ok(self.has_lost_parent() || process::exited_child().is_some())
                })?;
            }
        }
    }
}

/// The signal by which the command was told to stop, if it was. It died of it, or says so with its status; but a
/// `SIGTERM` means it whatever the command made of it. Ctrl-C in a command that goes on, and a `SIGHUP` to read a
/// configuration again, do not.
fn stop_signal(forwarder: &SignalForwarder, end: ExitReason) -> Option<i32> {
    let died_of = |signal: i32| {
        end == ExitReason::Signaled(signal) || end == ExitReason::Exited(128 + signal as u8)
    };
    STOP_SIGNALS
        .into_iter()
        .find(|signal| forwarder.was_sent(*signal) && (died_of(*signal) || *signal == number::TERM))
}

/// Whether a process gets this signal when it is typed at our terminal, as we do.
fn receives_key(signal: i32, pid: Pid) -> bool {
    matches!(signal, number::INT | number::QUIT)
        && process::process_group_of(Some(pid)) == process::process_group_of(None)
}

/// Kills the command, if it has not been waited for, and everything that is left behind, and waits until it is gone: what
/// that leaves behind in turn is ours by then. Not daemons: what had been left behind before in a session of its own. What
/// has a living parent in the job is part of the job, whatever its session (`su -c` makes one).
///
/// A supervisor among them belongs to a program with a lock of its own, which was killed: it does this very thing, and its
/// lock lasts until it has. So it is waited for, and woken if it is stopped. A command that is not yet one, because it has
/// still to be executed, looks like a supervisor, but is none.
fn kill_descendants(command: Option<Pid>) {
    let mut daemons = children();
    daemons.retain(|child| Some(*child) != command && !in_session_of(*child, command));
    loop {
        let command = command.filter(|pid| process::is_child(*pid));
        let mut left = children();
        left.retain(|child| Some(*child) != command && !daemons.contains(child));
        if left.is_empty() && command.is_none() {
            return;
        }
        for child in &left {
            let signal = if has_name(*child, NAME) {
                number::CONT
            } else {
                number::KILL
            };
            let _ = signal::send(*child, signal);
        }
        if let Some(command) = command {
            let _ = signal::send(command, number::KILL);
        }
        for child in left.into_iter().chain(command) {
            // Not interrupted, as every signal is blocked.
            let _ = rustix::process::waitpid(Some(child), WaitOptions::empty());
        }
    }
}

/// Waits for adopted children that have ended, so that their remains do not pile up.
fn reap_others(command: Pid) {
    while let Some(ended) = process::exited_child().filter(|ended| *ended != command) {
        let _ = rustix::process::waitpid(Some(ended), WaitOptions::NOHANG);
    }
}

fn reap_all() {
    while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_keeper_tells_arrives() {
        for outcome in [
            SupervisorReport::Exited(ExitReason::Exited(0)),
            SupervisorReport::Exited(ExitReason::Exited(255)),
            SupervisorReport::Exited(ExitReason::Signaled(15)),
            SupervisorReport::ForkFailed(11),
            SupervisorReport::ExecFailed(2),
            SupervisorReport::WaitFailed(0),
        ] {
            assert_eq!(SupervisorReport::decode(outcome.encode()), Some(outcome));
        }
        assert_eq!(SupervisorReport::decode(0), None);
    }
}
