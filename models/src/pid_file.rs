//! The PID file of `runlock` (`historic/src/pid_file`): it is locked by existing, and the file of a
//! dead process is removed under the flock(2) lock that its owner held.
//!
//! Every process arrives again when it is done. If one is killed, its supervisor holds the lock for
//! some time, until the command has exited. PIDs are reused: the start time in the file tells the
//! processes apart.
//!
//! Left out: file servers, errors, files that name no process or one of another machine, and the
//! grace period, which may end at once. The original, Perl's LockFile::Simple, takes part if asked
//! to.

mod original;
mod steps;

use crate::graph::{Always, Graph, Model, Places, Step};
use crate::kernel::{Descriptions, call, chance};
use crate::trace;

/// The greatest number of processes.
pub const MAX: usize = 4;

/// What is modelled.
#[derive(Clone, Copy, Debug)]
pub struct PidFile {
    /// The number of processes.
    pub processes: u8,
    /// Whether the last of them is the original.
    pub with_original: bool,
    /// What is wrong with the program.
    pub mutant: Mutant,
}

/// An error in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// None.
    Correct,
    /// The file of a dead process is removed without the lock.
    NoLock,
    /// The locked file is not compared with the path.
    NoComparison,
    /// A file is removed if its owner is dead, although the supervisor holds the lock.
    IgnoreSupervisor,
}

/// How far a process is: the call that it makes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// It has not started, or has exited.
    Idle,
    /// Looks whether the file exists.
    Look,
    /// Opens it.
    Open,
    /// Tries to lock it.
    Try,
    /// Reads it, with the lock: whether its owner is alive.
    Read,
    /// Reads it, without the lock.
    ReadLocked,
    /// Waits for the supervisor of a dead owner.
    Block,
    /// Compares the locked file with the path.
    Compare,
    /// Moves the file of a dead owner to a temporary name.
    Move,
    /// Looks whether it is that file.
    CheckMoved,
    /// Gives another file its name back.
    MoveBack,
    /// Removes the moved file.
    UnlinkMoved,
    /// Closes the file of another process.
    Close,
    /// Creates a file without a name.
    Create,
    /// Locks it.
    Lock,
    /// Gives it the name.
    Link,
    /// Looks whether the file at the path is its own.
    Confirm,
    /// Runs the command. It holds the lock.
    Hold,
    /// As before, to remove the file.
    ConfirmAgain,
    /// Removes the file.
    Unlink,
    /// Exits.
    Exit,
}

/// What is in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Owner {
    /// The process has exited.
    #[default]
    Dead,
    /// This process.
    Process(u8),
}

/// The greatest inode number.
const INODES: usize = 2 * MAX + 1;

/// A state. Process `p` opens the file of another with description `p`, and its own with `MAX + p`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    places: [Place; MAX],
    /// Whether a supervisor has outlived its process, one bit each.
    supervisors: u8,
    files: Descriptions<{ 2 * MAX }>,
    /// The file at the path, and those at the temporary name of each process; 0 means no file.
    name: u8,
    moved: [u8; MAX],
    /// A process was killed while its temporary name existed. The name stays.
    pub is_littered: bool,
    owners: [Owner; INODES],
}

impl State {
    /// The number of processes that hold the lock, with those whose command still runs.
    pub fn holders(&self) -> u32 {
        let held =
            |place: &&Place| matches!(place, Place::Hold | Place::ConfirmAgain | Place::Unlink);
        self.places.iter().filter(held).count() as u32 + self.supervisors.count_ones()
    }

    /// Whether a process has just got the lock.
    pub fn is_holder(&self, process: usize) -> bool {
        self.places[process] == Place::Hold
    }

    /// Whether a process is about to find out that it is the only one.
    pub fn is_alone(&self, process: usize) -> bool {
        let is_idle = |other: usize| other == process || self.places[other] == Place::Idle;
        let is_early = matches!(self.places[process], Place::Look | Place::Create);
        is_early && self.supervisors == 0 && (0..MAX).all(is_idle)
    }

    /// Whether no process runs.
    pub fn is_over(&self) -> bool {
        self.places == [Place::Idle; MAX] && self.supervisors == 0
    }

    /// Whether all files are closed, and no process still has a temporary name.
    pub fn is_clean(&self) -> bool {
        self.files == Descriptions::default() && self.moved == [0; MAX]
    }

    fn is_known(&self, inode: u8) -> bool {
        inode == self.name || self.moved.contains(&inode) || self.files.is_open(inode)
    }

    fn create(&mut self, process: u8) {
        let inode = (1..)
            .find(|inode| !self.is_known(*inode))
            .expect("more than descriptions");
        self.files.open(MAX + usize::from(process), inode, process);
        self.owners[usize::from(inode)] = Owner::Process(process);
    }

    fn close(&mut self, file: usize, process: u8) {
        self.files.close(file, process);
        self.normalize();
    }

    /// The process exits; its supervisor may have the files open for longer.
    fn exit(&mut self, process: u8) {
        let index = usize::from(process);
        if self.supervisors & 1 << process == 0 {
            self.files.exit(process);
        } else {
            self.files.close(index, process);
        }
        self.places[index] = Place::Idle;
        self.is_littered |= std::mem::take(&mut self.moved[index]) != 0;
        for owner in &mut self.owners {
            if *owner == Owner::Process(process) {
                *owner = Owner::Dead;
            }
        }
        self.normalize();
    }

    fn normalize(&mut self) {
        for inode in 0..INODES {
            if inode == 0 || !self.is_known(inode as u8) {
                self.owners[inode] = Owner::Dead;
            }
        }
    }
}

impl Places for State {
    type Place = Place;

    fn set_place(&mut self, process: u8, place: Place) {
        self.places[usize::from(process)] = place;
    }

    fn forget_unused(&mut self) {
        self.normalize();
    }
}

impl PidFile {
    /// The properties of every state, without the original.
    pub const ALWAYS: [Always<State>; 1] = [("at most one process holds the lock", |state| {
        state.holders() <= 1
    })];

    /// Returns the correct program.
    pub fn new(processes: u8) -> Self {
        Self {
            processes,
            with_original: false,
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

impl Model for PidFile {
    type State = State;

    fn initial(&self) -> State {
        State {
            places: [Place::Idle; MAX],
            supervisors: 0,
            files: Descriptions::default(),
            name: 0,
            moved: [0; MAX],
            is_littered: false,
            owners: [Owner::Dead; INODES],
        }
    }

    fn steps(&self, state: &State, steps: &mut Vec<(Step, State)>) {
        for process in 0..self.processes {
            let is_original = self.with_original && process + 1 == self.processes;
            if is_original {
                self.add_steps_of_original(state, process, steps);
            } else {
                self.add_steps_of(state, process, steps);
            }
            let place = state.places[usize::from(process)];
            if place != Place::Idle {
                let mut next = *state;
                if place == Place::Hold && !is_original {
                    next.supervisors |= 1 << process;
                }
                next.exit(process);
                steps.push((chance(process, "SIGKILL"), next));
            }
            if state.supervisors & 1 << process != 0 {
                let mut next = *state;
                next.supervisors &= !(1 << process);
                next.files.exit(process);
                next.normalize();
                steps.push((call(process + MAX as u8, "exit", ""), next));
            }
        }
    }
}
