//! Between the caller and the command: signals one way, stops and the end the other.
//!
//! Nothing here runs in a signal handler. Every signal is blocked from before the command's start, and taken one at a
//! time by sigwaitinfo(2), `SIGCHLD` among them, so nothing comes at a bad moment and nothing is missed. To the command
//! the mask and the dispositions are those of the caller.

use std::io;

use rustix::process::{Pid, Resource, WaitId, WaitIdOptions, WaitIdStatus};

use super::terminal::Foreground;
use super::{Error, ExitReason};
use crate::sys::continue_on_exit::ContinueOnExit;
use crate::sys::process;
use crate::sys::signal::{self, Arrival, Origin, SignalSet, number};

/// Looks after a command until it ends.
pub(super) struct SignalForwarder {
    command: Pid,
    /// What may have come before there was a command that could get its own.
    pending_at_fork: SignalSet,
    /// What has been sent to us.
    sent: SignalSet,
    /// What of that was last sent to the command by the same hand: by the terminal, to our whole group.
    sent_to_group: SignalSet,
    state: State,
    /// Who would continue us: when it is gone, we do not stop.
    parent: Option<Pid>,
}

/// What came of something that was sent to us.
pub(super) enum Event {
    /// The command has ended.
    Exited(ExitReason),
    /// It has not.
    Running,
}

/// What is known of the command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It runs, and whatever `SIGCONT` may come is its own.
    Running,
    /// It is stopped.
    Stopped,
    /// It was stopped, and goes on because somebody continued it, most likely by the whole group: there is a
    /// `SIGCONT` of the same for us.
    Continued,
}

impl SignalForwarder {
    /// For a command that has just been forked. `pending_at_fork` is what is pending since.
    pub(super) fn new(command: Pid, pending_at_fork: SignalSet) -> Self {
        Self {
            command,
            pending_at_fork,
            sent: SignalSet::EMPTY,
            sent_to_group: SignalSet::EMPTY,
            state: State::Running,
            parent: None,
        }
    }

    /// For a process that is of no use without this parent of its, and gets `SIGCONT` when it ends.
    pub(super) fn with_parent(self, parent: Pid) -> Self {
        Self {
            parent: Some(parent),
            ..self
        }
    }

    /// Waits for the command's end.
    pub(super) fn wait_for_exit(&mut self, warn: &mut dyn FnMut(Error)) -> io::Result<ExitReason> {
        loop {
            let arrival = signal::wait(SignalSet::ALL)?;
            if let Event::Exited(end) = self.handle(arrival, warn)? {
                return Ok(end);
            }
        }
    }

    /// Does what there is to do about a signal.
    pub(super) fn handle(
        &mut self,
        arrival: Arrival,
        warn: &mut dyn FnMut(Error),
    ) -> io::Result<Event> {
        if arrival.signal == number::CHLD
            && let Some(end) = self.reap_changes()?
        {
            return Ok(Event::Exited(end));
        }
        if let Err(error) = self.forward(arrival) {
            warn(Error::Signal {
                signal: arrival.signal,
                pid: self.command.as_raw_nonzero().get(),
                error,
            });
        }
        Ok(Event::Running)
    }

    /// Returns the reason why the command exited, where a signal that was sent to this process as well
    /// is told apart from one that was sent to the command alone.
    pub(super) fn classify(&self, reason: ExitReason) -> ExitReason {
        match reason {
            ExitReason::Signaled(signal) if self.was_sent(signal) => {
                ExitReason::SignaledToo(signal)
            }
            other => other,
        }
    }

    /// One `SIGCHLD` may stand for several changes, or for another child's (the caller may have had some before it
    /// executed us), so everything that is new is fetched.
    fn reap_changes(&mut self) -> io::Result<Option<ExitReason>> {
        while let Some(change) = self.change(WaitIdOptions::empty())? {
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

    /// Whether the signal has been sent to us, be it taken or still pending.
    ///
    /// *The race:* a signal to the whole group against the command that dies of it. While the kernel signals a group,
    /// no process of it can report its death (both need the `tasklist_lock`). So when we hear of the death, our own
    /// signal is there too.
    pub(super) fn was_sent(&self, signal: i32) -> bool {
        self.sent.has(signal) || signal::pending().has(signal)
    }

    /// Whether the signal came last to our whole group, from the terminal.
    pub(super) fn was_sent_to_group(&self, signal: i32) -> bool {
        self.sent_to_group.has(signal)
    }

    fn change(&self, more: WaitIdOptions) -> io::Result<Option<WaitIdStatus>> {
        let options = WaitIdOptions::EXITED
            | WaitIdOptions::STOPPED
            | WaitIdOptions::CONTINUED
            | WaitIdOptions::NOHANG;
        loop {
            match rustix::process::waitid(WaitId::Pid(self.command), options | more) {
                Err(rustix::io::Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    /// Stops this process because the command has stopped, so that a shell with job control sees it.
    ///
    /// By `SIGTSTP` where the command was stopped by `SIGSTOP`: the kernel discards it in an orphaned process group
    /// (under cron, say), where there is no shell that could ever continue us.
    fn stop_with_command(&mut self, signal: i32) -> io::Result<()> {
        let signal = match signal {
            number::STOP => number::TSTP,
            other => other,
        };
        let foreground = Foreground::of(self.command);
        let stopped = stop(signal, self.command, || {
            let orphan = self.parent.is_some_and(process::is_orphaned_by);
            Ok(orphan || self.change(WaitIdOptions::NOWAIT)?.is_some())
        })?;
        if let (Stop::Continued, Some(foreground)) = (stopped, foreground) {
            foreground.restore();
        }
        Ok(())
    }

    /// Sends the command what was sent to us, unless it has got it already.
    ///
    /// *The race:* Ctrl-C against the fork. One that came before it has not reached the command, and one that came
    /// after has. So what is pending right after the fork is passed on in any case: to a command that has not executed
    /// anything yet, two of a kind are one.
    fn forward(&mut self, Arrival { signal, origin }: Arrival) -> io::Result<()> {
        self.sent = self.sent.with(signal);
        let pending_at_fork = self.pending_at_fork.has(signal);
        self.pending_at_fork = self.pending_at_fork.without(signal);
        self.sent_to_group = self.sent_to_group.without(signal);
        match origin {
            Origin::Kernel if signal == number::CHLD => Ok(()),
            Origin::Kernel if !pending_at_fork && self.was_sent_to_whole_group(signal) => {
                self.sent_to_group = self.sent_to_group.with(signal);
                Ok(())
            }
            _ if signal == number::CONT && self.was_continued_too()? => Ok(()),
            Origin::Queued(value) => signal::queue(self.command, signal, value),
            Origin::Kernel | Origin::Process => signal::send(self.command, signal),
        }
    }

    /// Whether the command has been continued by the very hand that continued us, as `fg` does it.
    fn was_continued_too(&mut self) -> io::Result<bool> {
        // The kernel may know already what its SIGCHLD has yet to tell us.
        if let Some(change) = self.change(WaitIdOptions::NOWAIT)?
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

    /// What the terminal sends, it sends to every process of the foreground group; so if the command is in our group,
    /// it has got its own. A hang-up, and the `SIGCONT` that comes with it, go to the leader of the session, and that may be
    /// we alone.
    fn was_sent_to_whole_group(&self, signal: i32) -> bool {
        let from_terminal = matches!(
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
        let us = || rustix::process::getpid().as_raw_nonzero().get();
        let led_by_us = || process::session_of(None) == Some(us());
        from_terminal
            && process::process_group_of(Some(self.command)) == process::process_group_of(None)
            && !(matches!(signal, number::HUP | number::CONT) && led_by_us())
    }
}

/// What came of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// There was none.
    Cancelled,
    /// We were continued, or the signal is ignored.
    Continued,
}

/// Stops this process until it is continued, or until the one that is watched, a child of ours, ends. Every signal must
/// be blocked.
///
/// *The race:* our stop against whoever continues the two of us. A `SIGCONT` that came first must not be answered
/// by a stop, for there may be no second. So while the stop signal is still blocked: a `SIGCONT` that is pending
/// calls it off; one that comes once the stop is pending removes it (the kernel does, signal(7)); and one that
/// came between the two and was itself removed is known by what it came with, for which `is_cancelled` looks: if it was
/// for the whole group, it has reached the command as well, and then the command is no longer stopped; if it told of our
/// parent's end, that is no longer our parent. What is left is one to us alone between two system calls in a row, from
/// somebody who did not wait to see us stopped; no shell does that.
///
/// *The other race:* the watched one against us. Somebody may continue it and not us. It then ends while we
/// are stopped, and the lock that we hold open would outlast it for as long as nobody thinks of us. The watcher
/// continues us when it ends; if that is before we have stopped, its `SIGCONT` is one that came first.
pub(super) fn stop(
    signal: i32,
    watched: Pid,
    is_cancelled: impl FnOnce() -> io::Result<bool>,
) -> io::Result<Stop> {
    // Where there can be no watcher, the stop is still what the shell has to see.
    let _watcher = ContinueOnExit::watch(watched);
    if signal::pending().has(number::CONT) {
        return Ok(Stop::Cancelled);
    }
    signal::send(rustix::process::getpid(), signal)?;
    if is_cancelled()? {
        signal::take_pending(SignalSet::single(signal));
        return Ok(Stop::Cancelled);
    }
    // We stop inside the first call, if at all, and go on from there.
    signal::set_mask(SignalSet::ALL.without(signal));
    signal::set_mask(SignalSet::ALL);
    Ok(Stop::Continued)
}

/// Terminates this process by the signal that ended the command, when it had been sent to both: so whoever waits for us sees
/// what he would see without us in between. A shell goes on with its script after Ctrl-C unless its child died of it,
/// and systemd takes a death by `SIGTERM` for a clean stop.
///
/// Returns when the signal does not end us: it is ignored, or we are process 1.
pub fn terminate_by(signal: i32) {
    // The command has left the core dump that there is to leave.
    let none = rustix::process::Rlimit {
        current: Some(0),
        maximum: rustix::process::getrlimit(Resource::Core).maximum,
    };
    let _ = rustix::process::setrlimit(Resource::Core, none);
    if signal::send(rustix::process::getpid(), signal).is_ok() {
        signal::unblock(SignalSet::single(signal));
    }
}
