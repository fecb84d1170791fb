//! Slots (`src/lock/fair/slots.rs`): at most N holders, counted and taken under the flock(2) lock.
//!
//! Each process has a limit of its own. A process that arrives counts at once; if there is no slot
//! for it, it waits for a holder to exit and counts again. The command inherits the slot. Every
//! process arrives again when it is done. A process that is stopped makes no step, which needs no
//! state of its own.
//!
//! Left out: the queue of the waiters, which is a [model of its own](crate), and counts that
//! take longer than the lock is held; a count is then repeated without the lock, which is modelled
//! ([`SlotsModel::is_late`]), but one call finds all slots here.

mod steps;

use crate::graph::{Always, Graph};
use crate::kernel::{Descriptions, Lock};
use crate::trace;

/// The greatest number of processes.
pub const MAX: usize = 4;

/// What is modelled.
#[derive(Clone, Copy, Debug)]
pub struct SlotsModel {
    /// The limits of the processes: the number of slots that each of them counts with.
    pub limits: &'static [u8],
    /// Whether counting takes too long for the flock(2) lock, so that it goes on without.
    pub is_late: bool,
    /// Whether no process is killed or gives up, and no command leaves a process behind.
    pub is_tidy: bool,
    /// What is wrong with the program.
    pub mutant: Mutant,
}

/// An error in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// None.
    Correct,
    /// Slots are counted without the flock(2) lock.
    CountWithoutLock,
    /// The flock(2) lock is released before the slot is taken.
    UnlockBeforeTaking,
    /// A late count does not count again once the slot is taken.
    NoRecount,
    /// The slots are not looked at again after the pidfds have been opened.
    NoSecondLook,
}

/// How far a process is: the call that it makes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// It has not started, or has exited.
    Idle,
    /// Locks the file to count the slots.
    Lock,
    /// Counts the slots.
    Count,
    /// Takes a slot.
    Take,
    /// Releases the lock with a slot.
    Unlock,
    /// Counts again without the lock.
    Recount,
    /// Gives the slot back.
    GiveBack,
    /// Starts the command. It holds a slot.
    Start,
    /// Waits for the command.
    Wait,
    /// Releases the lock without a slot.
    UnlockFull,
    /// Opens a pidfd of each holder.
    Watch,
    /// Looks at the slots again.
    LookAgain,
    /// Sleeps until a holder exits.
    Sleep,
    /// Exits.
    Exit,
}

/// A state. The command of process `p` is process `MAX + p`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// How far each process is.
    pub places: [Place; MAX],
    /// The commands that run, one bit each.
    pub commands: u8,
    files: Descriptions<MAX>,
    /// The slots that each process has counted, one bit each; then those that it watches.
    counted: [u8; MAX],
    /// Of those, the processes that had exited, or had passed the slot on, when they were looked up.
    gone: [u8; MAX],
    /// Of those, the processes that have exited since.
    exited: [u8; MAX],
    /// The waiters that would see that a slot which they have counted was released, one bit each.
    changed: u8,
    /// The processes that have joined the queue, one bit each.
    queued: u8,
    /// A process has taken a slot beyond its limit.
    is_overfull: bool,
}

impl State {
    /// The processes that have a slot, or whose commands have.
    pub fn holders(&self) -> u8 {
        let mut holders = self.commands;
        for (process, place) in self.places.iter().enumerate() {
            if matches!(place, Place::Start | Place::Wait) {
                holders |= 1 << process;
            }
        }
        holders
    }

    fn slots_of_others(&self, process: usize) -> u8 {
        self.files.bytes_of_others(process) as u8
    }

    /// Whether a waiter depends on the steps of a process: on its own, on those of the process that
    /// counts, and on those of holders.
    pub fn depends_on(&self, waiter: u8, process: u8) -> bool {
        let is_user = |bytes: u16, lock| bytes != 0 || lock != Lock::None;
        let mut used = self
            .files
            .0
            .iter()
            .filter(|file| is_user(file.bytes, file.lock));
        process == waiter || used.any(|file| file.users & 1 << process != 0)
    }

    /// Whether a process waits for a slot.
    pub fn is_waiter(&self, process: usize) -> bool {
        let place = self.places[process];
        !matches!(
            place,
            Place::Idle | Place::Start | Place::Wait | Place::Exit
        )
    }

    /// Whether a process has just got a slot.
    pub fn is_holder(&self, process: usize) -> bool {
        self.places[process] == Place::Start
    }

    /// Whether a file is open, or a slot held, although no process runs.
    pub fn is_littered(&self) -> bool {
        let is_over = self.places == [Place::Idle; MAX] && self.commands == 0;
        is_over && self.files != Descriptions::default()
    }

    /// A slot is released, which the processes that have counted it may notice.
    fn release(&mut self, holder: usize) {
        for watcher in 0..MAX {
            if self.counted[watcher] & 1 << holder != 0 {
                self.changed |= 1 << watcher;
            }
        }
    }

    fn forget(&mut self, waiter: usize) {
        (self.counted[waiter], self.gone[waiter], self.exited[waiter]) = (0, 0, 0);
        self.changed &= !(1 << waiter);
    }

    fn exit(&mut self, process: u8) {
        let index = usize::from(process) % MAX;
        self.files.exit(process);
        if self.files.0[index].users == 0 {
            self.release(index);
        }
        if usize::from(process) < MAX {
            self.places[index] = Place::Idle;
            self.queued &= !(1 << index);
            self.forget(index);
            for watcher in 0..MAX {
                if matches!(self.places[watcher], Place::LookAgain | Place::Sleep) {
                    self.exited[watcher] |= self.counted[watcher] & 1 << index;
                }
            }
        } else {
            self.commands &= !(1 << index);
        }
    }
}

impl SlotsModel {
    /// The properties of every state. No limit is greater than 2.
    pub const ALWAYS: [Always<State>; 2] = [
        ("no more than two processes hold a slot", |state| {
            state.holders().count_ones() <= 2
        }),
        ("no process takes a slot beyond its own limit", |state| {
            !state.is_overfull
        }),
    ];

    /// Returns the correct program.
    pub fn new(limits: &'static [u8]) -> Self {
        Self {
            limits,
            is_late: false,
            is_tidy: false,
            mutant: Mutant::Correct,
        }
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
