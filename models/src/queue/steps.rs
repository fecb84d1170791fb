//! The steps of a process.

use super::{Client, MAX, Mutant, Place, Queue, SHELL, Sentinel, State};
use crate::graph::{Places, Step};
use crate::kernel::{Lock, call, chance, timer};

impl Places for State {
    type Place = Place;

    fn set_place(&mut self, process: u8, place: Place) {
        self.places[usize::from(process)] = place;
    }
}

impl Queue {
    fn mode(&self, process: usize) -> Lock {
        match self.clients[process] {
            Client::Reader => Lock::Shared,
            _ => Lock::Exclusive,
        }
    }

    pub(super) fn add_steps_of(&self, state: &State, process: u8, steps: &mut Vec<(Step, State)>) {
        let index = usize::from(process);
        let (place, mode, ticket) = (state.places[index], self.mode(index), MAX + index);
        let mut push = |step, place, change: &dyn Fn(&mut State)| {
            steps.push((step, state.after(process, place, change)));
        };
        let done = |name, result| call(process, name, result);
        let nothing = |_: &mut State| {};
        let forget = |next: &mut State| next.forget(index);
        let wanted = state.wanted(index);
        let is_shared = self.shared & 1 << process != 0;
        let is_own_held = is_shared && state.files.0[wanted].lock != Lock::None;
        let blocked = match self.mutant {
            Mutant::WaitOnDescriptor => wanted,
            _ => ticket,
        };
        let unlock = |next: &mut State| next.files.0[ticket].lock = Lock::None;
        let may_lock = |file, mode| state.files.may_lock(file, mode);
        let acquired = |next: &mut State| next.acquire(index, mode);
        let (target, target_pid) = state.targets[index];
        let is_gone = state.gone & 1 << process != 0;
        let is_forged = target > 0 && self.is_forged(usize::from(target) - 1);
        let can_take_turn = !is_gone && !is_forged && state.stopped & 1 << target >> 1 == 0;
        let after_transfer = match mode {
            Lock::Shared => Place::ReleaseShared,
            _ if self.mutant == Mutant::EndBeforeTransfer => Place::Hold,
            _ => Place::EndTicket,
        };
        let transfer = match mode {
            Lock::Shared => Place::Acquire,
            _ => Place::Release,
        };
        let gives_up_unlooked = !is_shared || self.mutant == Mutant::TimeOutUnshared;
        let is_misled = gives_up_unlooked && is_own_held;
        let give_up = match gives_up_unlooked {
            true => Place::Exit,
            false => Place::GiveUp,
        };
        match place {
            Place::Idle if self.arrivals == Some(state.arrived) => {}
            Place::Idle if state.sentinels.contains(&Sentinel::Orphan) => {}
            Place::Idle if is_shared && state.files.0[wanted].users & 1 << SHELL == 0 => {}
            Place::Idle => {
                let first = match self.clients[index] {
                    Client::Plain => Place::Plain,
                    Client::Forger | Client::Ghost => Place::Forge,
                    Client::Writer | Client::Reader => Place::Look,
                };
                push(chance(process, ""), first, &|next| {
                    if first == Place::Forge {
                        next.marked |= 1 << process;
                    }
                    if is_shared {
                        next.files.fork(SHELL, process);
                    } else {
                        next.files.open(index, 1, process);
                    }
                    next.arrived += u8::from(self.arrivals.is_some());
                    next.ranks[index] = state.ranks.iter().max().unwrap_or(&0) + 1;
                });
            }
            Place::Plain => {
                if may_lock(wanted, mode) {
                    push(done("flock", "ok"), Place::Hold, &acquired);
                }
            }
            Place::Look if state.marked == 0 => push(done("search", "none"), Place::Try, &nothing),
            Place::Look => {
                let then = match self.mutant {
                    Mutant::Overtake => Place::Try,
                    _ if is_shared => Place::LookAtOwn,
                    _ => Place::Reopen,
                };
                push(done("search", "ticket"), then, &|next| {
                    let is_ahead = |owner: &usize| {
                        use Place::{EndSentinel, EndTicket, Exit, Forge, Hold, ReleaseShared};
                        let place = state.places[*owner];
                        state.ranks[*owner] < state.ranks[index]
                            && !matches!(
                                place,
                                ReleaseShared | EndTicket | EndSentinel | Hold | Exit | Forge
                            )
                    };
                    let earlier = (0..MAX)
                        .filter(is_ahead)
                        .fold(0, |bits, owner| bits | 1 << owner);
                    next.ahead[index] = state.marked & !state.stopped & earlier;
                });
            }
            Place::LookAtOwn if is_own_held => {
                push(done("read", "locked"), Place::TryOwn, &nothing);
            }
            Place::LookAtOwn => push(done("read", "unlocked"), Place::Reopen, &nothing),
            Place::Try | Place::TryOwn if may_lock(wanted, mode) => {
                push(done("flock(LOCK_NB)", "ok"), Place::Hold, &acquired);
            }
            Place::TryOwn if self.mutant == Mutant::TrustLook => {
                push(done("flock(LOCK_NB)", "EAGAIN"), Place::Exit, &|next| {
                    next.is_misled = true;
                });
            }
            Place::Try | Place::TryOwn => {
                push(done("flock(LOCK_NB)", "EAGAIN"), Place::Reopen, &nothing);
            }
            Place::Reopen => push(done("open", ""), Place::Sentinel, &|next| {
                next.files.open(ticket, 1, process);
            }),
            Place::Sentinel => push(done("clone", ""), Place::Mark, &|next| {
                next.start_sentinel(index);
            }),
            Place::Mark => push(done("fcntl(F_OFD_SETLK)", ""), Place::Search, &|next| {
                next.marked |= 1 << process;
            }),
            Place::Search => match state.nearest(index) {
                Some(owner) => push(done("search", "ticket"), Place::Check, &|next| {
                    next.gone &= !(1 << process);
                    next.targets[index] = (owner as u8 + 1, state.pids[owner]);
                }),
                None => push(done("search", "none"), Place::TryFirst, &forget),
            },
            Place::Check => {
                let is_reused =
                    is_gone && state.sentinels[usize::from(target_pid)] != Sentinel::None;
                if can_take_turn || is_reused {
                    push(done("read", "waiting"), Place::Watch, &nothing);
                } else {
                    // Owners that are stopped do not count, nor do those before this one, if they
                    // are.
                    push(done("read", "not waiting"), Place::Search, &|next| {
                        next.forget(index);
                        let owner = usize::from(target) - 1;
                        let own = [state.bounds[index], state.ranks[index]];
                        let bound = own[usize::from(own[0] == 0)];
                        let is_later = is_gone || state.ranks[owner] >= bound;
                        next.bounds[index] = if is_later { bound } else { state.ranks[owner] };
                    });
                }
            }
            Place::Watch => {
                let is_running = match state.sentinels[usize::from(target_pid)] {
                    Sentinel::Running | Sentinel::Orphan => true,
                    Sentinel::None | Sentinel::Zombie => false,
                };
                let result = if is_running { "running" } else { "over" };
                push(done("pidfd_open", result), Place::LookAgain, &|next| {
                    next.watched[index] = if is_running { target_pid } else { 0 };
                    next.woken &= !(1 << process);
                });
            }
            Place::LookAgain if is_gone && self.mutant != Mutant::NoSecondLook => {
                push(done("look", "none"), Place::Search, &forget);
            }
            Place::LookAgain => push(done("look", "ticket"), Place::Sleep, &nothing),
            Place::Sleep => {
                let is_own_zombie =
                    state.sentinels[usize::from(state.pids[index])] == Sentinel::Zombie;
                if is_own_zombie {
                    push(done("poll", "own sentinel"), Place::Respawn, &forget);
                }
                if state.woken & 1 << process != 0 {
                    push(done("poll", "exit"), Place::Search, &forget);
                }
                if self.timers {
                    let timer = timer(process, "poll", "timeout");
                    push(timer, Place::Probe, &nothing);
                }
                push(chance(process, "poll"), give_up, &|next| {
                    next.forget(index);
                    next.is_misled |= is_misled;
                });
            }
            Place::Respawn => push(done("clone", ""), Place::Search, &|next| {
                // One marker is set before the other is removed. Waiters behind that see the old
                // one look again.
                next.sentinels[usize::from(state.pids[index])] = Sentinel::None;
                next.start_sentinel(index);
                for waiter in 0..MAX {
                    if usize::from(next.targets[waiter].0) == index + 1 {
                        next.gone |= 1 << waiter;
                    }
                }
            }),
            Place::Probe if may_lock(ticket, Lock::Exclusive) => {
                push(done("flock(LOCK_NB)", "ok"), Place::EndProbe, &|next| {
                    next.files.0[ticket].lock = Lock::Exclusive;
                });
            }
            Place::Probe if is_own_held && self.mutant != Mutant::ProbeUnshared => {
                push(done("flock(LOCK_NB)", "EAGAIN"), transfer, &forget);
            }
            Place::Probe => {
                let joins = mode == Lock::Shared && !can_take_turn;
                let then = if joins || is_gone {
                    Place::Search
                } else {
                    Place::Sleep
                };
                push(done("flock(LOCK_NB)", "EAGAIN"), then, &|next| {
                    if then == Place::Search {
                        next.forget(index);
                    }
                    next.seen_free &= !(1 << process);
                });
            }
            Place::EndProbe => push(done("flock(LOCK_UN)", ""), Place::Count, &unlock),
            Place::Count if is_gone => push(done("look", "none"), Place::Search, &forget),
            Place::Count => {
                let is_alone = self.any_waiting_before(state, index).is_none();
                let was_free = state.seen_free & 1 << process != 0;
                if is_alone || was_free {
                    push(done("look", "ticket"), Place::Pass, &nothing);
                }
                if !is_alone {
                    // If it was free before, the queue may have advanced since.
                    push(done("look", "ticket"), Place::Sleep, &|next| {
                        next.seen_free ^= 1 << process;
                    });
                }
            }
            Place::Pass if may_lock(ticket, mode) => {
                push(done("flock(LOCK_NB)", "ok"), transfer, &|next| {
                    next.files.0[ticket].lock = mode;
                    next.forget(index);
                });
            }
            Place::Pass => push(done("flock(LOCK_NB)", "EAGAIN"), Place::Search, &forget),
            Place::TryFirst if may_lock(blocked, mode) => {
                push(done("flock(LOCK_NB)", "ok"), Place::SearchAgain, &|next| {
                    next.files.0[blocked].lock = mode;
                });
            }
            Place::TryFirst => {
                let then = match self.mutant {
                    Mutant::BlockUntried => Place::Block,
                    _ => Place::TryAgain,
                };
                push(done("flock(LOCK_NB)", "EAGAIN"), then, &nothing);
            }
            Place::TryAgain if may_lock(wanted, mode) => {
                push(done("flock(LOCK_NB)", "ok"), transfer, &acquired);
            }
            Place::TryAgain => push(done("flock(LOCK_NB)", "EAGAIN"), Place::Block, &nothing),
            Place::Block => {
                if may_lock(blocked, mode) {
                    push(done("flock", "ok"), Place::SearchAgain, &|next| {
                        next.files.0[blocked].lock = mode;
                        next.missed &= !(1 << process);
                    });
                }
                if is_shared && self.timers && self.mutant != Mutant::BlockUnlooked {
                    let timer = timer(process, "flock", "EINTR");
                    push(timer, Place::Search, &|next| {
                        next.missed &= !(1 << process);
                    });
                }
                push(chance(process, "flock"), give_up, &|next| {
                    next.missed &= !(1 << process);
                    next.is_misled |= is_misled;
                });
            }
            Place::GiveUp if is_own_held => push(done("read", "locked"), Place::LastTry, &nothing),
            Place::LastTry if may_lock(wanted, mode) => {
                push(done("flock(LOCK_NB)", "ok"), Place::EndTicket, &acquired);
            }
            Place::LastTry => push(done("flock(LOCK_NB)", "EAGAIN"), Place::Exit, &nothing),
            Place::GiveUp => push(done("read", "unlocked"), Place::Exit, &nothing),
            Place::SearchAgain => match self.any_waiting_before(state, index) {
                Some(owner) => push(done("search", "ticket"), Place::Yield, &|next| {
                    next.targets[index] = (owner as u8 + 1, state.pids[owner]);
                }),
                None => {
                    let then = match self.mutant {
                        Mutant::EndBeforeTransfer => Place::EndTicket,
                        _ => transfer,
                    };
                    push(done("search", "none"), then, &nothing);
                }
            },
            Place::Yield => push(done("flock(LOCK_UN)", ""), Place::Watch, &|next| {
                next.files.0[blocked].lock = Lock::None;
            }),
            Place::Release => push(done("flock(LOCK_UN)", ""), Place::Acquire, &unlock),
            Place::Acquire if may_lock(wanted, mode) => {
                push(done("flock(LOCK_NB)", "ok"), after_transfer, &acquired);
            }
            Place::Acquire => {
                let then = match self.mutant {
                    Mutant::TransferUnchecked => Place::EndTicket,
                    Mutant::EndBeforeTransfer => Place::Acquire,
                    _ => Place::Search,
                };
                push(done("flock(LOCK_NB)", "EAGAIN"), then, &unlock);
            }
            Place::ReleaseShared => {
                push(done("flock(LOCK_UN)", ""), Place::EndTicket, &unlock);
            }
            Place::EndTicket | Place::EndSentinel => {
                let ends_marker =
                    (place == Place::EndTicket) != (self.mutant == Mutant::SentinelFirst);
                let other = if place == Place::EndTicket {
                    Place::EndSentinel
                } else {
                    Place::EndTicket
                };
                let last = match self.mutant {
                    Mutant::EndBeforeTransfer => Place::Acquire,
                    _ => Place::Hold,
                };
                if ends_marker {
                    let then = if self.mutant == Mutant::SentinelFirst {
                        last
                    } else {
                        other
                    };
                    push(done("close", ""), then, &|next| {
                        next.end_marker(index);
                        next.files.close(ticket, process);
                    });
                } else {
                    let then = if self.mutant == Mutant::SentinelFirst {
                        other
                    } else {
                        last
                    };
                    push(done("kill", ""), then, &|next| {
                        let pid = std::mem::take(&mut next.pids[index]);
                        next.end_sentinel(pid, Sentinel::None);
                    });
                }
            }
            // It is only killed.
            Place::Forge => {}
            Place::Hold | Place::Exit => {
                push(done("exit", ""), Place::Idle, &|next| {
                    next.is_shell_holder |= place == Place::Hold
                        && is_shared
                        && next.files.0[wanted].users & 1 << SHELL != 0;
                    next.exit(process);
                });
            }
        }
    }
}
