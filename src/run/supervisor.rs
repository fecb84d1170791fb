//! Commands that do not outlive us: between us and the command stands a keeper, a process of ours that has everything
//! open that we have, locks above all.
//!
//! The keeper is the command's parent, and the adoptive parent (`PR_SET_CHILD_SUBREAPER`) of everything that the command
//! leaves behind. To signals, stops and the end it is to us what the command is to it, so a [`Relay`] stands on each
//! side of it, as with two `flock` around each other.
//!
//! * We are killed by `SIGKILL`: the kernel tells the keeper. It kills the command, then what is left behind, and only
//!   then ends, and with it goes the last descriptor that held the lock.
//! * We are told to stop, and the command ends: what it leaves behind is told the same and waited for, unless it ignores
//!   that signal. (`sh -c 'a; b'` dies of `SIGTERM` at once, and leaves `a` running.)
//! * The keeper is killed: the kernel kills the command, and we do the rest, where we can be the adoptive parent: not if
//!   there were children before, which could not be told apart from what is left behind. (Then the lock may go a moment
//!   before the command has.)
//! * The command ends by itself: what it leaves behind goes on, and is nobody's business.
//!
//! What is left behind in a session of its own, as daemons are, is left alone, unless it is the command's own session (`loto …
//! -- setsid job`). And when we are killed, whatever still has a living parent in the job is part of it, in any session (`su
//! -c` makes one).
//!
//! Things that nobody can help: if the whole group is killed in one call (`timeout -s KILL`), all of it does nothing any
//! more, but the lock may go a moment before the last of it has; if we and the keeper are killed together and nobody else,
//! the kernel kills the command, but not what that leaves behind; and what runs with other rights than ours (sudo) cannot
//! be killed, so the keeper waits for it.

use std::collections::BTreeSet;
use std::io;

use rustix::process::{Pid, WaitOptions};

use super::descendants::{children, ignores, is_called, is_of_the_job, may_be_stopped};
use super::forward::{self, End, News, Relay};
use super::{Ended, Error, Problem};
use crate::sys::args;
use crate::sys::deferred_signals::REQUESTS;
use crate::sys::process::{self, Image, Shared, World};
use crate::sys::signal::{self, Origin, Set, number};

/// The keeper's name for ps(1), and its command line. Not ours: who says `pkill -9 loto`, or `pkill -f` with a word of our
/// command line, means us, and the keeper is to survive it.
const NAME: &str = "lock-keeper";

/// Starts a keeper, which starts the command, and waits for the end of both. Every signal must be blocked.
pub(super) fn run(
    image: &mut Image,
    world: &World<'_>,
    warn: &mut dyn FnMut(Error),
) -> Result<Ended, Problem> {
    let result = Shared::new().map_err(Problem::Fork)?;
    let adopts = process::has_no_children() && process::adopt_orphans();
    let us = rustix::process::getpid();
    let keeper = process::branch(|| {
        let world = World {
            number: Some(&result),
            ..*world
        };
        let outcome = keep(us, image, &world, warn);
        result.set(outcome.encode());
        0
    });
    let keeper = keeper.map_err(Problem::Fork)?;
    let mut relay = Relay::new(keeper, signal::pending());
    let end = relay.until_end(warn).map_err(Problem::Wait)?;
    match Outcome::decode(result.get()) {
        Some(Outcome::Ended(end)) => Ok(relay.judge(end)),
        Some(Outcome::NotForked(error)) => Err(Problem::Fork(io::Error::from_raw_os_error(error))),
        Some(Outcome::NotExecuted(error)) => {
            Err(Problem::Exec(io::Error::from_raw_os_error(error)))
        }
        Some(Outcome::Lost(error)) => Err(Problem::Wait(io::Error::from_raw_os_error(error))),
        None => {
            if adopts {
                put_down(Pid::from_raw(result.get() as i32));
            }
            Ok(relay.judge(end))
        }
    }
}

/// What the keeper has to tell us, in the place where the command has left its number before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ended(End),
    NotForked(i32),
    NotExecuted(i32),
    Lost(i32),
}

impl Outcome {
    /// As a number that is no process's.
    fn encode(self) -> u64 {
        let (kind, value) = match self {
            Self::Ended(End::Exited(status)) => (1, i32::from(status)),
            Self::Ended(End::Killed(signal)) => (2, signal),
            Self::NotForked(error) => (3, error),
            Self::NotExecuted(error) => (4, error),
            Self::Lost(error) => (5, error),
        };
        kind << 32 | u64::from(value as u32)
    }

    /// `None` for a keeper that has not told anything.
    fn decode(number: u64) -> Option<Self> {
        let value = number as u32 as i32;
        Some(match number >> 32 {
            1 => Self::Ended(End::Exited(value as u8)),
            2 => Self::Ended(End::Killed(value)),
            3 => Self::NotForked(value),
            4 => Self::NotExecuted(value),
            5 => Self::Lost(value),
            _ => return None,
        })
    }
}

/// The keeper's life.
fn keep(master: Pid, image: &mut Image, world: &World<'_>, warn: &mut dyn FnMut(Error)) -> Outcome {
    let code = |error: io::Error| error.raw_os_error().unwrap_or_default();
    process::set_name(NAME);
    args::overwrite(NAME);
    process::adopt_orphans();
    // Of all signals it is SIGCONT, so that a keeper that is stopped hears it.
    process::signal_at_parents_end(number::CONT);
    if process::is_orphan_of(master) {
        return Outcome::Lost(0);
    }
    let child = match process::start(image, world) {
        Ok(child) => child,
        Err(error) => return Outcome::NotForked(code(error)),
    };
    let mut keeper = Keeper {
        master,
        command: child.pid,
        relay: Relay::new(child.pid, signal::pending()).under(master),
    };
    let end = match keeper.watch(warn) {
        Ok(end) => end,
        Err(error) => {
            put_down(Some(child.pid));
            return Outcome::Lost(code(error));
        }
    };
    match child.exec_error() {
        Some(error) => Outcome::NotExecuted(code(error)),
        None => Outcome::Ended(end),
    }
}

struct Keeper {
    /// Who the command must not outlive.
    master: Pid,
    command: Pid,
    relay: Relay,
}

impl Keeper {
    fn is_alone(&self) -> bool {
        process::is_orphan_of(self.master)
    }

    /// Looks after the command, and after what it leaves behind if it was told to stop.
    fn watch(&mut self, warn: &mut dyn FnMut(Error)) -> io::Result<End> {
        let end = loop {
            let arrival = signal::wait(Set::ALL)?;
            if self.is_alone() {
                put_down(Some(self.command));
                return Ok(End::Killed(number::KILL));
            }
            if arrival.signal == number::CHLD {
                bury_others(self.command);
            }
            if let News::Ended(end) = self.relay.take(arrival, warn)? {
                break end;
            }
        };
        if let Some(signal) = told_to_stop(&self.relay, end) {
            self.stop_what_is_left(signal)?;
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
    fn stop_what_is_left(&self, stop: i32) -> io::Result<()> {
        let mut told = BTreeSet::new();
        let mut signal = stop;
        let mut by_key = self.relay.was_shared(stop);
        loop {
            bury_all();
            let mut left = children();
            left.retain(|child| {
                is_of_the_job(*child, Some(self.command)) && !ignores(*child, stop)
            });
            let Some(first) = left.first().copied() else {
                return Ok(());
            };
            told.retain(|pid| left.iter().any(|child| child.as_raw_nonzero() == *pid));
            for child in left {
                if told.insert(child.as_raw_nonzero()) && !(by_key && has_keys(signal, child)) {
                    // In vain if it runs with other rights; then it is waited for.
                    let _ = signal::send(child, signal);
                    if may_be_stopped(child) {
                        let _ = signal::send(child, number::CONT);
                    }
                }
            }
            let arrival = signal::wait(Set::ALL)?;
            if self.is_alone() {
                put_down(Some(self.command));
                return Ok(());
            }
            if REQUESTS.contains(&arrival.signal) {
                signal = arrival.signal;
                by_key = arrival.origin == Origin::Kernel;
                told.clear();
            }
            if arrival.signal == number::TSTP && arrival.origin == Origin::Kernel {
                forward::stop(number::TSTP, first, || {
                    Ok(self.is_alone() || process::ended_child().is_some())
                })?;
            }
        }
    }
}

/// The signal by which the command was told to stop, if it was. It died of it, or says so with its status; but a
/// `SIGTERM` means it whatever the command made of it. Ctrl-C in a command that goes on, and a `SIGHUP` to read a
/// configuration again, do not.
fn told_to_stop(relay: &Relay, end: End) -> Option<i32> {
    let died_of =
        |signal: i32| end == End::Killed(signal) || end == End::Exited(128 + signal as u8);
    REQUESTS
        .into_iter()
        .find(|signal| relay.was_sent(*signal) && (died_of(*signal) || *signal == number::TERM))
}

/// Whether a process gets this signal when it is typed at our terminal, as we do.
fn has_keys(signal: i32, pid: Pid) -> bool {
    matches!(signal, number::INT | number::QUIT)
        && process::group_of(Some(pid)) == process::group_of(None)
}

/// Kills the command, if it has not been waited for, and everything that is left behind, and waits until it is gone: what
/// that leaves behind in turn is ours by then. Not daemons: what had been left behind before in a session of its own. What
/// has a living parent in the job is part of the job, whatever its session (`su -c` makes one).
///
/// A keeper among them belongs to a program with a lock of its own, which was killed: it does this very thing, and its
/// lock lasts until it has. So it is waited for, and woken if it is stopped. A command that is not yet one, because it has
/// still to be executed, looks like a keeper, but is none.
fn put_down(command: Option<Pid>) {
    let mut daemons = children();
    daemons.retain(|child| Some(*child) != command && !is_of_the_job(*child, command));
    loop {
        let command = command.filter(|pid| process::is_child(*pid));
        let mut left = children();
        left.retain(|child| Some(*child) != command && !daemons.contains(child));
        if left.is_empty() && command.is_none() {
            return;
        }
        for child in &left {
            let signal = if is_called(*child, NAME) {
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
fn bury_others(command: Pid) {
    while let Some(ended) = process::ended_child().filter(|ended| *ended != command) {
        let _ = rustix::process::waitpid(Some(ended), WaitOptions::NOHANG);
    }
}

fn bury_all() {
    while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_keeper_tells_arrives() {
        for outcome in [
            Outcome::Ended(End::Exited(0)),
            Outcome::Ended(End::Exited(255)),
            Outcome::Ended(End::Killed(15)),
            Outcome::NotForked(11),
            Outcome::NotExecuted(2),
            Outcome::Lost(0),
        ] {
            assert_eq!(Outcome::decode(outcome.encode()), Some(outcome));
        }
        assert_eq!(Outcome::decode(0), None);
    }
}
