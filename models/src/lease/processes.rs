//! The steps of the processes that watch over the lease, and of the command until it runs.

use super::steps::Add;
use super::{
    COMMAND, FLOCK, GRACE, LEFT_BEHIND, Lease, Mutant, Order, Place, SUPERVISOR, State, TIMEKEEPER,
};
use crate::kernel::{call, chance};

impl State {
    /// Sends the supervisor SIGCONT.
    pub(super) fn wake_supervisor(&mut self) {
        if self.is_alive(SUPERVISOR) {
            self.is_woken = true;
            self.stopped &= !(1 << SUPERVISOR);
        }
    }

    pub(super) fn give(&mut self, order: Order) {
        self.order = self.order.max(order);
        if self.is_supervisor_known {
            self.wake_supervisor();
        }
    }

    /// Whether an order has not reached the supervisor.
    pub(super) fn is_ignored(&self, order: Order) -> bool {
        let may_be_asleep = self.is_supervisor_known && !self.is_woken && self.obeyed < order;
        let is_stopped = self.stopped & 1 << SUPERVISOR != 0;
        self.order < order || self.is_alive(SUPERVISOR) && (may_be_asleep || is_stopped)
    }
}

impl Lease {
    pub(super) fn add_steps_of_flock(&self, state: &State, add: &mut Add<'_>) {
        let done = |name, result| call(FLOCK, name, result);
        let go = |place| state.set(FLOCK, place);
        let kill_at = self.margin();
        match state.place(FLOCK) {
            Place::Wait => {
                if let Some(left) = state.line {
                    let mut next = go(Place::Check);
                    (next.line, next.left) = (None, left);
                    add(done("read", "granted"), next);
                }
            }
            Place::Check if state.left > kill_at + GRACE => {
                let without = self.mutant == Mutant::NoTimekeeper;
                let then = if without {
                    Place::Start
                } else {
                    Place::StartTimekeeper
                };
                add(done("clock_gettime", "enough"), go(then));
            }
            Place::Check => add(done("clock_gettime", "late"), go(Place::Exit)),
            Place::StartTimekeeper => {
                add(
                    done("fork", "timekeeper"),
                    go(Place::Start).set(TIMEKEEPER, Place::Run),
                );
            }
            Place::Start => {
                add(
                    done("fork", "supervisor"),
                    go(Place::Run).set(SUPERVISOR, Place::Start),
                );
            }
            Place::Run if !state.is_alive(SUPERVISOR) => {
                let adopts = !state.has_report && self.mutant != Mutant::NotAdopted;
                let then = if adopts {
                    Place::KillRest
                } else {
                    Place::KillTimekeeper
                };
                add(done("waitid", ""), go(then));
            }
            Place::Run => {
                let has_timekeeper =
                    state.is_alive(TIMEKEEPER) || self.mutant == Mutant::NoTimekeeper;
                let is_late = !has_timekeeper || state.left <= kill_at;
                if self.mutant == Mutant::NoSecondClock {
                    return;
                }
                let may_be_stopped = state.left <= kill_at + GRACE;
                if may_be_stopped && state.stopped & 1 << TIMEKEEPER != 0 {
                    let mut next = *state;
                    next.stopped &= !(1 << TIMEKEEPER);
                    add(done("kill", "timekeeper"), next);
                }
                if is_late && state.is_ignored(Order::Kill) {
                    let mut next = *state;
                    next.give(Order::Kill);
                    add(done("kill", "supervisor"), next);
                }
            }
            Place::KillRest => {
                let mut next = go(Place::KillTimekeeper);
                next.end(LEFT_BEHIND);
                add(done("kill", "rest"), next);
            }
            Place::KillTimekeeper => {
                let mut next = go(Place::Exit);
                next.end(TIMEKEEPER);
                add(done("kill", "timekeeper"), next);
            }
            Place::Exit => {
                let mut next = *state;
                next.end(FLOCK);
                add(done("exit", ""), next);
            }
            _ => {}
        }
    }

    pub(super) fn add_steps_of_supervisor(&self, state: &State, add: &mut Add<'_>) {
        let done = |name, result| call(SUPERVISOR, name, result);
        let go = |place| state.set(SUPERVISOR, place);
        let is_orphan = !state.is_alive(FLOCK);
        match state.place(SUPERVISOR) {
            Place::Start => {
                let mut next = go(Place::Check);
                next.is_supervisor_known = true;
                add(done("getpid", ""), next);
            }
            Place::Check if is_orphan => add(done("getppid", "other"), go(Place::Exit)),
            Place::Check => {
                add(done("getppid", "same"), go(Place::Execute));
            }
            Place::Execute => {
                let then = match self.mutant {
                    Mutant::StartUnchecked => Place::Execute,
                    _ => Place::CheckOrder,
                };
                add(done("clone", ""), go(Place::Run).set(COMMAND, then));
            }
            Place::Run | Place::WaitForRest if state.is_woken => {
                let order = if is_orphan { Order::Kill } else { state.order };
                let mut next = *state;
                next.is_woken = false;
                if order > state.obeyed {
                    next.obeyed = order;
                    if order == Order::Kill {
                        next.end(COMMAND);
                        next.end(LEFT_BEHIND);
                        next = next.set(SUPERVISOR, Place::Report);
                    }
                }
                add(done("rt_sigtimedwait", ""), next);
            }
            Place::Run if !state.is_alive(COMMAND) => {
                let then = match self.mutant {
                    Mutant::ReleaseBeforeRest => Place::EndLease,
                    _ => Place::WaitForRest,
                };
                add(done("waitid", ""), go(then));
            }
            Place::WaitForRest if !state.is_alive(LEFT_BEHIND) => {
                add(done("wait4", ""), go(Place::Report));
            }
            Place::Report => {
                let mut next = go(Place::EndLease);
                next.has_report = true;
                add(done("", "report"), next);
            }
            Place::EndLease if state.order == Order::Run => {
                let mut next = go(Place::Release);
                if self.mutant != Mutant::NotMarked {
                    next.order = Order::Over;
                }
                add(done("", "end"), next);
            }
            Place::EndLease => add(done("", "lost"), go(Place::Exit)),
            Place::Release => {
                let mut next = go(Place::Exit);
                next.is_released = true;
                add(done("shutdown", ""), next);
            }
            Place::Exit => {
                let mut next = *state;
                next.has_report = true;
                next.end(SUPERVISOR);
                add(done("exit", ""), next);
            }
            _ => {}
        }
    }

    pub(super) fn add_steps_of_timekeeper(&self, state: &State, add: &mut Add<'_>) {
        if state.place(TIMEKEEPER) != Place::Run {
            return;
        }
        let done = |name, result| call(TIMEKEEPER, name, result);
        let mut next = *state;
        let kill_at = self.margin();
        let ask = |next: &mut State| {
            let kill_in = GRACE.min(next.left - kill_at).max(0);
            next.kill_in = Some(kill_in);
            next.give(if kill_in > 0 || self.mutant == Mutant::NoKill {
                Order::Stop
            } else {
                Order::Kill
            });
        };
        if !state.is_alive(FLOCK) && !state.is_alive(SUPERVISOR) {
            next.end(TIMEKEEPER);
            return add(done("exit", ""), next);
        }
        if let Some(left) = state.line {
            (next.line, next.left) = (None, left);
            return add(done("read", "until"), next);
        }
        if state.is_lost {
            next.is_lost = false;
            if next.kill_in.is_none() {
                ask(&mut next);
            }
            return add(done("read", "lost"), next);
        }
        match state.kill_in {
            None if state.left <= kill_at + GRACE => {
                ask(&mut next);
                add(done("poll", "stop"), next);
            }
            Some(kill_in) => {
                let order = if kill_in > 0 || self.mutant == Mutant::NoKill {
                    Order::Stop
                } else {
                    Order::Kill
                };
                if state.is_ignored(order) {
                    next.give(order);
                    add(done("poll", "repeat"), next);
                }
            }
            None => {}
        }
    }

    pub(super) fn add_steps_of_command(&self, state: &State, add: &mut Add<'_>) {
        let done = |name, result| call(COMMAND, name, result);
        let kill_at = self.margin();
        let mut exited = *state;
        exited.end(COMMAND);
        match state.place(COMMAND) {
            Place::CheckOrder if state.order == Order::Run && state.left > kill_at + GRACE => {
                add(
                    done("clock_gettime", "enough"),
                    state.set(COMMAND, Place::Execute),
                );
            }
            Place::CheckOrder => add(done("clock_gettime", "late"), exited),
            Place::Execute => add(done("execve", ""), state.set(COMMAND, Place::Run)),
            Place::Run => {
                add(chance(COMMAND, "exit"), exited);
                if state.place(LEFT_BEHIND) == Place::Idle {
                    let next = state.set(LEFT_BEHIND, Place::Run);
                    add(chance(COMMAND, "clone"), next);
                }
            }
            _ => {}
        }
    }
}
