//! A lock in etcd (`remote/src/etcd`): one process after the other holds it, whatever is lost or late
//! between them and the servers.
//!
//! Time passes in ticks, at any moment. A process knows how much of its lease is left since the last
//! answered request was sent. The servers' clock may be faster by a tick in the time to live. They
//! revoke an expired lease within a third of the time to live, and answer renewals until then. After
//! an election, all leases last for the whole time to live again, and a renewal may be answered as if
//! the lease did not exist. A request may be lost, or carried out after it was given up; an answer
//! may be lost; a process may be killed. A watch reports a deletion at any time after it.
//!
//! Left out: that a process which does not wait repeats no request; shared locks and slots, which are
//! a function of the keys and have tests of their own; watches that end early; and what the lease
//! demands of the command, which is in the model of the lease.

mod keys;
mod server;
mod state;
mod steps;

use crate::graph::{Always, Graph};
use crate::trace;

use state::MARGIN;
pub use state::{MAX, State};

/// The network and the servers.
pub const SERVER: u8 = MAX as u8;

/// What is modelled.
#[derive(Clone, Copy, Debug)]
pub struct Etcd {
    /// The number of processes.
    pub processes: u8,
    /// The time to live, in ticks: a multiple of three.
    pub ttl: i8,
    /// How often a message is lost or late, a leader is elected, or a process is killed.
    pub faults: u8,
    /// How often a waiter is stopped.
    pub stops: u8,
    /// The processes that do not wait, one bit each.
    pub nonblocking: u8,
    /// Whether states are one if they differ only in the numbers of the first two processes.
    pub is_exchangeable: bool,
    /// What is wrong with the program.
    pub mutant: Mutant,
}

/// An error in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// None.
    Correct,
    /// A lease lasts for the time to live from an answer on.
    CountFromAnswer,
    /// A renewal that was answered after the end of the lease counts.
    TrustLateAnswer,
    /// The lease is renewed again at once if a renewal was answered after its end.
    ClearDoubt,
    /// A process whose key has vanished holds the lock if there is no other key.
    HoldWithoutKey,
    /// The lock is lost if a renewal is answered as if the lease did not exist.
    TrustUnknown,
    /// A watch begins when it is opened, not after the keys were listed.
    WatchFromOpening,
    /// A process holds the lock when the last key before its own is deleted, whatever is left of its
    /// own lease.
    TrustDeletion,
    /// A process moves keys behind its own without the condition that they are of stopped processes.
    MoveRunning,
    /// A process that is continued does not take its mark back.
    KeepMark,
    /// A late mark counts although the key was written since.
    TrustLateMark,
    /// A process that exits does not revoke its lease.
    NoRevocation,
    /// A process holds the lock although there is a key before its own.
    AnyKeyBefore,
    /// A process that does not wait creates its key although another one was created meanwhile.
    EnterAtOnce,
}

impl Etcd {
    /// The properties of every state.
    pub const ALWAYS: [Always<State>; 2] = [
        ("at most one process holds the lock", |state| {
            (0..MAX).filter(|process| state.is_inside(*process)).count() < 2
        }),
        (
            "the lock is reported lost only if it is, or an answer was late",
            |state| !state.has_false_alarm(),
        ),
    ];

    /// If nothing is lost.
    pub const UNQUEUED: [Always<State>; 1] = [(
        "a process that does not wait stands before no other",
        |state| !(0..MAX).any(|process| state.is_queued_in_vain(process)),
    )];

    /// If nothing is lost.
    pub const TIDY: [Always<State>; 1] =
        [("a process that has exited leaves no key behind", |state| {
            !(0..MAX).any(|process| state.has_left_key(process))
        })];

    /// Returns the correct program.
    pub fn new(processes: u8, ttl: i8, faults: u8) -> Self {
        Self {
            processes,
            ttl,
            faults,
            stops: 0,
            nonblocking: 0,
            is_exchangeable: false,
            mutant: Mutant::Correct,
        }
    }

    /// Checks that a process can send these requests and hear these answers: neither its choices nor
    /// its time are seen.
    ///
    /// # Errors
    ///
    /// The number of them that are possible.
    pub fn explain(&self, calls: &[(&str, &str)]) -> Result<(), usize> {
        let hidden = ["", "random", "poll", "flock exits", "SIGTSTP", "SIGCONT"];
        trace::explain_visible(self, |_| 0, calls, |call| !hidden.contains(&call))
    }

    /// Returns the state diagram of a process.
    pub fn diagram(graph: &Graph<'_, Self>) -> String {
        trace::diagram(graph, |state| format!("{:?}", state.place(0)))
    }
}
