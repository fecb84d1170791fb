//! Signal forwarding: signals from the caller to the command, stops and the exit from the command
//! to the caller.
//!
//! Nothing here runs in a signal handler. Every signal, including `SIGCHLD`, is blocked from before
//! the command is started, and is received with sigwaitinfo(2), one at a time. So no signal arrives
//! at a bad moment, and none is missed. The command has the mask and the dispositions of the
//! caller.

use std::io;

use rustix::process::{Pid, Resource, WaitId, WaitIdOptions, WaitIdStatus};

use super::error::Error;
use super::terminal::Foreground;
use crate::sys::continue_on_exit::ContinueOnExit;
use crate::sys::process;
use crate::sys::signal::{self, Origin, SignalInfo, SignalSet, number};

/// Forwards signals to a command until the command exits.
pub(super) struct SignalForwarder {
    command: Pid,
    /// Signals that may have been sent before the command existed and could receive its own.
    pending_at_fork: SignalSet,
    /// Signals that this process has received.
    received: SignalSet,
    /// Those of them that the terminal sent to the whole group the last time, including the
    /// command.
    sent_to_group: SignalSet,
    state: State,
    /// The process that would continue this one. When it has exited, this process does not stop.
    parent: Option<Pid>,
}

/// Why a command exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// The command exited with this status.
    Exited(u8),
    /// The command was killed by a signal that was sent to it alone.
    Signaled(i32),
    /// The command was killed by a signal that was sent to this process, too.
    SignaledToo(i32),
}

/// What a signal has led to.
pub(super) enum Event {
    /// The command has exited.
    Exited(ExitReason),
    /// The command has not exited.
    Running,
}

/// What is known about the command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The command runs. A `SIGCONT` to this process has not reached the command.
    Running,
    /// The command is stopped.
    Stopped,
    /// The command was stopped and has been continued, most likely together with the whole group:
    /// the same `SIGCONT` is on its way to this process.
    Continued,
}

impl SignalForwarder {
    /// Creates a forwarder to a command that has just been forked. A process that must exit with
    /// its parent, and is sent `SIGCONT` when the parent exits, passes that parent.
    pub(super) fn new(command: Pid, parent: Option<Pid>) -> Self {
        Self {
            command,
            pending_at_fork: signal::pending(),
            received: SignalSet::EMPTY,
            sent_to_group: SignalSet::EMPTY,
            state: State::Running,
            parent,
        }
    }

    /// Waits until the command exits.
    pub(super) fn wait_for_exit(&mut self, warn: &mut dyn FnMut(Error)) -> io::Result<ExitReason> {
        loop {
            let info = signal::wait(SignalSet::ALL)?;
            if let Event::Exited(reason) = self.handle(info, warn)? {
                return Ok(reason);
            }
        }
    }

    /// Handles a signal that this process has received.
    pub(super) fn handle(
        &mut self,
        info: SignalInfo,
        warn: &mut dyn FnMut(Error),
    ) -> io::Result<Event> {
        if info.signal == number::CHLD
            && let Some(reason) = self.handle_changes()?
        {
            return Ok(Event::Exited(reason));
        }
        if let Err(error) = self.forward(info) {
            warn(Error::Signal {
                signal: info.signal,
                pid: self.command.as_raw_nonzero().get(),
                error,
            });
        }
        Ok(Event::Running)
    }

    /// Distinguishes a signal that was sent to this process as well from one that was sent to the
    /// command alone.
    pub(super) fn classify(&self, reason: ExitReason) -> ExitReason {
        match reason {
            ExitReason::Signaled(signal) if self.was_sent(signal) => {
                ExitReason::SignaledToo(signal)
            }
            other => other,
        }
    }

    /// Handles all new changes of the command's state, and returns the reason if it has exited.
    ///
    /// One `SIGCHLD` may stand for several changes, or for another child, which the caller may have
    /// created before it executed this program.
    fn handle_changes(&mut self) -> io::Result<Option<ExitReason>> {
        while let Some(change) = self.next_change(WaitIdOptions::empty())? {
            if let Some(status) = change.exit_status() {
                return Ok(Some(ExitReason::Exited(status as u8)));
            }
            if let Some(signal) = change.terminating_signal() {
                return Ok(Some(ExitReason::Signaled(signal)));
            }
            if let Some(signal) = change.stopping_signal() {
                self.state = State::Stopped;
                self.stop_with_command(signal)?;
            } else {
                self.mark_continued();
            }
        }
        Ok(None)
    }

    /// Returns whether the signal was sent to this process, whether received or still pending.
    ///
    /// *Race:* a signal may be sent to the whole group, and the command may die of it before this
    /// process has received it. While the kernel signals a group, no process of the group can
    /// report its death, because both require the `tasklist_lock`. So when the death is reported,
    /// the signal to this process is at least pending.
    pub(super) fn was_sent(&self, signal: i32) -> bool {
        self.received.contains(signal) || signal::pending().contains(signal)
    }

    /// Returns whether the signal was last sent by the terminal, to the whole group.
    pub(super) fn was_sent_to_group(&self, signal: i32) -> bool {
        self.sent_to_group.contains(signal)
    }

    fn next_change(&self, more_options: WaitIdOptions) -> io::Result<Option<WaitIdStatus>> {
        let options = WaitIdOptions::EXITED
            | WaitIdOptions::STOPPED
            | WaitIdOptions::CONTINUED
            | WaitIdOptions::NOHANG;
        loop {
            match rustix::process::waitid(WaitId::Pid(self.command), options | more_options) {
                Err(rustix::io::Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    /// Stops this process because the command has stopped, so that a shell with job control sees
    /// it.
    ///
    /// If `SIGSTOP` stopped the command, `SIGTSTP` stops this process: the kernel discards it in an
    /// orphaned process group (under cron, for example), where no shell could ever continue this
    /// process.
    fn stop_with_command(&mut self, signal: i32) -> io::Result<()> {
        let signal = match signal {
            number::STOP => number::TSTP,
            other => other,
        };
        let foreground = Foreground::capture(self.command);
        let result = stop(signal, self.command, || {
            let is_orphaned = self.parent.is_some_and(process::is_orphaned_by);
            Ok(is_orphaned || self.next_change(WaitIdOptions::NOWAIT)?.is_some())
        })?;
        if let (StopResult::Continued, Some(foreground)) = (result, foreground) {
            foreground.restore();
        }
        Ok(())
    }

    /// Sends the command a signal that this process has received, unless it has reached the command
    /// already.
    ///
    /// *Race:* Ctrl-C may be typed at the moment of the fork. Before the fork it does not reach the
    /// command, after the fork it does. A signal that is pending right after the fork is therefore
    /// forwarded in any case: for a command that has not executed anything yet, two signals with
    /// the same number are one.
    fn forward(&mut self, SignalInfo { signal, origin }: SignalInfo) -> io::Result<()> {
        self.received = self.received.with(signal);
        let was_pending_at_fork = self.pending_at_fork.contains(signal);
        self.pending_at_fork = self.pending_at_fork.without(signal);
        self.sent_to_group = self.sent_to_group.without(signal);
        match origin {
            Origin::Kernel if signal == number::CHLD => Ok(()),
            Origin::Kernel if !was_pending_at_fork && self.reaches_command(signal) => {
                self.sent_to_group = self.sent_to_group.with(signal);
                Ok(())
            }
            _ if signal == number::CONT && self.was_command_continued()? => Ok(()),
            Origin::Queued(value) => signal::queue(self.command, signal, value),
            Origin::Kernel | Origin::Process => signal::send(self.command, signal),
        }
    }

    /// Returns whether the command has been continued together with this process, as `fg` does.
    fn was_command_continued(&mut self) -> io::Result<bool> {
        // The kernel may have recorded a change whose SIGCHLD is still pending.
        if let Some(change) = self.next_change(WaitIdOptions::NOWAIT)?
            && change.continued()
        {
            self.mark_continued();
        }
        Ok(std::mem::replace(&mut self.state, State::Running) == State::Continued)
    }

    fn mark_continued(&mut self) {
        if self.state == State::Stopped {
            self.state = State::Continued;
        }
    }

    /// Returns whether a signal that the kernel sent to this process has reached the command as
    /// well.
    ///
    /// The terminal sends its signals to every process of the foreground group, and so to the
    /// command if it is in the group of this process. A hang-up, and the `SIGCONT` that follows it,
    /// is sent to the leader of the session, which may be this process alone.
    fn reaches_command(&self, signal: i32) -> bool {
        let is_from_terminal = matches!(
            signal,
            number::HUP
                | number::INT
                | number::QUIT
                | number::TSTP
                | number::TTIN
                | number::TTOU
                | number::CONT
                | number::WINCH
        );
        let own_pid = || rustix::process::getpid().as_raw_nonzero().get();
        let is_session_leader = || process::session_of(None) == Some(own_pid());
        is_from_terminal
            && process::process_group_of(Some(self.command)) == process::process_group_of(None)
            && !(matches!(signal, number::HUP | number::CONT) && is_session_leader())
    }
}

/// How an attempt to stop this process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopResult {
    /// The process did not stop.
    Cancelled,
    /// The process was stopped and continued, or the signal is ignored.
    Continued,
}

/// Stops this process until it is continued, or until a watched child of this process exits. Every
/// signal must be blocked.
///
/// *Race:* another process may continue both this process and the command before this process has
/// stopped. A `SIGCONT` that came first must not be followed by a stop, because there may be no
/// second one. So while the stop signal is still blocked:
///
/// * A `SIGCONT` that is pending already cancels the stop.
/// * A `SIGCONT` that arrives while the stop signal is pending removes the stop signal: see
///   signal(7).
/// * A `SIGCONT` that arrived in between was removed by the stop signal. `is_cancelled` looks for
///   the event that it came with: if it was sent to the whole group, it has reached the command as
///   well, and the command is no longer stopped. If it reported the exit of the parent, this
///   process has another parent now.
///
/// What is left is a `SIGCONT` to this process alone, between two consecutive system calls, from a
/// process that did not wait until this one had stopped. No shell sends that.
///
/// *Race:* another process may continue the watched process, but not this one. The watched process
/// then exits while this process is stopped, and this process would keep the lock until it is
/// continued. [`ContinueOnExit`] continues this process when the watched one exits. If that happens
/// before this process has stopped, it is a `SIGCONT` that came first.
pub(super) fn stop(
    signal: i32,
    watched: Pid,
    is_cancelled: impl FnOnce() -> io::Result<bool>,
) -> io::Result<StopResult> {
    // Without a watcher this process stops nevertheless, because the shell must see it.
    let _watcher = ContinueOnExit::watch(watched);
    if signal::pending().contains(number::CONT) {
        return Ok(StopResult::Cancelled);
    }
    // Where kill(2) is refused, this process cannot stop itself, and waits while the command is
    // stopped.
    if signal::send(rustix::process::getpid(), signal).is_err() {
        return Ok(StopResult::Cancelled);
    }
    if is_cancelled()? {
        signal::take_pending(SignalSet::single(signal));
        return Ok(StopResult::Cancelled);
    }
    // If this process stops, it stops inside the first call, and continues from there.
    signal::set_mask(SignalSet::ALL.without(signal));
    signal::set_mask(SignalSet::ALL);
    Ok(StopResult::Continued)
}

/// Terminates this process by the signal that killed the command, for a signal that was sent to
/// both. So the caller sees what it would see if it had started the command itself: a shell
/// continues its script after Ctrl-C unless its child died of it, and systemd takes a death by
/// `SIGTERM` for a clean stop.
///
/// Returns if the signal does not terminate this process: it is ignored, or this is process 1.
pub fn terminate_by(signal: i32) {
    // If there is to be a core dump, the command has left it.
    let no_core_dump = rustix::process::Rlimit {
        current: Some(0),
        maximum: rustix::process::getrlimit(Resource::Core).maximum,
    };
    let _ = rustix::process::setrlimit(Resource::Core, no_core_dump);
    if signal::send(rustix::process::getpid(), signal).is_ok() {
        signal::unblock(SignalSet::single(signal));
    }
}
