//! The steps of time, of the helper and of the server, and the faults.

use super::{
    COMMAND, FLOCK, HELPER, LEFT_BEHIND, Lease, Message, Mutant, Order, Place, SERVER, SUPERVISOR,
    State, TIMEKEEPER, TTL,
};
use crate::graph::{Kind, Model, Step};
use crate::kernel::{call, chance};

/// Adds a step and the state after it.
pub(super) type Add<'a> = dyn FnMut(Step, State) + 'a;

impl State {
    pub(super) fn set(mut self, process: u8, place: Place) -> Self {
        self.places[usize::from(process)] = place;
        self
    }

    /// A process exits or was killed.
    pub(super) fn end(&mut self, process: u8) {
        if !self.is_alive(process) {
            return;
        }
        self.places[usize::from(process)] = Place::Exited;
        self.stopped &= !(1 << process);
        match process {
            // The kernel tells the supervisor that its parent has exited,
            FLOCK => self.wake_supervisor(),
            // and kills the command with its own.
            SUPERVISOR => {
                self.is_woken = false;
                self.end(COMMAND);
            }
            _ => {}
        }
    }

    /// Forgets what no process will look at any more.
    fn normalize(&mut self) {
        if [FLOCK, SUPERVISOR, TIMEKEEPER]
            .iter()
            .any(|process| self.is_alive(*process))
        {
            return;
        }
        (self.left, self.line, self.is_lost, self.kill_in) = (0, None, false, None);
        (self.order, self.obeyed, self.is_supervisor_known) = (Order::Run, Order::Run, false);
        (self.is_woken, self.has_report) = (false, false);
        self.is_released = false;
    }
}

impl Lease {
    fn add_steps_of_helper(&self, state: &State, add: &mut Add<'_>) {
        let mut next = *state;
        let is_open = [FLOCK, SUPERVISOR, TIMEKEEPER].map(|process| state.is_alive(process));
        if is_open == [false; 3] || state.is_released {
            next.on_server = 0;
            next.message = Message::None;
            next.end(HELPER);
            return add(call(HELPER, "release", ""), next);
        }
        match state.message {
            Message::None if !state.is_lost => {
                next.message = Message::Request(TTL);
                add(chance(HELPER, "send"), next);
            }
            Message::Answer(left) => {
                next.message = Message::None;
                let from_answer = self.mutant == Mutant::CountFromAnswer;
                next.line = Some(if from_answer { TTL } else { left });
                add(chance(HELPER, "receive"), next);
            }
            Message::Refusal => {
                next.message = Message::None;
                next.is_lost = true;
                add(chance(HELPER, "receive"), next);
            }
            _ => {}
        }
    }

    fn add_steps_of_server(state: &State, add: &mut Add<'_>) {
        let mut next = *state;
        if let Message::Request(left) = state.message {
            if state.is_granted && state.on_server == 0 {
                next.message = Message::Refusal;
            } else {
                next.is_granted = true;
                next.message = Message::Answer(left);
                next.on_server = TTL;
                next.has_drifted = false;
            }
            add(chance(SERVER, "grant"), next);
        }
        if state.message != Message::None {
            let message = Message::None;
            add(chance(SERVER, "lose"), State { message, ..*state });
        }
    }

    fn add_ticks(state: &State, add: &mut Add<'_>) {
        let tick = |left: i8| (left - 1).max(0);
        let mut next = *state;
        next.left = tick(state.left);
        next.line = state.line.map(tick);
        next.kill_in = state.kill_in.map(tick);
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
        for process in FLOCK..=COMMAND {
            let bit = 1 << process;
            let is_ours = process != COMMAND || state.place(COMMAND) != Place::Run;
            if state.is_alive(process) && is_ours && state.faults < self.faults {
                let mut next = *state;
                next.faults += 1;
                if state.stopped & bit == 0 {
                    let mut stopped = next;
                    stopped.stopped |= bit;
                    stopped.was_stopped |= bit;
                    add(chance(process, "SIGSTOP"), stopped);
                }
                next.killed |= bit;
                next.end(process);
                add(chance(process, "SIGKILL"), next);
            }
            if state.stopped & bit != 0 {
                let mut next = *state;
                next.stopped &= !bit;
                add(chance(process, "SIGCONT"), next);
            }
        }
    }
}

impl Model for Lease {
    type State = State;

    fn initial(&self) -> State {
        let mut places = [Place::Idle; 6];
        places[usize::from(FLOCK)] = Place::Wait;
        places[usize::from(HELPER)] = Place::Run;
        State {
            places,
            stopped: 0,
            killed: 0,
            was_stopped: 0,
            faults: 0,
            is_granted: false,
            on_server: 0,
            has_drifted: false,
            message: Message::None,
            line: None,
            is_lost: false,
            left: 0,
            kill_in: None,
            order: Order::Run,
            obeyed: Order::Run,
            is_supervisor_known: false,
            is_woken: false,
            has_report: false,
            is_released: false,
        }
    }

    fn steps(&self, state: &State, steps: &mut Vec<(Step, State)>) {
        let mut add = |step, next| steps.push((step, next));
        let mut is_urgent = false;
        let mut add_urgent = |step: Step, next| {
            is_urgent |= step.kind == Kind::Progress && next != *state;
            add(step, next);
        };
        if state.may_run(FLOCK) {
            self.add_steps_of_flock(state, &mut add_urgent);
        }
        if state.may_run(SUPERVISOR) {
            self.add_steps_of_supervisor(state, &mut add_urgent);
        }
        if state.may_run(TIMEKEEPER) {
            self.add_steps_of_timekeeper(state, &mut add_urgent);
        }
        if state.may_run(COMMAND) {
            self.add_steps_of_command(state, &mut add_urgent);
        }
        if state.may_run(HELPER) {
            self.add_steps_of_helper(state, &mut add);
        }
        Self::add_steps_of_server(state, &mut add);
        if state.is_alive(LEFT_BEHIND) {
            let mut next = *state;
            next.end(LEFT_BEHIND);
            add(chance(LEFT_BEHIND, "exit"), next);
        }
        if !is_urgent {
            Self::add_ticks(state, &mut add);
        }
        self.add_faults(state, &mut add);
        steps.iter_mut().for_each(|(_, next)| next.normalize());
    }
}
