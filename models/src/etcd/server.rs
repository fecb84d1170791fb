//! The servers, the network, time, and what goes wrong.

use super::state::{Answer, Lease, Listing, Message, Place, Request};
use super::{Etcd, Mutant, SERVER, State};
use crate::graph::{Model, Step};
use crate::kernel::{call, chance, timer};

impl State {
    /// Carries out a request.
    pub(super) fn apply(&mut self, request: Request, lease: usize, model: &Etcd) -> Answer {
        let ttl = model.ttl;
        let exists = self.leases[lease].left != 0;
        let granted = Lease {
            left: ttl,
            has_drifted: false,
            ..self.leases[lease]
        };
        let owner = lease / 2;
        match request {
            Request::Look => {
                self.processes[owner].is_unchanged = Some(true);
                let is_free = self.leases.iter().all(|lease| lease.key == 0);
                Answer::Listed(Listing::Absent { is_free })
            }
            Request::Grant if exists => Answer::Exists,
            Request::Grant => {
                self.leases[lease] = granted;
                Answer::Lease
            }
            Request::Renew if self.leases[lease].left > 0 => {
                self.leases[lease] = granted;
                Answer::Lease
            }
            // It is about to be revoked.
            Request::Renew if exists => Answer::Lease,
            Request::Renew | Request::Enter if !exists => Answer::Unknown,
            Request::Mark | Request::Unmark | Request::Move if self.leases[lease].key == 0 => {
                Answer::Unknown
            }
            Request::Mark | Request::Unmark => {
                self.write(lease, request == Request::Mark);
                if model.mutant != Mutant::TrustLateMark {
                    self.outdate(lease);
                }
                Answer::Written
            }
            Request::Move => {
                let any = model.mutant == Mutant::MoveRunning;
                self.move_behind(lease, |lease| any || lease.is_stopped);
                Answer::Written
            }
            Request::Enter => {
                if self.leases[lease].key == 0 {
                    match &mut self.processes[owner].is_unchanged {
                        Some(is_unchanged @ false) => *is_unchanged = true,
                        _ => self.create_key(lease),
                    }
                }
                Answer::Listed(self.listing(lease))
            }
            Request::List | Request::Renew => Answer::Listed(self.listing(lease)),
            Request::Revoke => {
                self.end_lease(lease);
                Answer::Revoked
            }
        }
    }
}

impl Etcd {
    fn add_steps_of_server(&self, state: &State, steps: &mut Vec<(Step, State)>) {
        let mut add = |step, next| steps.push((step, next));
        for process in 0..usize::from(self.processes) {
            let own = state.processes[process];
            if let Message::Request(request, left) = own.message {
                let lease = 2 * process;
                let mut next = *state;
                let answer = next.apply(request, lease, self);
                next.processes[process].message = Message::Answer(answer, left);
                add(call(SERVER, "apply", ""), next);
                if request == Request::Renew && state.is_leader_new {
                    let mut next = *state;
                    next.is_leader_new = false;
                    next.processes[process].message = Message::Answer(Answer::Unknown, 0);
                    add(chance(SERVER, "apply"), next);
                }
            }
            if let Some((request, lease)) = own.late {
                let mut next = *state;
                next.processes[process].late = None;
                next.apply(request, lease.into(), self);
                add(call(SERVER, "apply late", ""), next);
            }
        }
        for lease in 0..state.leases.len() {
            if state.leases[lease].left < 0 {
                let mut next = *state;
                next.end_lease(lease);
                add(call(SERVER, "revoke", ""), next);
            }
        }
    }

    fn add_ticks(&self, state: &State, steps: &mut Vec<(Step, State)>) {
        if state.leases.iter().any(|lease| lease.is_overdue(self.ttl)) {
            return;
        }
        let mut next = *state;
        next.tick();
        let step = |name| timer(SERVER, name, "");
        steps.push((step("tick"), next));
        for lease in &mut next.leases {
            if lease.left > 0 && !lease.has_drifted {
                lease.has_drifted = true;
                lease.tick();
            }
        }
        let is_overdue = next.leases.iter().any(|lease| lease.is_overdue(self.ttl));
        if !is_overdue {
            steps.push((step("tick of a fast clock"), next));
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
            let own = state.processes[process];
            if own.message != Message::None {
                let mut next = start;
                next.processes[process].message = Message::None;
                add(chance(SERVER, "lose"), next);
            }
            let request = match own.message {
                Message::None => own.place.request(),
                Message::Request(request, _) => Some(request),
                Message::Answer(..) => None,
            };
            if let Some(request) = request
                && own.late.is_none()
            {
                let mut next = start;
                let lease = 2 * process as u8;
                next.processes[process].late = Some((request, lease));
                next.processes[process].message = Message::None;
                add(chance(SERVER, "delay"), next);
            }
            // It asks only for some time.
            let gives_up = match own.place {
                Place::Withdraw => Some(Place::Choose),
                Place::Revoke => Some(Place::Exit),
                _ => None,
            };
            if let Some(place) = gives_up {
                let mut next = start;
                next.processes[process].place = place;
                next.processes[process].message = Message::None;
                add(chance(process as u8, "poll"), next);
            }
            if own.place != Place::Idle {
                let mut next = start;
                next.end(process);
                add(chance(process as u8, "SIGKILL"), next);
            }
        }
        let exists = |lease: &&mut Lease| lease.left != 0;
        let mut next = start;
        next.is_leader_new = true;
        for lease in next.leases.iter_mut().filter(exists) {
            (lease.left, lease.has_drifted) = (self.ttl, false);
        }
        add(chance(SERVER, "elect"), next);
    }
}

impl Model for Etcd {
    type State = State;

    fn initial(&self) -> State {
        State::default()
    }

    fn steps(&self, state: &State, steps: &mut Vec<(Step, State)>) {
        for process in 0..self.processes {
            self.add_steps_of(state, process, steps);
        }
        self.add_steps_of_server(state, steps);
        self.add_ticks(state, steps);
        self.add_faults(state, steps);
        for (_, next) in steps {
            next.normalize();
            if self.is_exchangeable {
                *next = next.exchange().min(*next);
            }
        }
    }
}
