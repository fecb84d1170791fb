//! LOCK of `ulock` (`historic/src/hard_link`): it is locked by existing, and a stale one is taken
//! over by an exchange of names or, over NFS, by a rename.
//!
//! Every process arrives again when it is done. A LOCK whose owner is dead becomes stale at any time
//! after that; one whose owner is alive, only if owners may hold it for too long. A process that
//! is stopped makes no step, which needs no state of its own.
//!
//! Left out: readers and writers, how the age is measured, the confirmation by a holder, lost
//! replies of NFS, and file systems on which an exchange does not count as a change. A contender
//! that has opened LOCK and one that has checked its age are the same.

use crate::graph::{Always, Graph, Kind, Model, Places, Step};
use crate::kernel::{call, chance};
use crate::trace;

/// The greatest number of processes.
pub const MAX: usize = 4;

/// What is modelled.
#[derive(Clone, Copy, Debug)]
pub struct HardLink {
    /// The number of processes.
    pub processes: u8,
    /// How a stale LOCK is taken over.
    pub takeover: Takeover,
    /// Whether owners may be alive beyond the maximum age.
    pub late_owners: bool,
    /// What is wrong with the program.
    pub mutant: Mutant,
}

/// How a stale LOCK is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// The names are exchanged.
    Exchange,
    /// LOCK is renamed, under a flock(2) lock on the stale file.
    Rename,
}

/// An error in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// None.
    Correct,
    /// The file that was exchanged is not looked at.
    NoCheck,
    /// A contender that was too late removes LOCK, too.
    UnlinkIfLost,
    /// A stale LOCK is removed by its name and created again.
    UnlinkByName,
    /// The contender does not check once more, with the flock(2) lock, that LOCK is stale.
    NoSecondCheck,
}

/// How far a process is: the call that it makes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// It has not started, or has exited.
    Idle,
    /// Creates LOCK.
    Link,
    /// Opens the LOCK of another process, and checks its age.
    Open,
    /// Waits until LOCK changes or becomes stale.
    Sleep,
    /// Creates a file, and exchanges it for the stale LOCK.
    Exchange,
    /// Looks which file it got.
    CheckExchanged,
    /// Removes it.
    UnlinkExchanged,
    /// Locks the stale file with flock(2).
    Lock,
    /// Looks whether it is still LOCK.
    CheckAgain,
    /// Moves it to a temporary name.
    Rename,
    /// Looks which file it got.
    CheckRenamed,
    /// Gives another file its name back.
    LinkBack,
    /// Removes the file that it got.
    UnlinkRenamed,
    /// Runs the script. It holds LOCK.
    Hold,
    /// Exits, if LOCK was not its own any more.
    Exit,
}

/// A state. Files are numbered from 1; 0 means no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    places: [Place; MAX],
    /// The file that is LOCK.
    lock: u8,
    /// The process that has LOCK; `MAX` if it is dead.
    owner: u8,
    /// Whether LOCK is stale.
    is_stale: bool,
    /// The stale file that each contender has opened.
    opened: [u8; MAX],
    /// The file that each contender has got, whose lock it was, and whether it was stale.
    taken: [(u8, u8, bool); MAX],
    /// The stale files that are locked with flock(2), by contender.
    flocked: [u8; MAX],
}

const DEAD: u8 = MAX as u8;

impl State {
    /// The number of processes that hold LOCK.
    pub fn holders(&self) -> usize {
        self.places
            .iter()
            .filter(|place| **place == Place::Hold)
            .count()
    }

    /// Whether a process has just got LOCK.
    pub fn is_holder(&self, process: usize) -> bool {
        self.places[process] == Place::Hold
    }

    /// Whether a process waits, while LOCK is free or its owner is dead.
    pub fn is_unopposed(&self, process: usize) -> bool {
        let place = self.places[process];
        let is_dead = self.lock == 0 || self.owner == DEAD && self.is_stale;
        let others = (0..MAX).filter(|other| *other != process);
        let mut idle = others.map(|other| self.places[other] == Place::Idle);
        matches!(place, Place::Link | Place::Sleep) && is_dead && idle.all(|is_idle| is_idle)
    }

    fn new_file(&self) -> u8 {
        let is_known = |file: &u8| {
            *file == self.lock
                || self.opened.contains(file)
                || self.taken.iter().any(|(taken, ..)| taken == file)
        };
        (1..)
            .find(|file| !is_known(file))
            .expect("more than processes")
    }

    /// Numbers mean nothing, so they are given out again in the order of their use.
    fn renumber(&mut self) {
        let (mut numbers, mut count) = ([0; 3 * MAX + 2], 0);
        let taken = self.taken.iter_mut().map(|(file, ..)| file);
        let files = std::iter::once(&mut self.lock).chain(&mut self.opened);
        for file in files.chain(taken).chain(&mut self.flocked) {
            let number = &mut numbers[usize::from(*file)];
            if *file != 0 && *number == 0 {
                count += 1;
                *number = count;
            }
            *file = *number;
        }
    }

    fn forget(&mut self, process: usize) {
        (self.opened[process], self.flocked[process]) = (0, 0);
        self.taken[process] = (0, 0, false);
    }

    fn create(&mut self, process: u8) {
        (self.lock, self.owner, self.is_stale) = (self.new_file(), process, false);
    }

    fn unlink(&mut self) {
        (self.lock, self.owner, self.is_stale) = (0, 0, false);
    }

    fn take_over(&mut self, process: u8) {
        (self.owner, self.is_stale) = (process, false);
    }
}

impl Places for State {
    type Place = Place;

    fn set_place(&mut self, process: u8, place: Place) {
        self.places[usize::from(process)] = place;
    }
}

impl HardLink {
    /// The properties of every state.
    pub const ALWAYS: [Always<State>; 1] = [("at most one process holds LOCK", |state| {
        state.holders() <= 1
    })];

    /// Returns the correct program.
    pub fn new(processes: u8, takeover: Takeover) -> Self {
        Self {
            processes,
            takeover,
            late_owners: false,
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

    fn add_steps_of(&self, state: &State, process: u8, steps: &mut Vec<(Step, State)>) {
        let index = usize::from(process);
        let mut push = |step, place, change: &dyn Fn(&mut State)| {
            steps.push((step, state.after(process, place, change)));
        };
        let done = |name, result| call(process, name, result);
        let nothing = |_: &mut State| {};
        let forget = |next: &mut State| next.forget(index);
        let (taken, owner, was_stale) = state.taken[index];
        // It has the name of the file that it opened, and was not touched.
        let is_taken = taken == state.opened[index] && was_stale;
        match state.places[index] {
            Place::Idle => push(chance(process, ""), Place::Link, &nothing),
            Place::Link if state.lock == 0 => push(done("link", "ok"), Place::Hold, &|next| {
                next.create(process);
            }),
            Place::Link => push(done("link", "EEXIST"), Place::Open, &nothing),
            Place::Open if state.lock == 0 => push(done("open", "ENOENT"), Place::Link, &nothing),
            Place::Open if state.is_stale => {
                let first = match (self.mutant, self.takeover) {
                    (Mutant::UnlinkByName, _) => Place::UnlinkRenamed,
                    (_, Takeover::Exchange) => Place::Exchange,
                    (_, Takeover::Rename) => Place::Lock,
                };
                push(done("open", "stale"), first, &|next| {
                    next.opened[index] = next.lock
                });
            }
            Place::Open => {
                push(done("open", "fresh"), Place::Sleep, &nothing);
                // Once more after it has begun to watch LOCK.
                push(done("open", "fresh"), Place::Link, &nothing);
            }
            Place::Sleep => {
                let is_changed = state.lock == 0 || state.is_stale;
                let timer = Step {
                    kind: if is_changed {
                        Kind::Progress
                    } else {
                        Kind::Timer
                    },
                    ..done("poll", "")
                };
                push(timer, Place::Link, &nothing);
                push(chance(process, "poll"), Place::Exit, &nothing);
            }
            Place::Exchange if state.lock == 0 => {
                push(done("renameat2", "ENOENT"), Place::Link, &forget);
            }
            Place::Exchange => push(done("renameat2", "ok"), Place::CheckExchanged, &|next| {
                next.taken[index] = (next.lock, next.owner, next.is_stale);
                // Its own file is LOCK now, and fresh.
                (next.lock, next.is_stale) = (0, false);
                next.lock = next.new_file();
                if state.lock == state.opened[index] && state.is_stale {
                    next.owner = process;
                }
            }),
            Place::CheckExchanged if is_taken || self.mutant == Mutant::NoCheck => {
                push(done("lstat", "same"), Place::UnlinkExchanged, &|next| {
                    next.take_over(process);
                });
            }
            Place::CheckExchanged => push(done("lstat", "other"), Place::UnlinkExchanged, &nothing),
            Place::UnlinkExchanged => {
                let has_won = is_taken || self.mutant == Mutant::NoCheck;
                let then = if has_won { Place::Hold } else { Place::Link };
                push(done("unlink", ""), then, &|next| {
                    if !has_won && self.mutant == Mutant::UnlinkIfLost {
                        next.unlink();
                    }
                    next.forget(index);
                });
            }
            Place::Lock if state.flocked.contains(&state.opened[index]) => {
                push(done("flock(LOCK_NB)", "EAGAIN"), Place::Sleep, &forget);
            }
            Place::Lock => push(done("flock(LOCK_NB)", "ok"), Place::CheckAgain, &|next| {
                next.flocked[index] = next.opened[index];
            }),
            Place::CheckAgain => {
                let is_same = state.lock == state.opened[index] && state.is_stale;
                if is_same || self.mutant == Mutant::NoSecondCheck {
                    push(done("lstat", "same"), Place::Rename, &nothing);
                } else {
                    push(done("lstat", "other"), Place::Link, &forget);
                }
            }
            Place::Rename if state.lock == 0 => {
                push(done("rename", "ENOENT"), Place::Link, &forget);
            }
            Place::Rename => push(done("rename", "ok"), Place::CheckRenamed, &|next| {
                next.taken[index] = (next.lock, next.owner, next.is_stale);
                next.unlink();
            }),
            Place::CheckRenamed => {
                let then = if is_taken {
                    Place::UnlinkRenamed
                } else {
                    Place::LinkBack
                };
                push(
                    done("lstat", if is_taken { "same" } else { "other" }),
                    then,
                    &nothing,
                );
            }
            Place::LinkBack => {
                let result = if state.lock == 0 { "ok" } else { "EEXIST" };
                push(done("link", result), Place::UnlinkRenamed, &|next| {
                    if next.lock == 0 {
                        (next.lock, next.owner) = (taken, owner);
                    }
                });
            }
            Place::UnlinkRenamed => push(done("unlink", ""), Place::Link, &|next| {
                if self.mutant == Mutant::UnlinkByName {
                    next.unlink();
                }
                next.forget(index);
            }),
            // By name, whichever file it is by now, if it was not stale.
            Place::Hold => push(done("unlink", "ok"), Place::Exit, &|next| {
                if !state.is_stale || self.late_owners {
                    next.unlink();
                }
            }),
            Place::Exit => push(done("exit", ""), Place::Idle, &forget),
        }
    }
}

impl Model for HardLink {
    type State = State;

    fn initial(&self) -> State {
        State {
            places: [Place::Idle; MAX],
            lock: 0,
            owner: 0,
            is_stale: false,
            opened: [0; MAX],
            taken: [(0, 0, false); MAX],
            flocked: [0; MAX],
        }
    }

    fn steps(&self, state: &State, steps: &mut Vec<(Step, State)>) {
        for process in 0..self.processes {
            self.add_steps_of(state, process, steps);
            let index = usize::from(process);
            if state.places[index] != Place::Idle {
                let mut next = *state;
                next.places[index] = Place::Idle;
                next.forget(index);
                if next.lock != 0 && next.owner == process {
                    next.owner = DEAD;
                }
                for (taken, owner, _) in &mut next.taken {
                    if *taken != 0 && *owner == process {
                        *owner = DEAD;
                    }
                }
                steps.push((chance(process, "SIGKILL"), next));
            }
        }
        if state.lock != 0 && !state.is_stale && (state.owner == DEAD || self.late_owners) {
            let mut next = *state;
            next.is_stale = true;
            steps.push((chance(u8::MAX, "LOCK becomes stale"), next));
        }
        steps.iter_mut().for_each(|(_, next)| next.renumber());
    }
}
