//! A lock elsewhere that is tied to a descriptor of a script (`src/handle`,
//! `docs/design/remote.md`): the processes that have the descriptor are dead before another machine
//! may be granted the lock, and it is released when no process has the descriptor any more, whatever
//! happens to the guards.
//!
//! Time passes in ticks, as in the model of the [lease](crate::lease), and only if no process of
//! ours that runs has anything to do. The helper, the network and the server take any time, and
//! other machines wait for the lock all the time. The script and its child are killed, exit or close
//! the descriptor at any time, and ignore `SIGTERM`.
//!
//! Left out: the wait for the lock, what fails for lack of memory or processes, the interval after
//! which a guard is started again or processes are killed again, and the exit of a process that was
//! killed, which takes a moment.

mod guards;
mod state;
mod steps;

use crate::graph::{Always, Graph};
use crate::trace;
pub use state::{
    CHILD, DEPUTY, FLOCK, HELPER, Place, SCRIPT, SERVER, State, TIMEKEEPER, UNLOCK, WATCHER,
};

/// What is modelled.
#[derive(Clone, Copy, Debug)]
pub struct Handle {
    /// How often a process other than the script and its child is killed or stopped.
    pub faults: u8,
    /// The processes that may be, one bit each.
    pub victims: u8,
    /// Whether the system may lose the lock before its time is over.
    pub is_lost: bool,
    /// What is wrong with the program.
    pub mutant: Mutant,
}

/// An error in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// None.
    Correct,
    /// The guards say that they have started before they have looked at the clock.
    TellUnchecked,
    /// The descriptor is marked when the guards have started.
    MarkLate,
    /// A line of the helper is taken from the socket before what it says is stored.
    TakeBeforeStore,
    /// The deputy exits when the timekeeper has exited.
    NoSuccessor,
    /// The end of the watcher means that the mark has gone.
    TrustWatcher,
    /// The timekeeper exits without waiting for the helper's answer.
    NoAnswer,
    /// The deputy does not look at the clock.
    NoSecondClock,
    /// The processes are killed once.
    KillOnce,
    /// The watcher does not continue the timekeeper.
    LeaveTimekeeper,
    /// The timekeeper does not kill the deputy in the end.
    LeaveDeputy,
    /// It kills the deputy before it has the lock released.
    KillDeputyFirst,
}

impl Handle {
    /// The properties of every state.
    pub const ALWAYS: [Always<State>; 3] = [EXCLUSION, STOPPED_AFTER_LOSS, UNLOCKED];

    /// Returns the correct program.
    pub fn new(faults: u8) -> Self {
        Self {
            faults,
            victims: u8::MAX,
            is_lost: false,
            mutant: Mutant::Correct,
        }
    }

    /// Checks that a process can make these system calls, with these results.
    ///
    /// # Errors
    ///
    /// The number of calls that it can make.
    pub fn explain(&self, process: u8, calls: &[(&str, &str)]) -> Result<(), usize> {
        let takeover = calls.iter().position(|call| *call == ("poll", "end"));
        // Then the deputy becomes the timekeeper.
        let process_at = |index| match takeover {
            Some(takeover) if process == DEPUTY && index > takeover => TIMEKEEPER,
            _ => process,
        };
        trace::explain_visible(self, process_at, calls, trace::is_visible)
    }

    /// Returns the state diagram of the timekeeper.
    pub fn diagram(graph: &Graph<'_, Self>) -> String {
        trace::diagram_of(graph, TIMEKEEPER, |state| {
            format!("{:?}", state.place(TIMEKEEPER))
        })
    }
}

const EXCLUSION: Always<State> = (
    "no process works with the descriptor when another machine may be granted the lock",
    |state| !state.is_overlapping(),
);

const STOPPED_AFTER_LOSS: Always<State> = (
    "when the lock was reported to be lost, the processes are stopped within the grace period",
    |state| !state.is_stop_overdue() || state.was_stopped != 0,
);

const UNLOCKED: Always<State> = (
    "`flock -u` returns when the lock was released, or its time is over",
    |state| !state.has_returned_early() || (state.killed | state.was_stopped) & 1 << HELPER != 0,
);
