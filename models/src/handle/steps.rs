//! The steps of `flock`, the script, the helper, the server and time, and the faults.

use super::state::{GRACE, MARGIN, Message, Orphan, Place, State, TTL};
use super::{
    CHILD, DEPUTY, FLOCK, HELPER, Handle, Mutant, SCRIPT, SERVER, TIMEKEEPER, UNLOCK, WATCHER,
};
use crate::graph::{Kind, Model, Step};
use crate::kernel::{call, chance};

/// Adds a step and the state after it.
pub(super) type Add<'a> = dyn FnMut(Step, State) + 'a;

impl Handle {
    fn add_steps_of_flock(&self, state: &State, add: &mut Add<'_>) {
        let done = |name, result| call(FLOCK, name, result);
        let go = |place| state.set(FLOCK, place);
        let mut next = *state;
        let marks_late = self.mutant == Mutant::MarkLate;
        match state.place(FLOCK) {
            Place::Wait => {
                if let Some(left) = state.line {
                    next = go(Place::Check);
                    (next.line, next.left) = (None, left);
                    add(done("recv", "granted"), next);
                } else if state.loss_line || !state.is_alive(HELPER) {
                    add(done("recv", "end"), go(Place::Fail));
                }
            }
            Place::Check if state.left <= MARGIN + GRACE => {
                add(done("clock_gettime", "late"), go(Place::Fail));
            }
            Place::Check => {
                let then = if marks_late {
                    Place::Start
                } else {
                    Place::Mark
                };
                add(done("clock_gettime", "enough"), go(then));
            }
            Place::Mark => {
                next = go(if marks_late {
                    Place::Succeed
                } else {
                    Place::Start
                });
                next.is_marked = true;
                add(done("fcntl(F_OFD_SETLK)", "mark"), next);
            }
            Place::Start => {
                next = go(Place::WaitForGuards).set(TIMEKEEPER, Place::StartWatcher);
                add(done("fork", "timekeeper"), next);
            }
            Place::WaitForGuards if state.is_told => {
                let then = if marks_late {
                    Place::Mark
                } else {
                    Place::Succeed
                };
                add(done("read", "ready"), go(then));
            }
            Place::WaitForGuards => {
                let has_pipe = state.orphan != Orphan::None
                    || state.is_alive(TIMEKEEPER)
                    || state.is_alive(DEPUTY);
                if !has_pipe {
                    add(done("read", "end"), go(Place::Unmark));
                }
            }
            Place::Unmark => {
                next = go(Place::Fail);
                next.is_marked = false;
                add(done("fcntl(F_OFD_SETLK)", "unlock"), next);
            }
            Place::Succeed => {
                next.is_working = true;
                next.end(FLOCK);
                add(done("exit", "success"), next);
            }
            Place::Fail => {
                next.end(FLOCK);
                add(done("exit", "failure"), next);
            }
            _ => {}
        }
    }

    /// `flock -u 8`
    fn add_steps_of_unlock(state: &State, add: &mut Add<'_>) {
        let mut next = *state;
        match state.place(UNLOCK) {
            Place::Unmark => {
                next = next.set(UNLOCK, Place::Wait);
                next.is_marked = false;
                add(call(UNLOCK, "fcntl(F_OFD_SETLK)", "unlock"), next);
            }
            Place::Wait if !state.has_guards() => {
                next.is_early = state.on_server > 0 && state.left > 0;
                next.end(UNLOCK);
                add(call(UNLOCK, "fcntl(F_OFD_SETLKW)", ""), next);
            }
            _ => {}
        }
    }

    fn add_steps_of_script(state: &State, add: &mut Add<'_>) {
        let has = |process: u8| state.open & 1 << process != 0;
        for process in [SCRIPT, CHILD] {
            if has(process) {
                let mut next = *state;
                next.close(process);
                add(chance(process, "close"), next);
            }
        }
        if has(SCRIPT) && !state.has_child {
            let mut next = *state;
            next.has_child = true;
            next.open |= 1 << CHILD;
            add(chance(SCRIPT, "fork"), next);
        }
        if has(SCRIPT) && state.is_working && state.place(UNLOCK) == Place::Idle {
            let mut next = state.set(UNLOCK, Place::Unmark);
            next.open |= 1 << UNLOCK;
            add(chance(SCRIPT, "flock -u"), next);
        }
    }

    fn add_steps_of_helper(state: &State, add: &mut Add<'_>) {
        let mut next = *state;
        if state.is_released() {
            next.on_server = 0;
            next.message = Message::None;
            next.end(HELPER);
            return add(call(HELPER, "release", ""), next);
        }
        let is_read = state.line.is_none();
        match state.message {
            Message::None if state.reported.is_none() && !state.loss_line => {
                next.message = Message::Request(TTL);
                add(chance(HELPER, "send"), next);
            }
            Message::Answer(left) if is_read => {
                next.message = Message::None;
                next.line = Some(left);
                add(chance(HELPER, "receive"), next);
            }
            Message::Refusal => {
                next.message = Message::None;
                next.loss_line = true;
                next.reported = Some(0);
                add(chance(HELPER, "receive"), next);
            }
            _ => {}
        }
    }

    fn add_steps_of_server(&self, state: &State, add: &mut Add<'_>) {
        let mut next = *state;
        if let Message::Request(left) = state.message {
            if state.on_server == 0 {
                next.message = Message::Refusal;
            } else {
                next.message = Message::Answer(left);
                next.on_server = TTL;
                next.has_drifted = false;
            }
            add(chance(SERVER, "renew"), next);
        }
        if state.message != Message::None {
            let message = Message::None;
            add(chance(SERVER, "lose"), State { message, ..*state });
        }
        if self.is_lost && state.on_server > 0 && state.message == Message::None {
            let mut next = *state;
            (next.on_server, next.is_lost) = (0, true);
            next.message = Message::Refusal;
            add(chance(SERVER, "revoke"), next);
        }
    }

    fn add_ticks(state: &State, add: &mut Add<'_>) {
        let tick = |left: i8| (left - 1).max(0);
        let mut next = *state;
        next.left = tick(state.left);
        next.line = state.line.map(tick);
        next.taken = state.taken.map(tick);
        next.kill_in = state.kill_in.map(tick);
        next.reported = state.reported.map(|ticks| (ticks + 1).min(GRACE + 1));
        next.message = match state.message {
            Message::Request(left) => Message::Request(tick(left)),
            Message::Answer(left) => Message::Answer(tick(left)),
            message => message,
        };
        next.on_server = tick(state.on_server);
        let kind = Kind::Timer;
        let step = |name| Step {
            kind,
            ..call(SERVER, name, "")
        };
        add(step("tick"), next);
        if !state.has_drifted && state.on_server > 0 {
            next.on_server = tick(next.on_server);
            next.has_drifted = true;
            add(step("tick of a fast clock"), next);
        }
    }

    fn add_faults(&self, state: &State, add: &mut Add<'_>) {
        // With one fault, few of them matter later on.
        let remembers = |process, those: &[u8]| self.faults > 1 || those.contains(&process);
        for process in FLOCK..=UNLOCK {
            let bit = 1 << process;
            let is_victim = self.victims & bit != 0 && state.faults < self.faults;
            if is_victim && state.is_alive(process) {
                let mut next = *state;
                next.faults += 1;
                if state.stopped & bit == 0 {
                    let mut stopped = next;
                    stopped.stopped |= bit;
                    if remembers(process, &[TIMEKEEPER, HELPER]) {
                        stopped.was_stopped |= bit;
                    }
                    add(chance(process, "SIGSTOP"), stopped);
                }
                if remembers(process, &[HELPER]) {
                    next.killed |= bit;
                }
                match process {
                    TIMEKEEPER => next.end_timekeeper(),
                    _ => next.end(process),
                }
                add(chance(process, "SIGKILL"), next);
            }
            if state.stopped & bit != 0 {
                let mut next = *state;
                next.stopped &= !bit;
                add(chance(process, "SIGCONT"), next);
            }
        }
        if state.orphan == Orphan::Stopped {
            let orphan = Orphan::Runs;
            add(chance(WATCHER, "SIGCONT"), State { orphan, ..*state });
        }
    }
}

impl Model for Handle {
    type State = State;

    fn initial(&self) -> State {
        State::initial()
    }

    fn steps(&self, state: &State, steps: &mut Vec<(Step, State)>) {
        let mut add = |step, next| steps.push((step, next));
        let mut is_urgent = false;
        let mut add_urgent = |step: Step, next| {
            is_urgent |= next != *state;
            add(step, next);
        };
        if state.may_run(FLOCK) {
            self.add_steps_of_flock(state, &mut add_urgent);
        }
        if state.may_run(TIMEKEEPER) {
            self.add_steps_of_timekeeper(state, &mut add_urgent);
        }
        if state.may_run(DEPUTY) {
            self.add_steps_of_deputy(state, &mut add_urgent);
        }
        if state.may_run(WATCHER) {
            self.add_steps_of_watcher(state, &mut add_urgent);
        }
        Self::add_steps_of_orphan(state, &mut add_urgent);
        if state.may_run(UNLOCK) {
            Self::add_steps_of_unlock(state, &mut add_urgent);
        }
        Self::add_steps_of_script(state, &mut add);
        if state.may_run(HELPER) {
            Self::add_steps_of_helper(state, &mut add);
        }
        self.add_steps_of_server(state, &mut add);
        if !is_urgent {
            Self::add_ticks(state, &mut add);
        }
        self.add_faults(state, &mut add);
        steps.iter_mut().for_each(|(_, next)| next.normalize());
    }
}
