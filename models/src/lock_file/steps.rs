//! The steps of a process, and of programs that ignore the lock.

use super::{Detail, FileSystem, LockFile, MAX, Mutant, Others, Place, State};
use crate::graph::{Kind, Model, Places, Step};
use crate::kernel::{Descriptions, Lock, call, chance};

impl Places for State {
    type Place = Place;

    fn set_place(&mut self, process: u8, place: Place) {
        self.places[usize::from(process)] = place;
    }

    fn forget_unused(&mut self) {
        self.normalize();
    }
}

impl LockFile {
    pub(super) fn is_remote(&self) -> bool {
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
            if place == Place::Exit {
                next.files.close(file, process);
            }
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

    pub(super) fn add_steps_of(&self, state: &State, process: u8, steps: &mut Vec<(Step, State)>) {
        let index = usize::from(process);
        let (place, mode) = (state.places[index], state.modes[index]);
        let again = MAX + index;
        let after_lock = match self.mutant {
            Mutant::NoComparison | Mutant::CompareBeforeLocking => Place::Start,
            _ if self.is_remote() => Place::Refresh,
            _ => Place::Compare,
        };
        let mut push = |step, place, change: &dyn Fn(&mut State)| {
            steps.push((step, state.after(process, place, change)));
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
                if self.mutant != Mutant::NotInherited {
                    next.files.fork(process, process + MAX as u8);
                }
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
                    let refused = call(process, "flock(LOCK_NB)", "EAGAIN");
                    push(refused, Place::Exit, &|next| {
                        next.files.close(again, process)
                    });
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
                let none = call(process, "fcntl(F_OFD_GETLK)", "none");
                push(none, self.after_checks(), &|_| {});
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
            Place::Exit => push(call(process, "exit", ""), Place::Exit, &|next| {
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
            if self.detail != Detail::Fine {
                self.add_coarse_steps_of(state, process, steps);
            } else {
                self.add_steps_of(state, process, steps);
            }
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
        if self.detail != Detail::Fine {
            for (_, next) in steps {
                *next = self.fold(next);
            }
        }
    }
}
