//! The steps of a process.

use super::{Detail, FileSystem, LockFile, MAX, Mutant, Place, State};
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
