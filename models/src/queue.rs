//! The fair queue (`src/lock/fair/queue.rs`): tickets, markers and sentinels order the processes
//! that ask for the flock(2) lock with `--fair`.
//!
//! Processes arrive again when they are done; each arrival is later than all before. PIDs are reused
//! as soon as possible. A sentinel that is killed is a zombie until its parent has replaced it, and
//! that of a killed process exits a moment later, before another process arrives.
//!
//! A marker may be forged: by a process that is visibly no waiter, or by one that cannot be looked at.
//!
//! Left out: the command, which inherits the lock; descriptors that are shared or locked already;
//! searches that end too early because of forged markers; and where there are no pidfds.
//! A search for the nearest ticket is one step, and the check of its owner another. How long a timer
//! runs is not modelled: each may fire at once, or never.

mod steps;

use crate::graph::{Always, Graph};
use crate::kernel::{Descriptions, Lock};
use crate::trace;

/// The greatest number of processes.
pub const MAX: usize = 3;

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
}

/// How far a process is: the call that it makes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// It has not started, or has exited.
    Idle,
    /// Looks whether any process queues.
    Look,
    /// Tries the lock.
    Try,
    /// Opens the file again, for the ticket.
    Reopen,
    /// Starts the sentinel.
    Sentinel,
    /// Sets the marker.
    Mark,
    /// Looks for the nearest earlier ticket.
    Search,
    /// Looks whether its owner can take its turn.
    Check,
    /// Opens a pidfd of its sentinel.
    Watch,
    /// Looks whether the ticket still exists.
    LookAgain,
    /// Sleeps until the sentinel exits.
    Sleep,
    /// Starts a new sentinel in place of one that was killed.
    Respawn,
    /// Tries the lock, which cannot be free while the first in the queue waits for it.
    Probe,
    /// Releases it.
    EndProbe,
    /// Looks whether the ticket still exists, and counts those before.
    Count,
    /// Passes a process that does not take its turn.
    Pass,
    /// Waits for the lock, as the first in the queue.
    Block,
    /// Looks for an earlier ticket again.
    SearchAgain,
    /// Releases the lock, for an earlier ticket.
    Yield,
    /// Transfers the lock from the ticket to the descriptor that it is wanted for.
    Release,
    /// Acquires it there.
    Acquire,
    /// Releases a shared lock of the ticket.
    ReleaseShared,
    /// Closes the file of the ticket, and with it the marker.
    EndTicket,
    /// Kills the sentinel.
    EndSentinel,
    /// Waits for the lock without the queue.
    Plain,
    /// Holds the lock, and exits at the end of the command.
    Hold,
    /// Exits without the lock.
    Exit,
    /// Has set a forged marker.
    Forge,
}

/// Sentinels that exist. PID 0 is not used.
const PIDS: usize = MAX + 2;

/// The life of a sentinel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Sentinel {
    /// The PID is free.
    #[default]
    None,
    Running,
    /// It was killed, and its parent has not reaped it.
    Zombie,
    /// Its parent has exited.
    Orphan,
}

/// A state. Process `p` wants the lock of description `p`; that of its ticket is `MAX + p`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    places: [Place; MAX],
    stopped: u8,
    /// How many processes have arrived, if that is limited.
    arrived: u8,
    files: Descriptions<{ 2 * MAX }>,
    /// The order of arrival, from 1.
    ranks: [u8; MAX],
    /// The sentinel of each process.
    pids: [u8; MAX],
    sentinels: [Sentinel; PIDS],
    /// The processes whose markers are set, one bit each.
    marked: u8,
    /// Tickets with this rank and later ones do not count in a search; 0 is the process's own.
    bounds: [u8; MAX],
    /// The ticket that a process waits for: the owner plus 1, and its sentinel.
    targets: [(u8, u8); MAX],
    /// The processes whose target is over, one bit each.
    gone: u8,
    /// The sentinel whose exit a process waits for; 0 if it cannot.
    watched: [u8; MAX],
    /// The processes whose watched sentinel has exited.
    woken: u8,
    /// The processes that have found the lock free.
    seen_free: u8,
    /// For each process, those that queued when it arrived, still do, and were never stopped.
    ahead: [u8; MAX],
    /// A process has overtaken one of those.
    is_overtaken: bool,
}

impl State {
    /// Whether a process has just got the lock.
    pub fn is_holder(&self, process: usize) -> bool {
        self.places[process] == Place::Hold
    }

    /// Whether a process waits.
    pub fn is_waiter(&self, process: usize) -> bool {
        let place = self.places[process];
        !matches!(
            place,
            Place::Idle | Place::Hold | Place::Exit | Place::Forge
        )
    }

    /// Whether a process is stopped.
    pub fn is_stopped(&self, process: usize) -> bool {
        self.stopped & 1 << process != 0
    }

    /// Whether a stopped process has a lock, so that no other may get it.
    pub fn is_lock_stopped(&self) -> bool {
        let mut locked = self.files.0.iter().filter(|file| file.lock != Lock::None);
        locked.any(|file| file.users & self.stopped != 0)
    }

    /// Whether a sentinel was killed and not replaced yet.
    pub fn has_zombie(&self) -> bool {
        self.sentinels.contains(&Sentinel::Zombie)
    }

    /// Whether no process runs.
    pub fn is_over(&self) -> bool {
        self.places == [Place::Idle; MAX] && !self.sentinels.contains(&Sentinel::Orphan)
    }

    /// Whether no lock, marker or sentinel is left.
    pub fn is_clean(&self) -> bool {
        self.files == Descriptions::default()
            && self.marked == 0
            && self.sentinels == [Sentinel::None; PIDS]
    }

    fn end_sentinel(&mut self, pid: u8, then: Sentinel) {
        self.sentinels[usize::from(pid)] = then;
        for waiter in 0..MAX {
            if pid != 0 && self.watched[waiter] == pid {
                self.woken |= 1 << waiter;
            }
        }
    }

    fn end_marker(&mut self, owner: usize) {
        if self.marked & 1 << owner == 0 {
            return;
        }
        self.marked &= !(1 << owner);
        for waiter in 0..MAX {
            if usize::from(self.targets[waiter].0) == owner + 1 {
                self.gone |= 1 << waiter;
            }
        }
    }

    /// A process does not wait any more.
    fn end_wait(&mut self, process: usize) {
        self.ahead[process] = 0;
        self.ahead
            .iter_mut()
            .for_each(|ahead| *ahead &= !(1 << process));
    }

    /// Forgets what a process has found out about the queue.
    fn forget(&mut self, process: usize) {
        let bit = !(1 << process);
        self.targets[process] = (0, 0);
        self.watched[process] = 0;
        self.gone &= bit;
        self.woken &= bit;
        self.seen_free &= bit;
        self.bounds[process] = 0;
    }

    fn start_sentinel(&mut self, process: usize) {
        let is_free = |pid: &usize| self.sentinels[*pid] == Sentinel::None;
        let pid = (1..PIDS).find(is_free).expect("more than processes");
        self.sentinels[pid] = Sentinel::Running;
        self.pids[process] = pid as u8;
    }

    fn exit(&mut self, process: u8) {
        let index = usize::from(process);
        self.end_marker(index);
        self.files.exit(process);
        self.places[index] = Place::Idle;
        self.forget(index);
        self.end_wait(index);
        self.stopped &= !(1 << process);
        let pid = std::mem::take(&mut self.pids[index]);
        match self.sentinels[usize::from(pid)] {
            Sentinel::Running => self.sentinels[usize::from(pid)] = Sentinel::Orphan,
            _ => self.sentinels[usize::from(pid)] = Sentinel::None,
        }
        let rank = std::mem::take(&mut self.ranks[index]);
        for later in self.ranks.iter_mut().chain(&mut self.bounds) {
            *later -= u8::from(*later > rank);
        }
    }

    fn nearest(&self, process: usize) -> Option<usize> {
        let bound = match self.bounds[process] {
            0 => self.ranks[process],
            bound => bound,
        };
        let earlier = |owner: &usize| {
            *owner != process && self.marked & 1 << owner != 0 && self.ranks[*owner] < bound
        };
        (0..MAX)
            .filter(earlier)
            .max_by_key(|owner| self.ranks[*owner])
    }
}

impl Queue {
    /// The properties of every state.
    pub const ALWAYS: [Always<State>; 1] = [("holders exclude each other", |state| {
        // The lock that a process believes to hold is that of its descriptor.
        let holders = (0..MAX).filter(|process| state.is_holder(*process));
        let locks = holders.map(|process| state.files.0[process].lock);
        let (mut number, mut writers, mut has_none) = (0, 0, false);
        for lock in locks {
            number += 1;
            writers += u32::from(lock == Lock::Exclusive);
            has_none |= lock == Lock::None;
        }
        !has_none && (writers == 0 || number == 1)
    })];

    /// The order, if no timer fires and all queue.
    pub const IN_ORDER: [Always<State>; 2] = [
        Self::ALWAYS[0],
        (
            "no process overtakes one that queued when it arrived and was not stopped",
            |state| !state.is_overtaken,
        ),
    ];

    /// Returns the correct program.
    pub fn new(clients: &'static [Client]) -> Self {
        Self {
            clients,
            timers: true,
            stops: true,
            sentinels_die: false,
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
