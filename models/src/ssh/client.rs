//! The steps of a helper.

use super::state::{Down, Guard, Holder, Place, Up, push, take};
use super::{Mutant, Ssh, State};
use crate::graph::Step;
use crate::kernel::{call, chance};

impl Ssh {
    /// What is left of the lease when a renewal has been answered.
    fn left_after(&self, state: &State, client: usize, left: i8) -> i8 {
        let sent = state.clients[client].to_holder.iter().flatten();
        let mut unanswered = sent.filter_map(|message| match message {
            Up::Renew(left) => Some(*left),
            _ => None,
        });
        match self.mutant {
            Mutant::CountFromAnswer => self.ttl,
            Mutant::CountLastSent => unanswered.next_back().unwrap_or(left),
            _ => left,
        }
    }

    /// A helper reads a message.
    fn receive(&self, next: &mut State, client: usize, message: Down) {
        if let Down::Renewed(left) = message {
            next.clients[client].left = self.left_after(next, client, left);
        }
        let own = &mut next.clients[client];
        // Five sixths must be left, so that a tick may be enough to renew it or not.
        let is_fresh = own.left == self.ttl;
        own.place = match (own.place, message) {
            (Place::Wait, Down::Granted) if is_fresh => Place::Hold,
            (Place::Wait, Down::Granted) => {
                push(&mut own.to_holder, Up::Renew(self.ttl));
                Place::Confirm
            }
            (Place::Confirm, Down::Renewed(_)) if is_fresh => Place::Hold,
            (Place::Hold, Down::Lost | Down::Gone) => Place::Lost,
            // It tries again.
            (Place::Wait | Place::Confirm, Down::Lost | Down::Gone) => Place::Retry,
            (Place::Release, Down::Released | Down::Gone) => Place::Idle,
            (place, _) => place,
        };
    }

    pub(super) fn add_steps_of_client(
        &self,
        state: &State,
        client: usize,
        steps: &mut Vec<(Step, State)>,
    ) {
        let own = &state.clients[client];
        let process = 3 * client as u8;
        let mut add = |step, change: &dyn Fn(&mut State)| {
            let mut next = *state;
            change(&mut next);
            steps.push((step, next));
        };
        let done = |name, result| call(process, name, result);
        let go = |next: &mut State, place| next.clients[client].place = place;
        if matches!(own.place, Place::Idle | Place::Retry) {
            let step = match own.place {
                Place::Idle => chance(process, ""),
                _ => done("connect", ""),
            };
            if own.holder == Holder::Idle && own.guard == Guard::None {
                add(step, &|next| {
                    go(next, Place::Wait);
                    let own = &mut next.clients[client];
                    own.is_connected = true;
                    push(&mut own.to_holder, Up::Request(self.ttl));
                    if self.mutant == Mutant::StopOnce {
                        own.has_reported = own.is_stopped;
                    }
                });
            }
        }
        if own.place == Place::Idle {
            return;
        }
        if let Some(message) = own.to_client[0] {
            let result = match message {
                Down::Renewed(_) => "renewed",
                Down::Granted => "granted",
                Down::Released => "released",
                Down::Lost => "lost",
                Down::Gone => "gone",
            };
            add(done("read", result), &|next| {
                take(&mut next.clients[client].to_client);
                self.receive(next, client, message);
            });
        } else if !own.is_connected {
            let then = match own.place {
                Place::Hold => Place::Alone,
                Place::Release => Place::Idle,
                Place::Alone | Place::Lost | Place::Retry => own.place,
                _ => Place::Retry,
            };
            if then != own.place {
                add(done("read", "end"), &|next| go(next, then));
            }
        }
        let is_due = own.left <= self.ttl - self.ttl / 3;
        let renews = matches!(own.place, Place::Wait | Place::Confirm | Place::Hold);
        if renews && own.is_connected && is_due && own.unanswered() < self.renewals {
            add(done("write", "renew"), &|next| {
                push(&mut next.clients[client].to_holder, Up::Renew(self.ttl));
            });
        }
        let reports = matches!(own.place, Place::Wait | Place::Confirm) && own.is_connected;
        if reports && own.is_stopped != own.has_reported {
            let (message, name) = match own.is_stopped {
                true => (Up::Stop, "stop"),
                false => (Up::Continue, "continue"),
            };
            add(done("write", name), &|next| {
                let own = &mut next.clients[client];
                own.has_reported = own.is_stopped;
                if message == Up::Stop || self.mutant != Mutant::NoContinue {
                    push(&mut own.to_holder, message);
                }
            });
        }
        let release = |next: &mut State| {
            let own = &mut next.clients[client];
            own.place = Place::Release;
            if own.is_connected {
                // Whether other messages are read before it does not matter.
                own.to_holder[1..].fill(None);
                push(&mut own.to_holder, Up::Release);
            }
        };
        match own.place {
            Place::Wait | Place::Confirm => add(chance(process, "flock exits"), &release),
            // The command does not run yet.
            Place::Hold | Place::Alone if own.is_stopped => {
                add(chance(process, "flock exits"), &release);
            }
            Place::Hold => add(done("flock exits", ""), &release),
            Place::Alone | Place::Lost => {
                add(done("flock exits", ""), &|next| go(next, Place::Idle));
            }
            Place::Retry => add(chance(process, "flock exits"), &|next| {
                go(next, Place::Idle)
            }),
            Place::Idle | Place::Release => {}
        }
    }
}
