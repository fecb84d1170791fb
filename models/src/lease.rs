//! The lease of a lock elsewhere (`src/run/lease`, `docs/design/remote.md`): the command's processes
//! are dead before another machine may be granted the lock, whatever happens to the processes that
//! watch over it.
//!
//! Time passes in ticks, and only if no process of ours that runs has anything to do: each gets a
//! processor within a tick. The helper, the network and the server take any time. The server's clock
//! is faster by at most a tick in the time to live. Requests and answers may be lost or late; the
//! helper sends a request when it has an answer to the last one or has given it up. A process that
//! is stopped may be continued at any time, or never.
//!
//! Left out: the warning before the grant, signals to the command, the terminal, processes with other
//! privileges, a pause of the whole machine, and the exit of a process that was killed, which takes a
//! moment. What the command leaves behind is one process.

mod processes;
mod steps;

use crate::graph::{Always, Graph};
use crate::trace;

/// What is modelled.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// How often a process is killed or stopped.
    pub faults: u8,
    /// What is wrong with the program.
    pub mutant: Mutant,
}

/// An error in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// None.
    Correct,
    /// A lease lasts for the time to live from the answer to a renewal on, not from its request.
    CountFromAnswer,
    /// The command is killed when the lease ends.
    NoMargin,
    /// The margin is as long as the clocks may differ, and no time is left for killing.
    MarginOfClocksOnly,
    /// The command is asked to stop, but not killed.
    NoKill,
    /// There is no timekeeper, and `flock` keeps the time.
    NoTimekeeper,
    /// `flock` does not look after the timekeeper.
    NoSecondClock,
    /// The command is started without another look at the clock and the order.
    StartUnchecked,
    /// `flock` does not kill what a killed supervisor leaves behind.
    NotAdopted,
    /// The supervisor releases the lock as soon as the command has exited.
    ReleaseBeforeRest,
    /// The supervisor releases the lock, but orders may still be given.
    NotMarked,
}

/// The processes.
pub const FLOCK: u8 = 0;
/// The parent of the command.
pub const SUPERVISOR: u8 = 1;
/// The process that reads the renewals.
pub const TIMEKEEPER: u8 = 2;
/// The process that renews the lock.
pub const HELPER: u8 = 3;
/// The command.
pub const COMMAND: u8 = 4;
/// A process that the command leaves behind.
pub const LEFT_BEHIND: u8 = 5;
/// The network and the server.
pub const SERVER: u8 = 6;

/// The time to live, in ticks.
const TTL: i8 = 5;
/// From here on, the command is asked to stop before it is killed.
const GRACE: i8 = 1;

/// How far a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// It has not started.
    Idle,
    /// It waits for the lock.
    Wait,
    /// It looks whether enough of the lease is left.
    Check,
    /// It starts the timekeeper.
    StartTimekeeper,
    /// It starts the supervisor, or the command.
    Start,
    /// It looks whether the command may still start.
    CheckOrder,
    /// It executes the command.
    Execute,
    /// It runs, and does what it is there for.
    Run,
    /// It waits for what the command has left behind.
    WaitForRest,
    /// It says how the command ended.
    Report,
    /// It ends the lease, unless there is an order.
    EndLease,
    /// It tells the helper to release the lock.
    Release,
    /// It kills what a killed supervisor has left behind.
    KillRest,
    /// It kills the timekeeper.
    KillTimekeeper,
    /// It exits.
    Exit,
    /// It has exited, or was killed.
    Exited,
}

/// What the supervisor is ordered to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Order {
    Run,
    Stop,
    Kill,
    /// Nothing, and no order has any effect from now on.
    Over,
}

/// What is on its way between the helper and the server. The number is what is left of the lease
/// that the helper will report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Message {
    None,
    Request(i8),
    Answer(i8),
    Refusal,
}

/// A state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    places: [Place; 6],
    /// The processes that are stopped, one bit each.
    stopped: u8,
    /// The processes that were killed, one bit each.
    pub killed: u8,
    /// The processes that were stopped at some time, one bit each.
    pub was_stopped: u8,
    faults: u8,
    /// Whether the lock was granted.
    is_granted: bool,
    /// What is left of the lease on the server; 0 if another machine may have the lock.
    on_server: i8,
    /// The server's clock has been faster.
    has_drifted: bool,
    message: Message,
    /// A line of the helper that was not read: what is left of the lease.
    line: Option<i8>,
    /// A line that says that the lock is lost.
    is_lost: bool,
    /// What is left of the lease, as `flock` and the timekeeper know.
    left: i8,
    /// When the timekeeper will kill the command that it has asked to stop.
    kill_in: Option<i8>,
    order: Order,
    obeyed: Order,
    /// Whether the timekeeper knows the supervisor's PID.
    is_supervisor_known: bool,
    /// A signal for the supervisor.
    is_woken: bool,
    /// The supervisor has said how the command ended.
    has_report: bool,
    /// The supervisor has told the helper to release the lock.
    is_released: bool,
}

impl State {
    fn place(&self, process: u8) -> Place {
        self.places[usize::from(process)]
    }

    fn is_alive(&self, process: u8) -> bool {
        !matches!(self.place(process), Place::Idle | Place::Exited)
    }

    fn may_run(&self, process: u8) -> bool {
        self.is_alive(process) && self.stopped & 1 << process == 0
    }

    /// Whether the command, or what it has left behind, runs.
    fn has_job(&self) -> bool {
        self.place(COMMAND) == Place::Run || self.is_alive(LEFT_BEHIND)
    }

    /// Whether there is an order, so that `flock` will report that the lock was lost.
    fn has_order(&self) -> bool {
        matches!(self.order, Order::Stop | Order::Kill)
    }

    /// Whether another machine may be granted the lock while the command runs.
    pub fn is_overlapping(&self) -> bool {
        self.is_granted && self.on_server == 0 && self.has_job()
    }

    /// Whether a process that is stopped has been granted the lock, and has not started the command.
    pub fn is_granted_to_stopped(&self) -> bool {
        self.on_server > 0 && self.stopped & 1 << FLOCK != 0 && self.place(FLOCK) == Place::Wait
    }

    /// Whether the lock was granted.
    pub fn is_granted(&self) -> bool {
        self.is_granted
    }

    /// Whether other machines may have the lock, and the command and what it left behind are dead.
    pub fn is_over(&self) -> bool {
        self.on_server == 0 && !self.has_job()
    }
}

impl Lease {
    /// The properties of every state.
    pub const ALWAYS: [Always<State>; 2] = [
        (
            "no process of the command runs when another machine may be granted the lock",
            |state| !state.is_overlapping(),
        ),
        (
            "a lock that is released because the command has exited does not count as lost",
            |state| !(state.is_released && state.has_order()),
        ),
    ];

    fn margin(&self) -> i8 {
        match self.mutant {
            Mutant::NoMargin => 0,
            Mutant::MarginOfClocksOnly => 1,
            _ => 2,
        }
    }

    /// Returns the correct program.
    pub fn new(faults: u8) -> Self {
        Self {
            faults,
            mutant: Mutant::Correct,
        }
    }

    /// Checks that a process can make these system calls, with these results.
    ///
    /// # Errors
    ///
    /// The number of calls that it can make.
    pub fn explain(&self, process: u8, calls: &[(&str, &str)]) -> Result<(), usize> {
        trace::explain_of(self, process, calls)
    }

    /// Returns the state diagram of the timekeeper: what it has ordered.
    pub fn diagram(graph: &Graph<'_, Self>) -> String {
        trace::diagram_of(graph, TIMEKEEPER, |state| {
            match (state.place(TIMEKEEPER), state.kill_in) {
                (Place::Run, None) => "Read".to_owned(),
                (Place::Run, Some(_)) => format!("{:?}", state.order),
                (place, _) => format!("{place:?}"),
            }
        })
    }
}
