//! The server, the network, time, and what goes wrong.

use super::message::{Message, Request, Sighting};
use super::state::{MARGIN, Marker, Place, Session};
use super::{MAX, Mutant, Postgres, SERVER, State};
use crate::graph::{Model, Step};
use crate::kernel::{call, chance, timer};

impl Postgres {
    /// After how long, by the clock of another machine, a row is deleted.
    pub(super) fn long_enough(&self) -> i8 {
        self.ttl - MARGIN
    }

    /// Whether anything is to be done about a row without a session.
    fn has_duty(&self, sighting: &Sighting) -> bool {
        let is_over = |time: i8| time >= self.long_enough() || self.mutant == Mutant::DeleteAtOnce;
        !sighting.is_granted || sighting.free_for.is_none_or(is_over)
    }

    /// Begins the transaction that inserts a row.
    fn enter(&self, state: &State, process: usize, session: usize) -> Option<State> {
        let is_unlocked = self.mutant == Mutant::TokenUnlocked;
        if state.is_row_locked(process) || !is_unlocked && state.is_name_locked() {
            return None;
        }
        let mut next = *state;
        next.processes[process].sessions[session].has_marker = true;
        if next.processes[process].row.token == 0 {
            next.insert_row(process, session);
        }
        Some(next)
    }

    /// Ends it.
    fn commit(state: &mut State, process: usize, session: usize) {
        state.mark(process, Marker::Of(session as u8));
        let row = &mut state.processes[process].row;
        (row.is_committed, row.free_for) = (true, None);
    }

    /// Carries out a statement that changes one row. `None` if it waits for another transaction.
    fn change(
        &self,
        state: &State,
        process: usize,
        session: usize,
        request: Request,
    ) -> Option<(State, bool)> {
        let mut next = *state;
        let marker = Marker::Of(session as u8);
        let row = match request {
            Request::Delete(sighting) | Request::Note(sighting, _) => usize::from(sighting.row),
            _ => process,
        };
        if row == MAX {
            return Some((next, false));
        }
        if let Request::Move(rows) = request {
            return self.change_order(state, process, session, rows);
        }
        if state.is_row_locked(row) {
            return None;
        }
        if request == Request::Resume {
            next.processes[process].sessions[session].has_marker = true;
        }
        let target = &mut next.processes[row];
        let (is_own, exists) = (!target.has_lost_row, target.row.is_committed);
        let has_marker = target.row.marker == marker;
        let is_changed = exists
            && match request {
                Request::Enter | Request::List | Request::Listen(_) | Request::Move(_) => false,
                Request::Delete(sighting) => {
                    (sighting.is_same || self.mutant == Mutant::IgnoreMarker)
                        && (sighting.is_granted == target.row.is_granted
                            || self.mutant == Mutant::IgnoreGrant)
                }
                Request::Note(sighting, _) => {
                    (sighting.is_same || self.mutant == Mutant::NoteAnyMarker)
                        && target.row.free_for.is_none()
                }
                Request::Grant => has_marker,
                Request::Mark { is_same, .. } => {
                    is_same && (has_marker || self.mutant == Mutant::TrustLateMark)
                }
                Request::Renew => is_own && (has_marker || self.mutant == Mutant::RenewAnyMarker),
                Request::Resume => is_own,
                Request::Release => true,
            };
        if is_changed {
            match request {
                Request::Delete(_) | Request::Release => next.delete_row(row),
                Request::Note(_, time) => target.row.free_for = Some(time),
                Request::Grant => target.row.is_granted = true,
                Request::Mark { is_stopped, .. } => next.write(row, is_stopped),
                Request::Resume => {
                    if self.mutant != Mutant::KeepSighting {
                        target.row.free_for = None;
                    }
                    next.mark(row, marker);
                }
                _ => {}
            }
        }
        Some((next, is_changed))
    }

    /// Moves rows of stopped processes, in the same way.
    fn change_order(
        &self,
        state: &State,
        process: usize,
        session: usize,
        rows: u8,
    ) -> Option<(State, bool)> {
        let own = state.processes[process].row;
        let has_marker = own.marker == Marker::Of(session as u8);
        if !own.is_committed || !has_marker && self.mutant != Mutant::TrustLateMark {
            return Some((*state, false));
        }
        if (0..MAX).any(|row| rows & 1 << row != 0 && state.is_row_locked(row)) {
            return None;
        }
        let rows = match self.mutant {
            Mutant::MoveRunning => state.rows_before(process),
            _ => rows,
        };
        let mut next = *state;
        next.move_behind(process, rows);
        Some((next, rows != 0))
    }

    /// What a session does next.
    fn add_steps_of_session(
        &self,
        state: &State,
        process: usize,
        session: usize,
        steps: &mut Vec<(Step, State)>,
    ) {
        let mut add = |name, mut next: State, message| {
            next.processes[process].sessions[session].message = message;
            steps.push((call(SERVER, name, ""), next));
        };
        match state.processes[process].sessions[session].message {
            Message::Request(Request::Enter, left) => {
                if let Some(next) = self.enter(state, process, session) {
                    add("insert", next, Message::Entering(left));
                }
            }
            Message::Entering(of) => {
                let mut message = state.read(process, session, true);
                if let Message::Reading { left, .. } = &mut message {
                    *left = of;
                }
                add("select rows", *state, message);
            }
            Message::Request(Request::List, of) => {
                let mut message = state.read(process, session, false);
                if let Message::Reading { left, .. } = &mut message {
                    *left = of;
                }
                add("select rows", *state, message);
            }
            Message::Reading {
                listing,
                others,
                is_entering,
                left,
            } => {
                let mut next = *state;
                if is_entering {
                    Self::commit(&mut next, process, session);
                }
                let others = others.iter().flatten();
                let without_session = others.filter(|sighting| {
                    let has_session = sighting.is_same && state.has_session(sighting.row);
                    !has_session && self.has_duty(sighting)
                });
                let mut has_duty = false;
                for sighting in without_session {
                    has_duty = true;
                    let message = Message::Listed(listing, Some(*sighting), left);
                    add("select locks", next, message);
                }
                if !has_duty {
                    let message = Message::Listed(listing, None, left);
                    add("select locks", next, message);
                }
            }
            Message::Request(Request::Listen(row), left) => {
                let mut next = *state;
                next.processes[process].channel = Some(row);
                add("listen", next, Message::Changed(false, left));
            }
            Message::Request(request, left) => {
                if let Some((next, is_changed)) = self.change(state, process, session, request) {
                    add("execute", next, Message::Changed(is_changed, left));
                }
            }
            Message::None | Message::Listed(..) | Message::Changed(..) => {}
        }
    }

    fn add_steps_of_server(&self, state: &State, steps: &mut Vec<(Step, State)>) {
        for process in 0..usize::from(self.processes) {
            let own = &state.processes[process];
            for session in 0..2 {
                self.add_steps_of_session(state, process, session, steps);
                let is_used = session == 0 && own.is_connected;
                if own.sessions[session].exists && !is_used {
                    let mut next = *state;
                    next.end_session(process, session);
                    steps.push((call(SERVER, "end session", ""), next));
                }
            }
        }
    }

    fn add_faults(&self, state: &State, steps: &mut Vec<(Step, State)>) {
        if state.faults == self.faults {
            return;
        }
        let start = State {
            faults: state.faults + 1,
            ..*state
        };
        let mut add = |step, next| steps.push((step, next));
        for process in 0..usize::from(self.processes) {
            let own = &state.processes[process];
            let [first, second] = own.sessions;
            if own.is_connected && first.exists {
                let mut next = start;
                next.end_session(process, 0);
                add(chance(SERVER, "terminate"), next);
            }
            if self.is_reachable {
                continue;
            }
            if own.is_connected && first.message != Message::None && !second.exists {
                let mut next = start;
                next.disconnect(process);
                // It deletes its row only for some time.
                if own.place == Place::Release {
                    let mut next = next;
                    next.processes[process].place = Place::Exit;
                    add(chance(process as u8, "poll"), next);
                }
                next.proceed(process, own.place.after_failure(), self.ttl);
                add(chance(process as u8, "poll"), next);
            }
            if own.place != Place::Idle {
                let mut next = start;
                next.end(process);
                add(chance(process as u8, "SIGKILL"), next);
            }
        }
        if self.is_reachable {
            return;
        }
        let mut next = start;
        for process in 0..MAX {
            (0..2).for_each(|session| next.end_session(process, session));
        }
        add(chance(SERVER, "restart"), next);
    }
}

impl Model for Postgres {
    type State = State;

    fn initial(&self) -> State {
        State::default()
    }

    fn steps(&self, state: &State, steps: &mut Vec<(Step, State)>) {
        for process in 0..self.processes {
            self.add_steps_of(state, process, steps);
            self.add_stops_of(state, process, steps);
        }
        self.add_steps_of_server(state, steps);
        if !self.is_brief {
            let mut next = *state;
            next.tick(self.long_enough());
            steps.push((timer(SERVER, "tick", ""), next));
        }
        self.add_faults(state, steps);
        for (_, next) in steps {
            next.normalize();
            if self.is_exchangeable {
                *next = next.exchange().min(*next);
            }
        }
    }
}

impl Session {
    /// A new one, which carries out a request.
    pub(super) fn with(request: Request, left: i8) -> Self {
        Self {
            exists: true,
            has_marker: false,
            message: Message::Request(request, left),
        }
    }
}
