//! A lock in PostgreSQL (`remote/src/postgres`): one process after the other holds it, whatever is
//! lost or late between them and the server, and whichever sessions end.
//!
//! A step of the server is a statement, or the half of one that reads something else: what a
//! transaction inserts is seen by others after its end; the rows are read before the locks. Time
//! passes in ticks, at any moment. The clock of a process that counts the time of a vanished holder
//! may be faster by a tick in the time to live. A statement may be carried out after it was given up,
//! its answer may be lost; a session may be terminated, all of them by a restart; a process may be
//! killed. The server may notice the end of a connection at any time after it. A waiter may be
//! stopped and continued: its process goes on, and writes that to its row.
//!
//! Left out: processes that do not wait; shared locks and slots, which are a function of the rows and
//! have tests of their own; several clocks, each of which counts for itself; a server that loses
//! rows; and what the lease demands of the command, which is in the model of the lease. A process
//! does one thing at a time about rows of vanished processes, and has another number only when
//! nothing is left of the one before. A process reads its row before it writes to it, in the same
//! step, and what it reads while it is stopped does not matter.

mod message;
mod rows;
mod server;
mod state;
mod steps;

use crate::graph::{Always, Graph};
use crate::trace;

pub use message::MAX;
pub use state::{Place, State};

/// The server and the network.
pub const SERVER: u8 = MAX as u8;

/// What is modelled.
#[derive(Clone, Copy, Debug)]
pub struct Postgres {
    /// The number of processes.
    pub processes: u8,
    /// The time to live, in ticks: a multiple of three.
    pub ttl: i8,
    /// How often a statement is given up, a session is terminated, or a process is killed.
    pub faults: u8,
    /// How often a waiter is stopped.
    pub stops: u8,
    /// Whether no time passes, and a process whose row was deleted does not arrive again.
    pub is_brief: bool,
    /// Whether the only fault is that a session is terminated.
    pub is_reachable: bool,
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
    /// The row of a vanished holder is deleted at once.
    DeleteAtOnce,
    /// A row is deleted although its marker has changed.
    IgnoreMarker,
    /// A row is deleted although the lock was granted meanwhile.
    IgnoreGrant,
    /// The time of a vanished holder is noted although its marker has changed.
    NoteAnyMarker,
    /// A process that connects again leaves the time at which it was seen to have vanished.
    KeepSighting,
    /// A row gets its token without the lock of the name.
    TokenUnlocked,
    /// A renewal does not require the marker.
    RenewAnyMarker,
    /// A lease lasts for the time to live from an answer on.
    CountFromAnswer,
    /// That the lock is granted is not stored before the command starts.
    GrantUnstored,
    /// A process waits for a notification after it has asked for it, and does not read in between.
    WaitUnread,
    /// A process that exits leaves its row.
    NoRelease,
    /// A process moves rows behind its own although they have changed since they were read.
    MoveRunning,
    /// A process that is continued does not take its mark back.
    KeepMark,
    /// A late mark counts although its process has another session.
    TrustLateMark,
    /// A process that was moved takes the rows up to its old place for all.
    TrustPart,
    /// A process that is stopped does not say so in its row.
    NoMark,
}

impl Postgres {
    /// The properties of every state.
    pub const ALWAYS: [Always<State>; 2] = [
        ("at most one process holds the lock", |state| {
            (0..MAX).filter(|process| state.is_inside(*process)).count() < 2
        }),
        ("no token is lower than that of the holder", |state| {
            (0..MAX).all(|process| !state.is_inside(process) || state.is_first(process))
        }),
    ];

    /// If nothing is lost.
    pub const TIDY: [Always<State>; 1] =
        [("a process that has exited leaves no row behind", |state| {
            !(0..MAX).any(|process| state.has_left_row(process))
        })];

    /// Returns the correct program.
    pub fn new(processes: u8, ttl: i8, faults: u8) -> Self {
        Self {
            processes,
            ttl,
            faults,
            stops: 0,
            is_brief: false,
            is_reachable: false,
            is_exchangeable: false,
            mutant: Mutant::Correct,
        }
    }

    /// Checks that a process can send these statements, whatever is answered.
    ///
    /// # Errors
    ///
    /// The number of statements that it can send.
    pub fn explain(&self, statements: &[(&str, &str)]) -> Result<(), usize> {
        let hidden = ["", "answer", "exit", "SIGTSTP", "SIGCONT"];
        let is_statement = |step: &str| !hidden.contains(&step);
        trace::explain_visible(self, |_| 0, statements, is_statement)
    }

    /// Returns the state diagram of a process.
    pub fn diagram(graph: &Graph<'_, Self>) -> String {
        trace::diagram(graph, |state| format!("{:?}", state.place(0)))
    }
}
