//! The steps of the guards.

use super::state::{GRACE, MARGIN, Orphan, Place, State};
use super::steps::Add;
use super::{CHILD, DEPUTY, FLOCK, HELPER, Handle, Mutant, SCRIPT, TIMEKEEPER, UNLOCK, WATCHER};
use crate::kernel::call;

impl State {
    /// A timekeeper exits or was killed, and with it the watcher, unless it is too early for that.
    pub(super) fn end_timekeeper(&mut self) {
        self.end(TIMEKEEPER);
        self.taken = None;
        let is_stopped = self.is_stopped(WATCHER);
        match self.place(WATCHER) {
            Place::AskForSignal if is_stopped => self.orphan = Orphan::Stopped,
            Place::AskForSignal => self.orphan = Orphan::Runs,
            _ => {}
        }
        self.end(WATCHER);
    }

    /// The processes are to be asked to terminate, and then to be killed.
    fn decide(&mut self) {
        let kill_in = GRACE.min(self.left - MARGIN).max(0);
        self.kill_in = self.kill_in.or(Some(kill_in));
    }

    /// Kills the processes that have the marked descriptor.
    fn kill(&mut self, processes: &[u8]) {
        for process in processes {
            if self.is_marked && self.open & 1 << process != 0 {
                self.end(*process);
            }
        }
    }
}

impl Handle {
    pub(super) fn add_steps_of_timekeeper(&self, state: &State, add: &mut Add<'_>) {
        let done = |name, result| call(TIMEKEEPER, name, result);
        let go = |place| state.set(TIMEKEEPER, place);
        match state.place(TIMEKEEPER) {
            Place::StartWatcher => {
                let then = match state.is_alive(DEPUTY) {
                    true => Place::Run,
                    false => Place::StartDeputy,
                };
                let next = go(then).set(WATCHER, Place::AskForSignal);
                add(done("fork", "watcher"), next);
            }
            Place::StartDeputy => {
                add(
                    done("fork", "deputy"),
                    go(Place::Run).set(DEPUTY, Place::Run),
                );
            }
            Place::Run => self.add_steps_of_loop(state, add),
            Place::Tell => {
                let mut next = go(Place::Run);
                next.is_told = true;
                add(done("write", ""), next);
            }
            Place::LookForMark if state.is_marked && self.mutant != Mutant::TrustWatcher => {
                add(done("fcntl(F_OFD_GETLK)", "mark"), go(Place::StartWatcher));
            }
            Place::LookForMark => {
                let next = go(match self.mutant {
                    Mutant::KillDeputyFirst => Place::KillDeputy,
                    _ => Place::Release,
                });
                add(done("fcntl(F_OFD_GETLK)", "none"), next);
            }
            Place::StoreUntil | Place::StoreLoss => self.add_store(state, add),
            Place::TakeUntil | Place::TakeLoss => self.add_take(state, add),
            Place::Kill => {
                let mut next = go(Place::Run);
                next.kill(&[SCRIPT, FLOCK, UNLOCK]);
                add(done("kill", "others"), next);
            }
            Place::Release => {
                let mut next = go(match self.mutant {
                    Mutant::NoAnswer => Place::Exit,
                    _ => Place::WaitForHelper,
                });
                next.is_shut = true;
                add(done("shutdown", ""), next);
            }
            Place::WaitForHelper if !state.is_alive(HELPER) => {
                add(done("recv", "end"), go(self.place_after_release(state)));
            }
            Place::WaitForHelper if state.left == 0 => {
                add(done("poll", "timeout"), go(self.place_after_release(state)));
            }
            Place::KillDeputy => {
                let mut next = go(match self.mutant {
                    Mutant::KillDeputyFirst => Place::Release,
                    _ => Place::Exit,
                });
                next.end(DEPUTY);
                add(done("kill", "deputy"), next);
            }
            Place::Exit => {
                let mut next = *state;
                next.end_timekeeper();
                add(done("exit", ""), next);
            }
            _ => {}
        }
    }

    fn place_after_release(&self, state: &State) -> Place {
        let leaves = matches!(self.mutant, Mutant::LeaveDeputy | Mutant::KillDeputyFirst);
        match leaves || state.place(DEPUTY) == Place::Idle {
            true => Place::Exit,
            false => Place::KillDeputy,
        }
    }

    /// What wakes the timekeeper. It looks after everything each time, in an order that does not
    /// matter.
    fn add_steps_of_loop(&self, state: &State, add: &mut Add<'_>) {
        let done = |name, result| call(TIMEKEEPER, name, result);
        let go = |place| state.set(TIMEKEEPER, place);
        if state.place(WATCHER) == Place::Exited {
            let next = go(Place::LookForMark).set(WATCHER, Place::Idle);
            add(done("wait4", "watcher"), next);
        }
        if state.place(DEPUTY) == Place::Exited {
            let next = go(Place::StartDeputy).set(DEPUTY, Place::Idle);
            add(done("wait4", "deputy"), next);
        }
        for guard in [WATCHER, DEPUTY] {
            if state.is_stopped(guard) {
                let mut next = *state;
                next.stopped &= !(1 << guard);
                add(done("wait4", "stopped"), next);
            }
        }
        let (store, take) = match (state.line, state.loss_line) {
            (Some(_), _) => (Place::StoreUntil, Place::TakeUntil),
            (None, true) => (Place::StoreLoss, Place::TakeLoss),
            (None, false) => (Place::Run, Place::Run),
        };
        if store != Place::Run {
            let takes = self.mutant == Mutant::TakeBeforeStore;
            add(
                done("recv(MSG_PEEK)", "line"),
                go(if takes { take } else { store }),
            );
        }
        let is_late = state.left <= MARGIN + GRACE;
        if state.kill_in.is_none() && is_late {
            let mut next = *state;
            next.decide();
            add(done("poll", "stop"), next);
        }
        if self.may_kill(state, TIMEKEEPER) && state.kill_in == Some(0) {
            add(done("kill", "child"), self.begin_to_kill(state, TIMEKEEPER));
        }
        let is_checked = !is_late && state.kill_in.is_none() && store == Place::Run;
        if !state.is_told && (is_checked || self.mutant == Mutant::TellUnchecked) {
            add(done("clock_gettime", "enough"), go(Place::Tell));
        }
    }

    fn add_store(&self, state: &State, add: &mut Add<'_>) {
        let takes = self.mutant == Mutant::TakeBeforeStore;
        let mut next = *state;
        let then = if state.place(TIMEKEEPER) == Place::StoreLoss {
            next.decide();
            Place::TakeLoss
        } else {
            next.left = if takes { state.taken } else { state.line }.unwrap_or_default();
            next.taken = None;
            Place::TakeUntil
        };
        let next = next.set(TIMEKEEPER, if takes { Place::Run } else { then });
        add(call(TIMEKEEPER, "", ""), next);
    }

    fn add_take(&self, state: &State, add: &mut Add<'_>) {
        let takes = self.mutant == Mutant::TakeBeforeStore;
        let mut next = *state;
        let then = if state.place(TIMEKEEPER) == Place::TakeLoss {
            next.loss_line = false;
            Place::StoreLoss
        } else {
            next.line = None;
            if takes {
                next.taken = state.line;
            }
            Place::StoreUntil
        };
        let next = next.set(TIMEKEEPER, if takes { then } else { Place::Run });
        add(call(TIMEKEEPER, "recv", "line"), next);
    }

    fn may_kill(&self, state: &State, guard: u8) -> bool {
        let is_repeated = state.have_killed & 1 << guard != 0;
        state.is_marked && !(self.mutant == Mutant::KillOnce && is_repeated)
    }

    /// The guard visits the child first, which may be started in the next moment.
    fn begin_to_kill(&self, state: &State, guard: u8) -> State {
        let mut next = state.set(guard, Place::Kill);
        next.kill(&[CHILD]);
        if self.mutant == Mutant::KillOnce {
            next.have_killed |= 1 << guard;
        }
        next
    }

    pub(super) fn add_steps_of_deputy(&self, state: &State, add: &mut Add<'_>) {
        let done = |name, result| call(DEPUTY, name, result);
        let mut next = *state;
        if state.place(DEPUTY) == Place::Kill {
            next.kill(&[SCRIPT, FLOCK, UNLOCK]);
            return add(done("kill", "others"), next.set(DEPUTY, Place::Run));
        }
        // A watcher that has just been started has the other end of the connection, too.
        if !state.is_alive(TIMEKEEPER) && state.orphan == Orphan::None {
            if self.mutant == Mutant::NoSuccessor {
                next.end(DEPUTY);
                return add(done("exit", ""), next);
            }
            next = next.set(TIMEKEEPER, Place::LookForMark);
            next = next.set(DEPUTY, Place::Idle).set(WATCHER, Place::Idle);
            next.have_killed &= !(1 << TIMEKEEPER | 1 << DEPUTY);
            add(done("poll", "end"), next);
        }
        if self.mutant == Mutant::NoSecondClock {
            return;
        }
        let is_late = state.left <= MARGIN + GRACE || state.kill_in.is_some();
        if is_late && state.is_alive(TIMEKEEPER) {
            let mut next = *state;
            next.stopped &= !(1 << TIMEKEEPER);
            add(done("kill", "timekeeper"), next);
        }
        let is_over = state.left <= MARGIN || state.kill_in == Some(0);
        if is_over && self.may_kill(state, DEPUTY) {
            add(done("kill", "child"), self.begin_to_kill(state, DEPUTY));
        }
    }

    pub(super) fn add_steps_of_watcher(&self, state: &State, add: &mut Add<'_>) {
        let done = |name, result| call(WATCHER, name, result);
        let mut next = *state;
        match state.place(WATCHER) {
            Place::AskForSignal => add(
                done("prctl(PR_SET_PDEATHSIG)", ""),
                state.set(WATCHER, Place::CheckParent),
            ),
            Place::CheckParent => add(done("getppid", "same"), state.set(WATCHER, Place::Run)),
            Place::Run if !state.is_marked => {
                match self.mutant {
                    Mutant::LeaveTimekeeper => next.end(WATCHER),
                    _ => next = next.set(WATCHER, Place::Continue),
                }
                add(done("fcntl(F_OFD_SETLKW)", ""), next);
            }
            Place::Continue => {
                next.stopped &= !(1 << TIMEKEEPER);
                next.end(WATCHER);
                add(done("kill", "timekeeper"), next);
            }
            _ => {}
        }
    }

    pub(super) fn add_steps_of_orphan(state: &State, add: &mut Add<'_>) {
        let mut next = *state;
        next.orphan = Orphan::None;
        if state.orphan == Orphan::Runs {
            add(call(WATCHER, "getppid", "other"), next);
        }
    }
}
