//! The steps of a process.

use super::{MAX, Mutant, Place, SlotsModel, State};
use crate::graph::{Model, Places, Step};
use crate::kernel::{Descriptions, Lock, call, chance, timer};

impl Places for State {
    type Place = Place;

    fn set_place(&mut self, process: u8, place: Place) {
        self.places[usize::from(process)] = place;
    }
}

impl SlotsModel {
    fn add_steps_of(&self, state: &State, process: u8, steps: &mut Vec<(Step, State)>) {
        let index = usize::from(process);
        let place = state.places[index];
        let limit = u32::from(self.limits[index]);
        let slots = state.slots_of_others(index);
        let mut push = |step, place, change: &dyn Fn(&mut State)| {
            steps.push((step, state.after(process, place, change)));
        };
        match place {
            // The file description of its last call is still open in the command.
            Place::Idle if state.commands & 1 << process != 0 => {}
            Place::Idle => push(chance(process, ""), Place::Lock, &|next| {
                next.files.open(index, 1, process);
            }),
            Place::Lock => {
                if self.mutant == Mutant::CountWithoutLock {
                    push(call(process, "flock", "ok"), Place::Count, &|_| {});
                } else if state.files.may_lock(index, Lock::Exclusive) {
                    push(call(process, "flock", "ok"), Place::Count, &|next| {
                        next.files.0[index].lock = Lock::Exclusive;
                    });
                }
            }
            Place::Count => {
                let is_full = slots.count_ones() >= limit;
                let then = match self.mutant {
                    _ if is_full => Place::UnlockFull,
                    Mutant::UnlockBeforeTaking => Place::Unlock,
                    _ => Place::Take,
                };
                let result = if is_full { "full" } else { "free" };
                push(call(process, "count", result), then, &|next| {
                    next.counted[index] = if is_full { slots } else { 0 };
                });
                if self.is_late && slots.count_ones() > 0 {
                    // It has found only some of them.
                    push(call(process, "count", "free"), Place::Take, &|_| {});
                }
            }
            Place::Take => {
                let then = match self.mutant {
                    Mutant::UnlockBeforeTaking => Place::Start,
                    _ => Place::Unlock,
                };
                push(
                    call(process, "fcntl(F_OFD_SETLK)", "F_RDLCK"),
                    then,
                    &|next| {
                        next.files.0[index].bytes = 1 << process;
                        next.is_overfull = !self.is_late && slots.count_ones() >= limit;
                    },
                );
            }
            Place::Unlock => {
                let then = match self.mutant {
                    Mutant::UnlockBeforeTaking => Place::Take,
                    Mutant::NoRecount => Place::Start,
                    _ if self.is_late => Place::Recount,
                    _ => Place::Start,
                };
                push(call(process, "flock(LOCK_UN)", ""), then, &|next| {
                    next.files.0[index].lock = Lock::None;
                });
            }
            Place::Recount => {
                if slots.count_ones() < limit {
                    push(call(process, "count", "free"), Place::Start, &|_| {});
                } else {
                    push(call(process, "count", "full"), Place::GiveBack, &|next| {
                        next.counted[index] = slots;
                    });
                }
            }
            Place::GiveBack => {
                let step = call(process, "fcntl(F_OFD_SETLK)", "F_UNLCK");
                push(step, Place::Watch, &|next| {
                    next.files.0[index].bytes = 0;
                    next.release(index);
                });
            }
            Place::Start => push(call(process, "clone", ""), Place::Wait, &|next| {
                next.commands |= 1 << process;
                next.files.fork(process, process + MAX as u8);
            }),
            // Perhaps the command has left a process behind, which has the slot.
            Place::Wait if state.commands & 1 << process != 0 && self.is_tidy => {}
            Place::Wait => push(call(process, "waitid", ""), Place::Exit, &|_| {}),
            Place::UnlockFull => {
                let full = call(process, "flock(LOCK_UN)", "");
                let is_queued = state.queued & 1 << process != 0;
                let unlock = |next: &mut State| next.files.0[index].lock = Lock::None;
                // The queue comes first: it may have taken a while.
                let then = if is_queued { Place::Watch } else { Place::Lock };
                push(full, then, &|next| {
                    unlock(next);
                    if !is_queued {
                        next.queued |= 1 << process;
                        next.forget(index);
                    }
                });
                // With `-n`.
                if !self.is_tidy {
                    push(full, Place::Exit, &unlock);
                }
            }
            Place::Watch => {
                // A process that exited in the meantime, or has another exit than the slot's.
                let alive = |holder: &u8| state.places[usize::from(*holder)] != Place::Idle;
                let watched = (0..MAX as u8)
                    .filter(alive)
                    .fold(0, |bits, holder| bits | 1 << holder);
                push(call(process, "pidfd_open", ""), Place::LookAgain, &|next| {
                    next.gone[index] = next.counted[index] & !watched;
                });
            }
            Place::LookAgain => {
                let is_changed = state.changed & 1 << process != 0;
                if is_changed && self.mutant != Mutant::NoSecondLook {
                    let step = call(process, "look", "changed");
                    push(step, Place::Lock, &|next| next.forget(index));
                } else {
                    push(call(process, "look", "same"), Place::Sleep, &|_| {});
                }
            }
            Place::Sleep => {
                let forget = |next: &mut State| next.forget(index);
                if state.exited[index] & !state.gone[index] != 0 {
                    push(call(process, "poll", "exit"), Place::Lock, &forget);
                }
                // Processes that have inherited a slot cannot be waited for.
                let timer = timer(process, "poll", "timeout");
                push(timer, Place::Lock, &forget);
                if !self.is_tidy {
                    push(chance(process, "poll"), Place::Exit, &forget);
                }
            }
            Place::Exit => push(call(process, "exit", ""), Place::Idle, &|next| {
                next.exit(process)
            }),
        }
    }
}

impl Model for SlotsModel {
    type State = State;

    fn initial(&self) -> State {
        State {
            places: [Place::Idle; MAX],
            commands: 0,
            files: Descriptions::default(),
            counted: [0; MAX],
            gone: [0; MAX],
            exited: [0; MAX],
            changed: 0,
            queued: 0,
            is_overfull: false,
        }
    }

    fn steps(&self, state: &State, steps: &mut Vec<(Step, State)>) {
        for process in 0..self.limits.len() as u8 {
            self.add_steps_of(state, process, steps);
            let mut exit = |process, step| {
                let mut next = *state;
                next.exit(process);
                steps.push((step, next));
            };
            if !self.is_tidy && state.places[usize::from(process)] != Place::Idle {
                exit(process, chance(process, "SIGKILL"));
            }
            if state.commands & 1 << process != 0 {
                let command = process + MAX as u8;
                exit(command, call(command, "exit", ""));
            }
        }
    }
}
