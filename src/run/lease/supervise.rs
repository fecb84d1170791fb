//! The supervisor of a command whose lock is elsewhere.

use std::collections::BTreeSet;
use std::io;

use rustix::process::Pid;

use super::orders::{Order, Orders};
use super::tree;
use crate::run::descendants::{children, may_be_stopped};
use crate::run::error::Error;
use crate::run::forward::{self, Event, ExitReason, SignalForwarder};
use crate::run::supervisor::{
    SupervisorReport, become_supervisor, reap_others, receives_key, stop_signal,
};
use crate::sys::deferred_signals::STOP_SIGNALS;
use crate::sys::process;
use crate::sys::signal::{self, Origin, SignalSet, number};
use crate::sys::spawn::{self, ExecImage, SpawnOptions};

/// Runs in the supervisor: starts the command, and waits until it and all its descendants have
/// exited.
pub(super) fn supervise(
    parent: Pid,
    image: ExecImage,
    options: &SpawnOptions<'_>,
    orders: &Orders,
    warn: &mut dyn FnMut(Error),
) -> SupervisorReport {
    let errno = |error: io::Error| error.raw_os_error().unwrap_or_default();
    orders.set_supervisor();
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
        orders,
        obeyed: Order::Run,
    };
    let reason = match supervisor.run(warn) {
        Ok(reason) => reason,
        Err(error) => {
            tree::kill(&[]);
            return SupervisorReport::WaitFailed(errno(error));
        }
    };
    match child.into_exec_error() {
        Some(error) => SupervisorReport::ExecFailed(errno(error)),
        None => SupervisorReport::Exited(reason),
    }
}

struct Supervisor<'a> {
    /// The process that the command must not outlive.
    parent: Pid,
    command: Pid,
    forwarder: SignalForwarder,
    orders: &'a Orders,
    /// The order that has been carried out.
    obeyed: Order,
}

/// Whether there are still processes to wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tree {
    MayLive,
    Killed,
}

impl Supervisor<'_> {
    fn run(&mut self, warn: &mut dyn FnMut(Error)) -> io::Result<ExitReason> {
        let reason = loop {
            let info = signal::wait(SignalSet::ALL)?;
            if self.obey() == Tree::Killed {
                return Ok(ExitReason::Signaled(number::KILL));
            }
            if info.signal == number::CHLD {
                reap_others(self.command);
            }
            if let Event::Exited(reason) = self.forwarder.handle(info, warn)? {
                break reason;
            }
        };
        self.wait_for_descendants(stop_signal(&self.forwarder, reason))?;
        Ok(reason)
    }

    /// Carries out an order that has not been carried out yet. The end of the parent is an order to
    /// kill: the processes that watch over the lease are no longer complete.
    fn obey(&mut self) -> Tree {
        let order = match process::is_orphaned_by(self.parent) {
            true => Order::Kill,
            false => self.orders.order(),
        };
        if order <= self.obeyed {
            return Tree::MayLive;
        }
        self.obeyed = order;
        if order == Order::Kill {
            tree::kill(&[]);
            return Tree::Killed;
        }
        tree::terminate();
        Tree::MayLive
    }

    /// Waits until all processes that the command has left behind have exited: as long as one of
    /// them runs, it may rely on the lock, as one that has inherited the descriptor of a local lock.
    /// If the command was asked to stop, they are sent the same signal; further stop signals are
    /// forwarded to them.
    ///
    /// A signal that is typed at the terminal has reached the whole group already, and is not sent
    /// again: a second Ctrl-C makes many programs exit without cleaning up.
    ///
    /// *Race:* as for [`tree::kill`].
    fn wait_for_descendants(&mut self, mut stop: Option<i32>) -> io::Result<()> {
        let mut signaled = BTreeSet::new();
        let mut is_from_terminal = stop.is_some_and(|stop| self.forwarder.was_sent_to_group(stop));
        loop {
            tree::reap_exited(&[]);
            let remaining = children();
            let Some(first) = remaining.first().copied() else {
                return Ok(());
            };
            signaled.retain(|pid| remaining.iter().any(|child| child.as_raw_nonzero() == *pid));
            for child in remaining {
                if let Some(signal) = stop
                    && signaled.insert(child.as_raw_nonzero())
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
            if self.obey() == Tree::Killed {
                return Ok(());
            }
            if STOP_SIGNALS.contains(&info.signal) {
                stop = Some(info.signal);
                is_from_terminal = info.origin == Origin::Kernel;
                signaled.clear();
            }
            if info.signal == number::TSTP && info.origin == Origin::Kernel {
                forward::stop(number::TSTP, first, || {
                    Ok(process::is_orphaned_by(self.parent) || process::exited_child().is_some())
                })?;
            }
        }
    }
}
