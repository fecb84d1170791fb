//! The server, the network, time, and what goes wrong.

use super::message::{Listing, Message, Request, Sighting};
use super::state::{MARGIN, Marker, Place, Row, Session};
use super::{MAX, Mutant, Postgres, SERVER, State};
use crate::graph::{Kind, Model, Step};
use crate::kernel::{call, chance};

impl State {
    /// Whether a transaction is inserting a row, and holds the lock of the name.
    fn is_name_locked(&self) -> bool {
        (0..MAX).any(|process| self.is_row_locked(process))
    }

    /// Whether a transaction is inserting this row, or storing a marker in it.
    fn is_row_locked(&self, row: usize) -> bool {
        let mut sessions = self.processes[row].sessions.iter();
        sessions.any(|session| session.message.is_entering())
    }

    /// Reads the rows as of now, for a session that sees its own changes.
    fn read(&self, process: usize, session: usize, is_entering: bool) -> Message {
        let own = &self.processes[process];
        let sees_own = own.row.is_committed || is_entering && own.row.token != 0;
        let last = if sees_own { own.row.token } else { u8::MAX };
        let is_seen = |other: &usize| {
            let row = &self.processes[*other].row;
            *other != process && row.is_committed && row.token < last
        };
        let mut others = [None; MAX - 1];
        for (place, row) in others.iter_mut().zip((0..MAX).filter(is_seen)) {
            let Row {
                is_granted,
                free_for,
                ..
            } = self.processes[row].row;
            *place = Some(Sighting {
                row: row as u8,
                is_granted,
                is_same: true,
                free_for,
            });
        }
        others.sort_unstable();
        let has_marker = is_entering || own.row.marker == Marker::Of(session as u8);
        let obstacle = (0..MAX).filter(is_seen);
        let obstacle = obstacle.max_by_key(|row| self.processes[*row].row.token);
        Message::Reading {
            listing: Listing {
                own: (sees_own && has_marker).then_some((own.row.is_granted, true)),
                obstacle: obstacle.map(|row| row as u8),
            },
            others,
            is_entering,
            left: 0,
        }
    }

    fn has_session(&self, row: u8) -> bool {
        let process = &self.processes[usize::from(row)];
        match process.row.marker {
            Marker::Of(session) => process.sessions[usize::from(session)].has_marker,
            Marker::Free => false,
        }
    }
}

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
        let is_free = !next.processes.iter().any(|other| other.row.is_committed);
        let token = next.next_token();
        let own = &mut next.processes[process];
        own.sessions[session].has_marker = true;
        if own.row.token == 0 {
            own.row = Row {
                token,
                is_granted: is_free,
                marker: Marker::Of(session as u8),
                ..Row::default()
            };
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
                Request::Enter | Request::List | Request::Listen(_) => false,
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
                Request::Renew => is_own && (has_marker || self.mutant == Mutant::RenewAnyMarker),
                Request::Resume => is_own,
                Request::Release => true,
            };
        if is_changed {
            match request {
                Request::Delete(_) | Request::Release => next.delete_row(row),
                Request::Note(_, time) => target.row.free_for = Some(time),
                Request::Grant => target.row.is_granted = true,
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
        }
        self.add_steps_of_server(state, steps);
        let mut next = *state;
        next.tick(self.long_enough());
        let tick = Step {
            kind: Kind::Timer,
            ..call(SERVER, "tick", "")
        };
        steps.push((tick, next));
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
