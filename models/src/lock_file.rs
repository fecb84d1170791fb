//! A lock file that is opened, locked and compared (`src/lock/file.rs`), and removed after use
//! (`src/lock/unlink.rs`), against programs that delete, replace and move it.
//!
//! Every process arrives again when it is done, so any number of calls is covered, of which a
//! limited number overlap. The command inherits the lock, outlives a `flock` that is killed, and may
//! leave a process behind. A process that is stopped makes no step, which needs no state of its own. On NFS, each process is on a machine of its own, which remembers what the
//! name led to.
//!
//! Left out: the wait for a lease, errors, the limits of `ReplacementCheck`, and the reopening for
//! writing that NFS requires. NFS clients do not remember here that a name does not exist, and each
//! open(2) may or may not ask the server.

use crate::graph::{Always, Graph, Kind, Model, Step};
use crate::kernel::{Descriptions, Lock, call, chance};
use crate::trace;

/// The greatest number of processes.
pub const MAX: usize = 4;

/// What is modelled.
#[derive(Clone, Copy, Debug)]
pub struct LockFile {
    /// The number of processes.
    pub processes: u8,
    /// Where the file is.
    pub file_system: FileSystem,
    /// What other programs, which ignore the lock, do with the file.
    pub others: Others,
    /// Whether all calls wait, and all have `--unlink`, and no process is killed or stopped.
    pub is_tidy: bool,
    /// What is wrong with the program.
    pub mutant: Mutant,
}

/// Where the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// On this machine.
    Local,
    /// On a server that counts the changes of a directory.
    Nfs4,
    /// On a server of which two changes in a short time look like one.
    Nfs3,
}

/// What other programs do with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Nothing.
    Nothing,
    /// They remove it, or rename another file to its name.
    Replace,
    /// They also give it another name.
    Move,
}

/// An error in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// None.
    Correct,
    /// The file is not compared with the path after it has been locked.
    NoComparison,
    /// The file is compared before it is locked.
    CompareBeforeLocking,
    /// The file is removed without the lock.
    UnlinkWithoutLock,
    /// The file is not compared with the path before it is removed.
    UnlinkWithoutComparison,
    /// The directory is not read again before the comparison (NFS).
    NoRefresh,
    /// The server is not asked whether the file has a name (NFS).
    NoNamelessCheck,
}

/// How far a process is: the call that it makes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// It has not started, or has exited.
    Idle,
    /// Opens the file.
    Open,
    /// Opens the file again, and creates it.
    Create,
    /// Tries to lock the file.
    Try,
    /// Waits for the lock.
    Block,
    /// Reads the directory again, on NFS.
    Refresh,
    /// Compares the file with the path.
    Compare,
    /// Asks the server whether the file has a name, on NFS.
    CheckName,
    /// Closes a file that was replaced.
    Reopen,
    /// Starts the command. It holds the lock.
    Start,
    /// Waits for the command.
    Wait,
    /// Releases the lock.
    Release,
    /// Opens the file to remove it.
    OpenAgain,
    /// Tries to lock it.
    TryAgain,
    /// Looks for waiters of the queue.
    CheckQueue,
    /// Looks for slots.
    CheckSlots,
    /// As before, to remove it.
    RefreshAgain,
    /// As before, to remove it.
    CompareAgain,
    /// As before, to remove it.
    CheckNameAgain,
    /// Removes the file.
    Unlink,
    /// Exits.
    Exit,
}

/// A state. Process `p` locks with description `p`, removes with description `MAX + p`, and its
/// command is process `MAX + p`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// How far each process is.
    pub places: [Place; MAX],
    /// The lock that it wants.
    pub modes: [Lock; MAX],
    /// The commands that run, one bit each.
    pub commands: u8,
    files: Descriptions<{ 2 * MAX }>,
    /// The file that the path leads to; 0 if it does not exist.
    pub name: u8,
    /// The file that has another name; 0 if none has.
    elsewhere: u8,
    /// What each machine believes the path to lead to; 0 if it must ask.
    cached: [u8; MAX],
    /// The machines that would notice that the directory has changed, one bit each.
    noticeable: u8,
    /// Another program has removed the file while the lock was held.
    pub is_broken: bool,
}

impl State {
    /// Whether a process, or the command that it started, has the lock by right.
    fn is_inside(&self, process: usize) -> bool {
        let is_holder = matches!(self.places[process], Place::Start | Place::Wait);
        is_holder || self.commands & 1 << process != 0
    }

    fn holders(&self) -> impl Iterator<Item = usize> {
        (0..MAX).filter(|process| self.is_inside(*process))
    }

    /// Whether two processes hold locks that exclude each other.
    pub fn is_excluded(&self) -> bool {
        let conflicts =
            |one: usize, other: usize| one != other && self.modes[one].conflicts(self.modes[other]);
        !self
            .holders()
            .any(|one| self.holders().any(|other| conflicts(one, other)))
    }

    /// Whether a process has locked a file that it has found at the path, and will remove it.
    fn is_being_removed(&self) -> bool {
        let is_compared = |place: &Place| matches!(place, Place::Unlink | Place::CheckNameAgain);
        self.places.iter().any(is_compared)
    }

    /// Whether a process is about to hold the lock, because it has found out on NFS that what its
    /// machine knows about the path is up to date.
    fn is_compared(&self) -> bool {
        let is_compared = |place: &Place| {
            use Place::{CheckName, CheckNameAgain, Compare, CompareAgain};
            matches!(place, Compare | CheckName | CompareAgain | CheckNameAgain)
        };
        self.places.iter().any(is_compared)
    }

    /// Whether a process has arrived and does not hold the lock yet.
    pub fn is_waiter(&self, process: usize) -> bool {
        use Place::{Block, CheckName, Compare, Create, Open, Refresh, Reopen, Try};
        let place = self.places[process];
        matches!(
            place,
            Open | Create | Try | Block | Refresh | Compare | CheckName | Reopen
        )
    }

    /// Whether a process has just got the lock.
    pub fn is_holder(&self, process: usize) -> bool {
        self.places[process] == Place::Start
    }

    /// Whether a waiter depends on the steps of a process: on its own, and on those of processes
    /// that hold a lock.
    pub fn depends_on(&self, waiter: u8, process: u8) -> bool {
        let mut locked = self.files.0.iter().filter(|file| file.lock != Lock::None);
        process == waiter || locked.any(|file| file.users & 1 << process != 0)
    }

    /// Whether no process runs.
    pub fn is_over(&self) -> bool {
        self.places == [Place::Idle; MAX] && self.commands == 0
    }

    /// Whether no file is open or locked.
    pub fn is_clean(&self) -> bool {
        self.files == Descriptions::default()
    }

    fn is_known(&self, inode: u8) -> bool {
        inode == self.name || inode == self.elsewhere || self.files.is_open(inode)
    }

    fn new_inode(&self) -> u8 {
        (1..)
            .find(|inode| !self.is_known(*inode))
            .expect("more than descriptions")
    }

    fn exit(&mut self, process: u8) {
        let index = usize::from(process) % MAX;
        // NFS: the name that the file has got instead of being removed goes with its last user.
        let removed = self.files.0[MAX + index].inode;
        self.files.exit(process);
        if usize::from(process) < MAX {
            self.places[index] = Place::Idle;
            self.cached[index] = 0;
            self.noticeable &= !(1 << index);
            if self.elsewhere == removed {
                self.elsewhere = 0;
            }
        } else {
            self.commands &= !(1 << index);
        }
        self.normalize();
    }

    /// Forgets what does not matter any more, so that equal situations are equal states.
    fn normalize(&mut self) {
        for process in 0..MAX {
            if self.places[process] == Place::Idle && self.commands & 1 << process == 0 {
                self.modes[process] = Lock::None;
            }
        }
        let is_used = self.is_compared() || self.is_being_removed();
        if self.holders().next().is_none() && !is_used {
            self.is_broken = false;
        }
        let used = |inode: u8| self.is_known(inode);
        let cached = self.cached.map(|inode| if used(inode) { inode } else { 0 });
        self.cached = cached;
        // Numbers mean nothing, so they are given out again in the order of their use.
        let mut numbers = [0; 3 * MAX + 3];
        let mut count = 0;
        let files = self.files.0.iter_mut().map(|file| &mut file.inode);
        let names = [&mut self.name, &mut self.elsewhere];
        for inode in names.into_iter().chain(files).chain(&mut self.cached) {
            let number = &mut numbers[usize::from(*inode)];
            if *inode != 0 && *number == 0 {
                count += 1;
                *number = count;
            }
            *inode = *number;
        }
    }
}

impl LockFile {
    /// The properties of every state.
    pub const ALWAYS: [Always<State>; 1] = [(
        "two processes hold locks that exclude each other only if another program removes a file \
         while it is locked",
        |state| state.is_broken || state.is_excluded(),
    )];

    /// Returns the correct program.
    pub fn new(processes: u8, file_system: FileSystem, others: Others) -> Self {
        Self {
            processes,
            file_system,
            others,
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

    fn is_remote(&self) -> bool {
        self.file_system != FileSystem::Local
    }

    /// Changes what the name leads to, as one machine, or the server, does it.
    fn rename(&self, state: &State, by: Option<u8>, name: u8, add: &mut dyn FnMut(State)) {
        let mut next = *state;
        next.name = name;
        if self.is_remote() {
            let all = (1 << self.processes) - 1;
            let others = by.map_or(all, |process| all & !(1 << process));
            if let Some(process) = by {
                next.cached[usize::from(process)] = name;
            }
            if self.file_system == FileSystem::Nfs3 {
                let mut unnoticed = next;
                unnoticed.normalize();
                add(unnoticed);
            }
            next.noticeable |= others;
        }
        next.normalize();
        add(next);
    }

    fn add_others(&self, state: &State, steps: &mut Vec<(Step, State)>) {
        if self.others == Others::Nothing {
            return;
        }
        let mut change = |call: &'static str, name, elsewhere| {
            let mut next = *state;
            // A file that only gets another name is not nameless.
            let is_moved = call.starts_with("mv lock") && self.is_remote();
            next.is_broken |= is_moved && state.is_compared()
                || state.is_being_removed()
                || state.holders().next().is_some();
            next.elsewhere = elsewhere;
            self.rename(&next, None, name, &mut |next| {
                steps.push((chance(u8::MAX, call), next));
            });
        };
        if state.name != 0 {
            change("rm", 0, state.elsewhere);
            if self.others == Others::Move && state.elsewhere == 0 {
                change("mv lock other", 0, state.name);
            }
        }
        change("mv new lock", state.new_inode(), state.elsewhere);
    }

    fn add_opened(
        &self,
        state: &State,
        process: u8,
        file: usize,
        then: Place,
        mut add: impl FnMut(&'static str, State),
    ) {
        let index = usize::from(process);
        let mut open = |inode: u8| {
            let mut next = *state;
            if inode != 0 {
                next.files.open(file, inode, process);
                next.places[index] = then;
                if self.is_remote() {
                    next.cached[index] = inode;
                }
            } else {
                next.places[index] = if file < MAX {
                    Place::Create
                } else {
                    Place::Exit
                };
            }
            next.normalize();
            add(if inode == 0 { "ENOENT" } else { "ok" }, next);
        };
        open(state.name);
        let cached = state.cached[index];
        if self.is_remote() && cached != 0 && cached != state.name && state.is_known(cached) {
            open(cached);
        }
    }

    /// The comparison of a file with the path, in up to three steps.
    fn add_comparison(
        &self,
        state: &State,
        process: u8,
        file: usize,
        places: [Place; 4],
        steps: &mut Vec<(Step, State)>,
    ) {
        let [_, compare, same, replaced] = places;
        let check_name = if file < MAX {
            Place::CheckName
        } else {
            Place::CheckNameAgain
        };
        let index = usize::from(process);
        let inode = state.files.0[file].inode;
        let mut go = |name, result, place, change: &dyn Fn(&mut State)| {
            let mut next = *state;
            next.places[index] = place;
            change(&mut next);
            next.normalize();
            steps.push((call(process, name, result), next));
        };
        let place = state.places[index];
        if place == compare {
            let cached = state.cached[index];
            let is_cached = self.is_remote() && cached != 0;
            let found = if is_cached { cached } else { state.name };
            let learn = |next: &mut State| {
                if self.is_remote() {
                    next.cached[index] = found;
                }
            };
            // A server may give the number of a removed file to the next one.
            let may_look_same =
                self.is_remote() && !is_cached && found != 0 && inode != state.elsewhere;
            let checks_name = self.is_remote() && self.mutant != Mutant::NoNamelessCheck;
            let same = if checks_name { check_name } else { same };
            if found == inode || may_look_same {
                go("stat", "same", same, &learn);
            }
            if found != inode {
                let result = if found == 0 { "ENOENT" } else { "other" };
                go("stat", result, replaced, &learn);
            }
        } else if place == check_name {
            if inode == state.name || inode == state.elsewhere {
                go("statx(fd)", "named", same, &|_| {});
            } else {
                go("statx(fd)", "nameless", replaced, &|_| {});
            }
        } else {
            go("statx(dir)", "", compare, &|next| {
                if next.noticeable & 1 << process != 0 && self.mutant != Mutant::NoRefresh {
                    next.noticeable &= !(1 << process);
                    next.cached[index] = 0;
                }
            });
        }
    }

    fn add_steps_of(&self, state: &State, process: u8, steps: &mut Vec<(Step, State)>) {
        let index = usize::from(process);
        let (place, mode) = (state.places[index], state.modes[index]);
        let again = MAX + index;
        let after_lock = match self.mutant {
            Mutant::NoComparison | Mutant::CompareBeforeLocking => Place::Start,
            _ if self.is_remote() => Place::Refresh,
            _ => Place::Compare,
        };
        let mut push = |step, place, change: &dyn Fn(&mut State)| {
            let mut next = *state;
            next.places[index] = place;
            change(&mut next);
            next.normalize();
            steps.push((step, next));
        };
        let lock = |next: &mut State| next.files.0[index].lock = mode;
        match place {
            Place::Idle if state.commands & 1 << process != 0 => {}
            Place::Idle => {
                for mode in [Lock::Exclusive, Lock::Shared] {
                    push(chance(process, ""), Place::Open, &|next| {
                        next.modes[index] = mode
                    });
                }
            }
            Place::Open => {
                let then = match self.mutant {
                    Mutant::CompareBeforeLocking => Place::Compare,
                    _ => Place::Try,
                };
                self.add_opened(state, process, index, then, |result, next| {
                    steps.push((call(process, "open", result), next));
                });
            }
            Place::Create => {
                let is_new = state.name == 0;
                let inode = if is_new {
                    state.new_inode()
                } else {
                    state.name
                };
                let mut next = *state;
                next.files.open(index, inode, process);
                next.places[index] = match self.mutant {
                    Mutant::CompareBeforeLocking => Place::Compare,
                    _ => Place::Try,
                };
                let step = call(process, "open(O_CREAT)", "ok");
                if is_new {
                    self.rename(&next, Some(process), inode, &mut |next| {
                        steps.push((step, next))
                    });
                } else {
                    if self.is_remote() {
                        next.cached[index] = inode;
                    }
                    steps.push((step, next));
                }
            }
            Place::Try => {
                if state.files.may_lock(index, mode) {
                    push(call(process, "flock(LOCK_NB)", "ok"), after_lock, &lock);
                } else {
                    let refused = call(process, "flock(LOCK_NB)", "EAGAIN");
                    push(refused, Place::Block, &|_| {});
                    if !self.is_tidy {
                        push(refused, Place::Exit, &|_| {});
                    }
                }
                self.add_forgotten(state, process, steps);
            }
            Place::Block => {
                if state.files.may_lock(index, mode) {
                    push(call(process, "flock", "ok"), after_lock, &lock);
                }
                let timeout = Step {
                    kind: Kind::Chance,
                    ..call(process, "flock", "EINTR")
                };
                if !self.is_tidy {
                    push(timeout, Place::Exit, &|_| {});
                }
                self.add_forgotten(state, process, steps);
            }
            Place::Refresh | Place::Compare | Place::CheckName => {
                let same = match self.mutant {
                    Mutant::CompareBeforeLocking => Place::Try,
                    _ => Place::Start,
                };
                let places = [Place::Refresh, Place::Compare, same, Place::Reopen];
                self.add_comparison(state, process, index, places, steps);
            }
            Place::Reopen => push(call(process, "close", ""), Place::Open, &|next| {
                next.files.close(index, process);
            }),
            Place::Start => push(call(process, "clone", ""), Place::Wait, &|next| {
                next.commands |= 1 << process;
                next.files.fork(process, process + MAX as u8);
            }),
            Place::Wait => {
                // Perhaps it has left a process behind, which has its descriptors.
                let is_over = call(process, "waitid", "");
                if state.commands & 1 << process == 0 || !self.is_tidy {
                    push(is_over, Place::Release, &|_| {});
                }
                if !self.is_tidy {
                    push(is_over, Place::Exit, &|_| {});
                }
            }
            Place::Release => push(call(process, "close", ""), Place::OpenAgain, &|next| {
                next.files.close(index, process);
            }),
            Place::OpenAgain => {
                let then = match self.mutant {
                    Mutant::UnlinkWithoutLock => Place::CheckQueue,
                    _ => Place::TryAgain,
                };
                self.add_opened(state, process, again, then, |result, next| {
                    steps.push((call(process, "open(O_NOFOLLOW)", result), next));
                });
            }
            Place::TryAgain => {
                if state.files.may_lock(again, Lock::Exclusive) {
                    push(
                        call(process, "flock(LOCK_NB)", "ok"),
                        Place::CheckQueue,
                        &|next| {
                            next.files.0[again].lock = Lock::Exclusive;
                        },
                    );
                } else {
                    push(
                        call(process, "flock(LOCK_NB)", "EAGAIN"),
                        Place::Exit,
                        &|_| {},
                    );
                }
            }
            Place::CheckQueue => {
                push(
                    call(process, "fcntl(F_OFD_GETLK)", "none"),
                    Place::CheckSlots,
                    &|_| {},
                );
            }
            Place::CheckSlots => {
                let then = match self.mutant {
                    Mutant::UnlinkWithoutComparison => Place::Unlink,
                    _ if self.is_remote() => Place::RefreshAgain,
                    _ => Place::CompareAgain,
                };
                push(call(process, "fcntl(F_OFD_GETLK)", "none"), then, &|_| {});
            }
            Place::RefreshAgain | Place::CompareAgain | Place::CheckNameAgain => {
                let places = [
                    Place::RefreshAgain,
                    Place::CompareAgain,
                    Place::Unlink,
                    Place::Exit,
                ];
                self.add_comparison(state, process, again, places, steps);
            }
            Place::Unlink => {
                let mut next = *state;
                next.places[index] = Place::Exit;
                // A client renames a file that it has open.
                let is_open_here = self.is_remote() && next.files.0[again].inode == next.name;
                if is_open_here && next.elsewhere == 0 {
                    next.elsewhere = next.name;
                }
                let result = if state.name == 0 { "ENOENT" } else { "ok" };
                let step = call(process, "unlink", result);
                self.rename(&next, Some(process), 0, &mut |next| {
                    steps.push((step, next))
                });
            }
            Place::Exit => push(call(process, "exit", ""), Place::Idle, &|next| {
                next.exit(process)
            }),
        }
    }

    /// A server that has forgotten a file says so.
    fn add_forgotten(&self, state: &State, process: u8, steps: &mut Vec<(Step, State)>) {
        let index = usize::from(process);
        let inode = state.files.0[index].inode;
        if self.is_remote() && inode != state.name && inode != state.elsewhere {
            let mut next = *state;
            next.places[index] = Place::Reopen;
            steps.push((call(process, "flock", "ESTALE"), next));
        }
    }
}

impl Model for LockFile {
    type State = State;

    fn initial(&self) -> State {
        State {
            places: [Place::Idle; MAX],
            modes: [Lock::None; MAX],
            commands: 0,
            files: Descriptions::default(),
            name: 0,
            elsewhere: 0,
            cached: [0; MAX],
            noticeable: 0,
            is_broken: false,
        }
    }

    fn steps(&self, state: &State, steps: &mut Vec<(Step, State)>) {
        for process in 0..self.processes {
            self.add_steps_of(state, process, steps);
            let mut kill = |process| {
                let mut next = *state;
                next.exit(process);
                steps.push((chance(process, "SIGKILL"), next));
            };
            if !self.is_tidy && state.places[usize::from(process)] != Place::Idle {
                kill(process);
            }
            let command = process + MAX as u8;
            if state.commands & 1 << process != 0 {
                let mut next = *state;
                next.exit(command);
                steps.push((call(command, "exit", ""), next));
            }
        }
        self.add_others(state, steps);
    }
}
