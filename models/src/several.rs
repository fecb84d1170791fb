//! Locks on two files at once, `--also` (`src/lock/multi.rs`): all files are opened first, and
//! locked in the order of their inodes, whatever the paths are called with.
//!
//! Even processes name `a` before `b`, odd ones `b` before `a`; one may want only `b`. Every process
//! arrives again when it is done. Other programs rename new files to the paths, with any inode
//! number, and make them names of one file. A process that is stopped makes no step, which needs no
//! state of its own.
//!
//! A file that has both names is compared with both in one step.
//!
//! Left out: creating files and removing them, the command, which inherits the locks, and file
//! servers: see [the model of one lock file](crate::lock_file).

use crate::graph::{Always, Graph, Model, Places, Step};
use crate::kernel::{Descriptions, Lock, call, chance};
use crate::trace;

/// The greatest number of processes.
pub const MAX: usize = 4;

/// The paths `a` and `b`.
const PATHS: usize = 2;

/// What is modelled.
#[derive(Clone, Copy, Debug)]
pub struct Several {
    /// The number of processes.
    pub processes: u8,
    /// The number of the process that wants only `b`, if there is one.
    pub with_one_path: Option<u8>,
    /// The greatest inode number; with more than two, other programs replace the files.
    pub inodes: u8,
    /// What is wrong with the program.
    pub mutant: Mutant,
}

/// An error in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// None.
    Correct,
    /// The files are locked in the order in which they were named.
    OrderOfPaths,
    /// If a file was replaced, only that one is closed and opened again.
    KeepOtherLock,
    /// The files are not compared with the paths after they have been locked.
    NoComparison,
    /// A file that both paths lead to is compared with one of them.
    OneNameCompared,
}

/// How far a process is: the call that it makes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// It has not started, or has exited.
    Idle,
    /// Opens the file that is named first.
    OpenOne,
    /// Opens the other file.
    OpenOther,
    /// Compares a file with the path, so as not to wait for one that does not matter.
    Look,
    /// Tries to lock it.
    Try,
    /// Waits for the lock.
    Block,
    /// Compares it again.
    Compare,
    /// Closes all files, because one was replaced.
    Close,
    /// Starts the command. It holds all locks.
    Start,
    /// Exits.
    Exit,
}

/// A state. Process `p` opens `a` as description `2 * p`, and `b` as the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    places: [Place; MAX],
    /// How many files each process has locked and compared.
    locked: [u8; MAX],
    files: Descriptions<{ PATHS * MAX }>,
    /// The processes whose paths led to one file, one bit each.
    aliased: u8,
    /// The files that the paths lead to.
    names: [u8; PATHS],
    /// A file was replaced while it was locked.
    is_broken: bool,
}

impl State {
    /// Whether a process has just got all locks.
    pub fn is_holder(&self, process: usize) -> bool {
        self.places[process] == Place::Start
    }

    /// Whether a process waits for its locks.
    pub fn is_waiter(&self, process: usize) -> bool {
        !matches!(
            self.places[process],
            Place::Idle | Place::Start | Place::Exit
        )
    }

    /// Whether a waiter depends on the steps of a process: on its own, and on those of processes
    /// that hold a lock.
    pub fn depends_on(&self, waiter: u8, process: u8) -> bool {
        let mut locked = self.files.0.iter().filter(|file| file.lock != Lock::None);
        process == waiter || locked.any(|file| file.users & 1 << process != 0)
    }

    /// The number of processes that hold all their locks. Any two of them want one in common.
    pub fn holders(&self) -> usize {
        self.places
            .iter()
            .filter(|place| **place == Place::Start)
            .count()
    }

    /// Whether a file was replaced while it was locked.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Whether no process runs.
    pub fn is_over(&self) -> bool {
        self.places == [Place::Idle; MAX]
    }

    /// Whether no file is open.
    pub fn is_clean(&self) -> bool {
        self.files == Descriptions::default()
    }

    fn exit(&mut self, process: u8) {
        let index = usize::from(process);
        self.files.exit(process);
        self.places[index] = Place::Idle;
        self.locked[index] = 0;
        self.aliased &= !(1 << index);
        self.normalize();
    }

    fn normalize(&mut self) {
        if self.locked == [0; MAX] {
            self.is_broken = false;
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

impl Several {
    /// The properties of every state.
    pub const ALWAYS: [Always<State>; 1] = [(
        "two processes hold the same lock only if a file is replaced while it is locked",
        |state| state.is_broken || state.holders() <= 1,
    )];

    /// Returns the correct program.
    pub fn new(processes: u8, inodes: u8) -> Self {
        Self {
            processes,
            with_one_path: Some(1),
            inodes,
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
        trace::diagram(graph, |state| match state.places[0] {
            place @ (Place::Look | Place::Try | Place::Block | Place::Compare) => {
                format!("{place:?}{}", state.locked[0] + 1)
            }
            place => format!("{place:?}"),
        })
    }

    /// The paths that a process wants, in the order in which they are named.
    fn paths(&self, process: u8) -> &'static [usize] {
        match process {
            _ if self.with_one_path == Some(process) => &[1],
            _ if process.is_multiple_of(2) => &[0, 1],
            _ => &[1, 0],
        }
    }

    /// The paths of the files that a process has open, in the order in which it locks them.
    fn order(&self, state: &State, process: u8) -> Vec<usize> {
        let inode = |path: &usize| state.files.0[PATHS * usize::from(process) + path].inode;
        let mut order = Vec::from(self.paths(process));
        order.retain(|path| inode(path) != 0);
        if self.mutant != Mutant::OrderOfPaths {
            order.sort_by_key(inode);
        }
        order
    }

    fn add_steps_of(&self, state: &State, process: u8, steps: &mut Vec<(Step, State)>) {
        let index = usize::from(process);
        let (place, locked) = (state.places[index], usize::from(state.locked[index]));
        let mut push = |step, place, change: &dyn Fn(&mut State)| {
            steps.push((step, state.after(process, place, change)));
        };
        let paths = self.paths(process);
        let description = |path: usize| PATHS * index + path;
        let open = |next: &mut State, path: usize| {
            next.files
                .open(description(path), state.names[path], process);
        };
        let order = self.order(state, process);
        // The file whose turn it is.
        let path = order.get(locked).copied().unwrap_or(0);
        let file = description(path);
        let inode = state.files.0[file].inode;
        let is_aliased =
            state.aliased & 1 << process != 0 && self.mutant != Mutant::OneNameCompared;
        let is_same = inode == state.names[path] && (!is_aliased || inode == state.names[1 - path]);
        let replaced = |next: &mut State| {
            if self.mutant == Mutant::KeepOtherLock {
                next.files.close(file, process);
                open(next, path);
                next.places[index] = Place::Try;
            }
        };
        let lock = |next: &mut State| next.files.0[file].lock = Lock::Exclusive;
        let is_free = state.files.may_lock(file, Lock::Exclusive);
        let locked_one = |next: &mut State| {
            next.locked[index] += 1;
            let is_last = usize::from(next.locked[index]) == order.len();
            next.places[index] = if is_last { Place::Start } else { Place::Look };
        };
        let after_lock = Place::Compare;
        match place {
            Place::Idle => push(chance(process, ""), Place::OpenOne, &|_| {}),
            Place::OpenOne => {
                let is_only = paths.len() == 1;
                let then = if is_only {
                    Place::Look
                } else {
                    Place::OpenOther
                };
                push(call(process, "open", ""), then, &|next| {
                    open(next, paths[0])
                });
            }
            Place::OpenOther => push(call(process, "open", ""), Place::Look, &|next| {
                open(next, paths[1]);
                // Two names of one file are one lock.
                if next.files.0[description(0)].inode == next.files.0[description(1)].inode {
                    next.files.close(description(paths[1]), process);
                    next.aliased |= 1 << process;
                }
            }),
            Place::Look if is_same => push(call(process, "stat", "same"), Place::Try, &|_| {}),
            Place::Look => push(call(process, "stat", "other"), Place::Close, &replaced),
            Place::Try if is_free => push(call(process, "flock(LOCK_NB)", "ok"), after_lock, &lock),
            Place::Try => {
                let refused = call(process, "flock(LOCK_NB)", "EAGAIN");
                push(refused, Place::Block, &|_| {});
                push(refused, Place::Exit, &|_| {});
            }
            Place::Block => {
                if is_free {
                    push(call(process, "flock", "ok"), after_lock, &lock);
                }
                push(chance(process, "flock"), Place::Exit, &|_| {});
            }
            Place::Compare if is_same || self.mutant == Mutant::NoComparison => {
                push(call(process, "stat", "same"), Place::Look, &locked_one);
            }
            Place::Compare => push(call(process, "stat", "other"), Place::Close, &replaced),
            Place::Close => push(call(process, "close", ""), Place::OpenOne, &|next| {
                next.files.exit(process);
                next.locked[index] = 0;
                next.aliased &= !(1 << process);
            }),
            Place::Start => push(call(process, "clone", ""), Place::Exit, &|_| {}),
            Place::Exit => push(call(process, "exit", ""), Place::Idle, &|next| {
                next.exit(process)
            }),
        }
    }

    /// Other programs replace files.
    fn add_others(&self, state: &State, steps: &mut Vec<(Step, State)>) {
        if usize::from(self.inodes) == PATHS {
            return;
        }
        let mut rename = |call, path: usize, inode| {
            let mut next = *state;
            next.names[path] = inode;
            next.is_broken |= state.locked != [0; MAX];
            steps.push((chance(u8::MAX, call), next));
        };
        let is_known = |inode: &u8| state.names.contains(inode) || state.files.is_open(*inode);
        for inode in (1..=self.inodes).filter(|inode| !is_known(inode)) {
            rename("mv new a", 0, inode);
            rename("mv new b", 1, inode);
        }
        rename("ln -f a b", 1, state.names[0]);
    }
}

impl Model for Several {
    type State = State;

    fn initial(&self) -> State {
        State {
            places: [Place::Idle; MAX],
            locked: [0; MAX],
            files: Descriptions::default(),
            aliased: 0,
            names: [1, 2],
            is_broken: false,
        }
    }

    fn steps(&self, state: &State, steps: &mut Vec<(Step, State)>) {
        for process in 0..self.processes {
            self.add_steps_of(state, process, steps);
            if state.places[usize::from(process)] != Place::Idle {
                let mut next = *state;
                next.exit(process);
                steps.push((chance(process, "SIGKILL"), next));
            }
        }
        self.add_others(state, steps);
    }
}
