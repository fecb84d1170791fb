//! The steps of a process.

use super::state::{Answer, Listing, Message, Place, Process, Request};
use super::{Etcd, MARGIN, Mutant, State};
use crate::graph::{Places, Step};
use crate::kernel::{call, chance};

impl Place {
    /// What a process asks for.
    pub(super) fn request(self) -> Option<Request> {
        match self {
            Self::Look => Some(Request::Look),
            Self::Grant => Some(Request::Grant),
            Self::RenewGranted
            | Self::RenewWaiting
            | Self::RenewStopped
            | Self::Confirm
            | Self::Renew => Some(Request::Renew),
            Self::Enter => Some(Request::Enter),
            Self::List | Self::FindKey => Some(Request::List),
            Self::Mark => Some(Request::Mark),
            Self::Unmark => Some(Request::Unmark),
            Self::Overtake => Some(Request::Move),
            Self::Withdraw | Self::Revoke => Some(Request::Revoke),
            _ => None,
        }
    }
}

impl Process {
    fn is_renewal_due(&self, ttl: i8) -> bool {
        self.left <= ttl - ttl / 3
    }
}

impl Places for State {
    type Place = Place;

    fn set_place(&mut self, process: u8, place: Place) {
        self.processes[usize::from(process)].place = place;
    }
}

impl Etcd {
    /// A request was answered that has granted or renewed the lease.
    fn extend(&self, own: &mut Process, left: i8) {
        own.is_doubtful = own.left <= MARGIN && self.mutant != Mutant::TrustLateAnswer;
        own.left = match self.mutant {
            Mutant::CountFromAnswer => self.ttl,
            _ => left,
        };
    }

    /// What a process does that has found no key in its way.
    fn confirm(&self, own: &Process) -> Place {
        // Five sixths must be left, so that a tick may be enough to renew it or not.
        match (own.left == self.ttl, own.is_doubtful) {
            (false, true) if self.mutant == Mutant::ClearDoubt => Place::Confirm,
            (_, true) => Place::Withdraw,
            (true, false) => Place::Hold,
            (false, false) => Place::Confirm,
        }
    }

    /// What a process does that has listed the keys.
    fn after_listing(&self, own: &mut Process, listing: Listing) -> Place {
        match listing {
            Listing::First | Listing::Behind { .. } | Listing::BehindStopped if own.is_stopped => {
                Place::Mark
            }
            Listing::BehindStopped => Place::Overtake,
            Listing::First => self.confirm(own),
            Listing::Behind { .. } if self.mutant == Mutant::AnyKeyBefore => self.confirm(own),
            Listing::Behind {
                lease,
                is_only,
                is_deleted,
                is_written,
            } => {
                own.obstacle = lease;
                own.is_last = is_only;
                own.is_written = is_written;
                own.is_notified = is_deleted && self.mutant != Mutant::WatchFromOpening;
                Place::Wait
            }
            Listing::Absent { is_free: true } if self.mutant == Mutant::HoldWithoutKey => {
                Place::Hold
            }
            Listing::Absent { .. } => Place::Withdraw,
        }
    }

    /// What a process does with an answer.
    fn receive(&self, state: &mut State, process: usize, answer: Answer, left: i8) {
        let key = state.leases[2 * process].key;
        let own = &mut state.processes[process];
        own.message = Message::None;
        if answer == Answer::Lease {
            if own.place == Place::Grant {
                own.left = left;
            }
            self.extend(own, left);
        }
        let is_doubtful = own.is_doubtful;
        let after_doubt = |place| if is_doubtful { Place::Withdraw } else { place };
        own.place = match (own.place, answer) {
            (Place::Look, Answer::Listed(Listing::Absent { is_free: true })) => Place::Choose,
            (Place::Look, _) => Place::Exit,
            (Place::Enter, Answer::Listed(Listing::Absent { is_free: true }))
                if own.is_unchanged.is_some() =>
            {
                Place::Enter
            }
            (Place::Enter, Answer::Listed(Listing::Absent { .. } | Listing::Behind { .. }))
                if own.is_unchanged.is_some() =>
            {
                Place::Revoke
            }
            (Place::Grant, Answer::Exists) => Place::RenewGranted,
            (Place::Grant | Place::RenewGranted, _) => Place::Enter,
            (Place::Enter | Place::List, Answer::Listed(listing)) => {
                self.after_listing(own, listing)
            }
            (Place::RenewWaiting, _) => Place::List,
            (Place::RenewStopped, _) | (Place::Mark, Answer::Written) => Place::Stopped,
            (Place::Unmark | Place::Overtake, Answer::Written) => Place::List,
            (Place::Confirm, Answer::Lease) => after_doubt(Place::Hold),
            (Place::Renew, Answer::Lease) if is_doubtful => Place::Lost,
            (Place::Renew, Answer::Lease) => Place::Hold,
            (Place::Renew, Answer::Unknown) if self.mutant == Mutant::TrustUnknown => {
                state.has_false_alarm |= key != 0;
                Place::Lost
            }
            (Place::Renew, Answer::Unknown) => Place::FindKey,
            (Place::FindKey, Answer::Listed(Listing::Absent { .. })) => {
                state.has_false_alarm |= key != 0;
                Place::Lost
            }
            (Place::FindKey, _) => Place::Hold,
            (Place::Withdraw, _) => Place::Choose,
            (Place::Revoke, _) => Place::Exit,
            // The lease has ended.
            _ => Place::Withdraw,
        };
    }

    pub(super) fn add_steps_of(&self, state: &State, process: u8, steps: &mut Vec<(Step, State)>) {
        let index = usize::from(process);
        let own = state.processes[index];
        let mut push = |step, place, change: &dyn Fn(&mut State)| {
            steps.push((step, state.after(process, place, change)));
        };
        let done = |name, result| call(process, name, result);
        let nothing = |_: &mut State| {};
        match (own.place.request(), own.message) {
            (Some(request), Message::None) => {
                let name = match request {
                    Request::Grant => "grant",
                    Request::Renew => "keepalive",
                    Request::Enter => "txn",
                    Request::Look | Request::List => "range",
                    Request::Mark => "txn: stopped",
                    Request::Unmark => "txn: continued",
                    Request::Move => "txn: move",
                    Request::Revoke => "revoke",
                };
                // When the others are sent does not matter.
                let is_timed = matches!(request, Request::Grant | Request::Renew);
                push(done(name, ""), own.place, &|next| {
                    let own = &mut next.processes[index];
                    if self.mutant == Mutant::EnterAtOnce {
                        own.is_unchanged = own.is_unchanged.map(|_| true);
                    }
                    next.processes[index].message = match is_timed {
                        true => Message::Request(request, self.ttl),
                        false => Message::Answer(next.apply(request, 2 * index, self), 0),
                    };
                });
            }
            (Some(_), Message::Answer(answer, left)) => {
                let result = match answer {
                    Answer::Lease => "ok",
                    Answer::Exists => "exists",
                    Answer::Unknown => "unknown",
                    Answer::Listed(Listing::First) => "first",
                    Answer::Listed(Listing::Behind { .. }) => "behind",
                    Answer::Listed(Listing::BehindStopped) => "behind stopped",
                    Answer::Listed(Listing::Absent { .. }) => "absent",
                    Answer::Written => "written",
                    Answer::Revoked => "revoked",
                };
                push(done("answer", result), own.place, &|next| {
                    self.receive(next, index, answer, left);
                });
            }
            _ => {}
        }
        let revoke = match self.mutant {
            Mutant::NoRevocation => Place::Exit,
            _ => Place::Revoke,
        };
        let may_stop = matches!(own.place, Place::Enter | Place::Wait | Place::List);
        if may_stop && !own.is_stopped && state.stops < self.stops {
            push(chance(process, "SIGTSTP"), own.place, &|next| {
                next.stops += 1;
                next.processes[index].is_stopped = true;
            });
        }
        if own.is_stopped {
            push(chance(process, "SIGCONT"), own.place, &|next| {
                next.processes[index].is_stopped = false;
            });
        }
        match own.place {
            Place::Idle if self.nonblocking & 1 << process != 0 => {
                push(chance(process, ""), Place::Look, &|next| {
                    next.processes[index].is_unchanged = Some(false);
                });
            }
            Place::Idle => push(chance(process, ""), Place::Choose, &nothing),
            Place::Choose if state.may_choose(index) => {
                push(done("random", ""), Place::Grant, &|next| {
                    next.choose(index);
                    next.processes[index].left = self.ttl;
                });
            }
            Place::Wait => {
                if own.is_stopped {
                    push(done("poll", "stopped"), Place::Mark, &nothing);
                }
                let unless_stopped = |place| match own.is_stopped {
                    true => Place::Mark,
                    false => place,
                };
                if own.is_written {
                    push(
                        done("watch", "written"),
                        unless_stopped(Place::List),
                        &nothing,
                    );
                }
                if own.is_notified {
                    let place = match own.is_last {
                        true if self.mutant == Mutant::TrustDeletion => Place::Hold,
                        true => self.confirm(&own),
                        false => Place::List,
                    };
                    push(done("watch", "deleted"), unless_stopped(place), &nothing);
                }
                // The key before that, or its own one.
                if !own.is_last || state.leases[2 * index].key == 0 {
                    push(chance(process, "watch"), Place::List, &nothing);
                }
                if own.is_renewal_due(self.ttl) {
                    push(done("poll", "timeout"), Place::RenewWaiting, &nothing);
                }
                push(chance(process, "flock exits"), revoke, &nothing);
            }
            Place::Stopped => {
                let place = match self.mutant {
                    Mutant::KeepMark => Place::List,
                    _ => Place::Unmark,
                };
                if !own.is_stopped {
                    push(done("poll", "continued"), place, &nothing);
                }
                if own.is_renewal_due(self.ttl) {
                    push(done("poll", "timeout"), Place::RenewStopped, &nothing);
                }
                push(chance(process, "flock exits"), revoke, &nothing);
            }
            Place::Hold | Place::Renew | Place::FindKey => {
                if state.leases[2 * index].key == 0 {
                    push(done("watch", "deleted"), Place::Lost, &|next| {
                        next.processes[index].message = Message::None;
                    });
                }
                if own.place == Place::Hold && own.is_renewal_due(self.ttl) {
                    push(done("poll", "timeout"), Place::Renew, &nothing);
                }
                push(done("flock exits", ""), revoke, &|next| {
                    next.processes[index].message = Message::None
                });
            }
            Place::Lost => push(done("flock exits", ""), revoke, &nothing),
            Place::Exit => push(done("exit", ""), Place::Idle, &|next| next.end(index)),
            _ => {}
        }
    }
}
