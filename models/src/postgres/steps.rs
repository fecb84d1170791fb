//! The steps of a process.

use super::message::{Before, Listing, Message, Request, Sighting};
use super::state::{Place, Session};
use super::{Mutant, Postgres, State};
use crate::graph::Step;
use crate::kernel::{call, chance, timer};

impl Place {
    /// Where a process goes on whose connection has ended, with a new one.
    pub(super) fn after_failure(self) -> Self {
        use Place::{Hold, Idle, Lost, Release, Renew, Resume};
        match self {
            Hold | Renew | Resume => Resume,
            Idle | Lost | Release | Self::Exit => self,
            _ => Self::Enter,
        }
    }

    /// What a process sends.
    fn request(self) -> Option<Request> {
        match self {
            Self::Enter => Some(Request::Enter),
            Self::List => Some(Request::List),
            Self::Mark | Self::Unmark => Some(Request::Mark {
                is_stopped: self == Self::Mark,
                is_same: true,
            }),
            Self::Grant => Some(Request::Grant),
            Self::Confirm | Self::Renew => Some(Request::Renew),
            Self::ConfirmMarker | Self::Resume => Some(Request::Resume),
            Self::Release => Some(Request::Release),
            _ => None,
        }
    }
}

impl Request {
    /// What the statement is called. Sightings are deleted or noted.
    fn name(self) -> &'static str {
        match self {
            Self::Enter => "enter",
            Self::List => "list",
            Self::Listen(_) => "listen",
            Self::Delete(_) => "delete",
            Self::Note(..) => "note",
            Self::Grant => "grant",
            Self::Renew => "renew",
            Self::Resume => "resume",
            Self::Mark {
                is_stopped: true, ..
            } => "stopped",
            Self::Mark { .. } => "continued",
            Self::Move(_) => "move",
            Self::Release => "release",
        }
    }
}

impl State {
    /// A process goes on, and sends a statement, over a new connection if it has none. When exactly it
    /// is sent does not matter: all that comes before may be late.
    pub(super) fn proceed(&mut self, process: usize, place: Place, ttl: i8) {
        let own = &mut self.processes[process];
        own.place = place;
        if let Some(request) = place.request() {
            self.send(process, request, ttl);
        }
    }

    fn send(&mut self, process: usize, request: Request, ttl: i8) {
        let own = &mut self.processes[process];
        match (own.is_connected, own.sessions[0].exists) {
            (false, _) => own.sessions[0] = Session::with(request, ttl),
            (true, true) => own.sessions[0].message = Message::Request(request, ttl),
            // It has ended, which is about to be noticed.
            (true, false) => {}
        }
        own.is_connected = true;
    }
}

impl Postgres {
    /// What a process does that has read the rows.
    fn after_listing(
        &self,
        state: &State,
        process: usize,
        listing: Listing,
        sighting: Option<Sighting>,
        left: i8,
    ) -> (Place, Option<Request>) {
        if let Some(sighting) = sighting {
            let request = match (sighting.is_granted, sighting.free_for) {
                (true, None) if self.mutant != Mutant::DeleteAtOnce => Request::Note(sighting, 0),
                _ => Request::Delete(sighting),
            };
            return (Place::Clean, Some(request));
        }
        let Some(own) = listing.own else {
            return (Place::Enter, None);
        };
        let is_marked = own.is_stopped && self.mutant != Mutant::KeepMark;
        let is_stored = own.is_granted || self.mutant == Mutant::GrantUnstored;
        match listing.before {
            _ if state.processes[process].is_stopped && self.mutant == Mutant::NoMark => {
                (Place::Stopped, None)
            }
            _ if is_marked || state.processes[process].is_stopped => (state.aside(process), None),
            _ if own.is_moved && self.mutant != Mutant::TrustPart => (Place::List, None),
            Before::Running(row) => match state.processes[process].channel == Some(row) {
                true => (Place::Wait, None),
                false => (Place::Listen, Some(Request::Listen(row))),
            },
            Before::Stopped(rows) => (Place::Overtake, Some(Request::Move(rows))),
            // Five sixths must be left, so that a tick may be enough to renew it or not.
            Before::None if is_stored && left == self.ttl => (Place::Hold, None),
            Before::None => (Place::Grant, None),
        }
    }

    /// What a process does after another answer.
    fn after_change(&self, state: &State, process: usize, is_changed: bool, left: i8) -> Place {
        use Place::{
            Clean, Confirm, ConfirmMarker, Enter, Exit, Grant, Hold, List, Listen, Lost, Mark,
            Overtake, Release, Renew, Resume, Stopped, Unmark, Wait,
        };
        match state.place(process) {
            Listen if self.mutant == Mutant::WaitUnread => Wait,
            Clean | Listen | Overtake => List,
            Mark if is_changed => Stopped,
            Unmark if is_changed => List,
            Mark | Unmark if !state.has_row(process) => List,
            Grant if is_changed && left < self.ttl => Confirm,
            Grant | Confirm | ConfirmMarker | Renew | Resume if is_changed => Hold,
            Grant | ConfirmMarker => Enter,
            Confirm => ConfirmMarker,
            Renew => Resume,
            Resume => Lost,
            Release => Exit,
            place => place,
        }
    }

    /// A process reads an answer. Returns what it sends then.
    fn receive(&self, next: &mut State, process: usize, message: Message) -> Option<Request> {
        let own = &mut next.processes[process];
        own.sessions[0].message = Message::None;
        let from_now = |left| match self.mutant {
            Mutant::CountFromAnswer => self.ttl,
            _ => left,
        };
        match message {
            Message::Listed(listing, sighting, left) => {
                if let Some(row) = listing.own {
                    own.has_lost_row = !row.exists;
                    own.row.is_moved &= !row.is_moved;
                }
                own.left = from_now(left);
                let (place, request) = self.after_listing(next, process, listing, sighting, left);
                next.proceed(process, place, self.ttl);
                if let Some(request) = request {
                    next.send(process, request, 0);
                }
                request.or(place.request())
            }
            Message::Changed(is_changed, left) => {
                if is_changed {
                    own.left = from_now(left);
                }
                let place = self.after_change(next, process, is_changed, left);
                next.proceed(process, place, self.ttl);
                place.request()
            }
            _ => None,
        }
    }

    /// `flock` is stopped or continued. Elsewhere, its process looks later whether it is.
    pub(super) fn add_stops_of(&self, state: &State, process: u8, steps: &mut Vec<(Step, State)>) {
        let own = &state.processes[usize::from(process)];
        let mut next = *state;
        next.processes[usize::from(process)].is_stopped = !own.is_stopped;
        let may_stop = matches!(own.place, Place::Enter | Place::List | Place::Wait);
        if own.is_stopped {
            steps.push((chance(process, "SIGCONT"), next));
        } else if may_stop && state.stops < self.stops {
            next.stops += 1;
            steps.push((chance(process, "SIGTSTP"), next));
        }
    }

    pub(super) fn add_steps_of(&self, state: &State, process: u8, steps: &mut Vec<(Step, State)>) {
        let index = usize::from(process);
        let own = &state.processes[index];
        let session = own.sessions[0];
        if own.is_connected && session.message.is_answer() {
            let mut next = *state;
            let request = self.receive(&mut next, index, session.message);
            let result = match session.message {
                Message::Listed(listing, ..) if listing.before == Before::None => "first",
                Message::Listed(..) => "behind",
                Message::Changed(true, _) => "changed",
                _ => "unchanged",
            };
            let step = match request {
                Some(request) => call(process, request.name(), ""),
                None => call(process, "answer", result),
            };
            steps.push((step, next));
        }
        let mut push = |step: Step, place: Place, change: &dyn Fn(&mut State)| {
            let mut next = *state;
            change(&mut next);
            next.proceed(index, place, self.ttl);
            let request = place.request().map(Request::name);
            let call = request.unwrap_or(step.call);
            steps.push((Step { call, ..step }, next));
        };
        let done = |name, result| call(process, name, result);
        let nothing = |_: &mut State| {};
        if own.place == Place::Idle {
            let is_over = self.is_brief && own.has_lost_row;
            if state.may_start(index) && !is_over {
                push(chance(process, ""), Place::Enter, &|next| next.start(index));
            }
            return;
        }
        let after_failure = own.place.after_failure();
        let has_ended = own.is_connected && !session.exists && session.message == Message::None;
        if has_ended && after_failure.request().is_some() {
            push(done("closed", ""), after_failure, &|next| {
                next.disconnect(index)
            });
        }
        let release = match self.mutant {
            Mutant::NoRelease => Place::Exit,
            _ => Place::Release,
        };
        // What was sent is carried out, or not.
        let give_up = |next: &mut State| {
            if next.processes[index].sessions[0].message != Message::None {
                next.disconnect(index);
            }
        };
        match own.place {
            Place::Wait => {
                if own.is_stopped {
                    push(done("stopped", ""), Place::List, &nothing);
                }
                if own.is_notified {
                    push(done("notified", ""), Place::List, &|next| {
                        next.processes[index].is_notified = false;
                    });
                }
                push(timer(process, "timeout", ""), Place::List, &nothing);
                push(chance(process, "flock exits"), release, &nothing);
            }
            Place::Stopped => {
                let place = match self.mutant {
                    Mutant::KeepMark => Place::List,
                    _ => Place::Unmark,
                };
                if !own.is_stopped {
                    push(done("continued", ""), place, &nothing);
                }
                push(chance(process, "flock exits"), release, &nothing);
            }
            Place::Hold => {
                if own.left <= self.ttl - self.ttl / 3 && session.exists {
                    push(done("timeout", ""), Place::Renew, &nothing);
                }
                push(done("flock exits", ""), release, &nothing);
            }
            Place::Renew | Place::Resume if !own.sessions[1].exists => {
                push(done("flock exits", ""), release, &give_up);
            }
            Place::Lost => push(done("flock exits", ""), release, &nothing),
            Place::Exit => push(done("exit", ""), Place::Idle, &|next| next.end(index)),
            _ => {}
        }
    }
}
