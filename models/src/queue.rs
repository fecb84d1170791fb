//! The fair queue (`src/lock/fair/queue.rs`): tickets, markers and sentinels order the processes
//! that ask for the flock(2) lock with `--fair`.
//!
//! Processes arrive again when they are done; each arrival is later than all before. PIDs are reused
//! as soon as possible. A sentinel that is killed is a zombie until its parent has replaced it, and
//! that of a killed process exits a moment later, before another process arrives.
//!
//! A marker may be forged: by a process that is visibly no waiter, or by one that cannot be looked at.
//!
//! Some of the processes may ask for the lock of one open file description, the descriptor 8 that a
//! shell has opened: see [`Queue::shared`].
//!
//! Left out: the command, which inherits the lock; requests for another lock than the descriptor has,
//! which replace it, as with flock(2); searches that end too early because of forged markers; and
//! where there are no pidfds.
//! A search for the nearest ticket is one step, and the check of its owner another. How long a timer
//! runs is not modelled: each may fire at once, or never.

mod state;
mod steps;
mod world;

use crate::graph::{Always, Graph};
use crate::kernel::Lock;
use crate::trace;

pub use state::{MAX, State};
use state::{PIDS, Place, SHELL, Sentinel};

/// What is modelled.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// What each process wants.
    pub clients: &'static [Client],
    /// Whether timers fire, so that a queue that has stalled is noticed.
    pub timers: bool,
    /// Whether processes are stopped and continued.
    pub stops: bool,
    /// Whether sentinels are killed.
    pub sentinels_die: bool,
    /// The processes that ask for the lock of descriptor 8 of a shell, one bit each. The shell keeps
    /// the lock that they get, until it releases or closes it. They all want the same lock.
    pub shared: u8,
    /// How often a process may arrive; otherwise, each arrives again when it is done.
    pub arrivals: Option<u8>,
    /// What is wrong with the program.
    pub mutant: Mutant,
}

/// What a process wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// `flock --fair`
    Writer,
    /// `flock --fair -s`
    Reader,
    /// `flock`
    Plain,
    /// A process that sets a marker, and is visibly not a waiter.
    Forger,
    /// A process that sets a marker, and cannot be looked at.
    Ghost,
}

/// An error in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// None.
    Correct,
    /// The lock is tried although others queue.
    Overtake,
    /// The ticket ends before the lock has been transferred.
    EndBeforeTransfer,
    /// The result of the transfer is not looked at.
    TransferUnchecked,
    /// The sentinel is killed before the marker is removed.
    SentinelFirst,
    /// The marker is not looked for again after the pidfd has been opened.
    NoSecondLook,
    /// A marker counts whatever the process is.
    TrustMarkers,
    /// The descriptor's lock is not tried again before the process blocks.
    BlockUntried,
    /// A process that is blocked does not look whether the descriptor has the lock.
    BlockUnlooked,
    /// The check of the queue does not look whether the descriptor has the lock.
    ProbeUnshared,
    /// A process whose time is over does not look whether the descriptor has the lock.
    TimeOutUnshared,
    /// A process that has seen that the descriptor has the lock does not expect it to be released.
    TrustLook,
    /// The first in the queue waits for the lock of the descriptor, not for that of its ticket.
    WaitOnDescriptor,
}

impl Queue {
    /// The properties of every state.
    pub const ALWAYS: [Always<State>; 1] = [("holders exclude each other", |state| {
        // The lock that a process believes to hold is that of its descriptor.
        let mut holders: Vec<_> = (0..MAX)
            .filter(|process| state.is_holder(*process))
            .map(|process| state.wanted(process))
            .chain(state.is_shell_holder.then(|| state.wanted_by_shell()))
            .collect();
        holders.sort_unstable();
        holders.dedup();
        let locks = || holders.iter().map(|holder| state.files.0[*holder].lock);
        let is_exclusive = locks().any(|lock| lock == Lock::Exclusive);
        locks().all(|lock| lock != Lock::None) && (!is_exclusive || holders.len() == 1)
    })];

    /// The order, if no timer fires and all queue.
    pub const IN_ORDER: [Always<State>; 2] = [
        Self::ALWAYS[0],
        (
            "no process overtakes one that queued when it arrived and was not stopped",
            |state| !state.is_overtaken,
        ),
    ];

    /// With a descriptor that is shared.
    pub const SHARED: [Always<State>; 2] = [
        Self::ALWAYS[0],
        (
            "no process is told that it has not got a lock that its descriptor has",
            |state| !state.is_misled(),
        ),
    ];

    /// Returns the correct program.
    pub fn new(clients: &'static [Client]) -> Self {
        Self {
            clients,
            timers: true,
            stops: true,
            sentinels_die: false,
            shared: 0,
            arrivals: None,
            mutant: Mutant::Correct,
        }
    }

    /// Whether the marker of a process can be seen to be forged.
    fn is_forged(&self, owner: usize) -> bool {
        let is_forger = self.clients.get(owner) == Some(&Client::Forger);
        is_forger && self.mutant != Mutant::TrustMarkers
    }

    fn any_waiting_before(&self, state: &State, process: usize) -> Option<usize> {
        let is_before = |owner: &usize| state.ranks[*owner] < state.ranks[process];
        let is_marked = |owner: &usize| state.marked & !state.stopped & 1 << owner != 0;
        let mut before = (0..MAX).filter(is_marked).filter(is_before);
        before.find(|owner| !self.is_forged(*owner))
    }

    /// Checks that a process can make these system calls, with these results.
    ///
    /// # Errors
    ///
    /// The number of calls that it can make.
    pub fn explain(&self, calls: &[(&str, &str)]) -> Result<(), usize> {
        trace::explain(self, calls)
    }

    /// Returns the state diagram of a process.
    pub fn diagram(graph: &Graph<'_, Self>) -> String {
        trace::diagram(graph, |state| format!("{:?}", state.places[0]))
    }
}
