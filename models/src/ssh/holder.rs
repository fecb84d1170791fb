//! The steps of the processes on the other machine.

use super::state::{Down, Guard, Holder, Up, push, take};
use super::{Mutant, Ssh, State, WORLD};
use crate::graph::Step;
use crate::kernel::call;

impl Ssh {
    pub(super) fn add_steps_of_holder(
        &self,
        state: &State,
        client: usize,
        steps: &mut Vec<(Step, State)>,
    ) {
        let own = &state.clients[client];
        let mut add = |name, result, place, change: &dyn Fn(&mut State)| {
            let mut next = *state;
            next.clients[client].holder = place;
            change(&mut next);
            steps.push((call(3 * client as u8 + 1, name, result), next));
        };
        let nothing = |_: &mut State| {};
        let send = |message| {
            move |next: &mut State| {
                if next.clients[client].is_connected {
                    push(&mut next.clients[client].to_client, message);
                }
            }
        };
        let is_early = state.uptime < self.ttl && self.mutant != Mutant::GrantEarly;
        let time = self.time_of_holder();
        // And for one that says that it has exited.
        let has_room = own.to_client.iter().filter(|place| place.is_none()).count() > 1;
        let (first, second) = match self.mutant {
            Mutant::GuardLast => (Holder::Grant, Holder::Confirm),
            _ => (Holder::Confirm, Holder::Grant),
        };
        let after = |place| if place == first { second } else { Holder::Keep };
        match own.holder {
            Holder::Idle => {
                if let Some(Up::Request(left)) = own.to_holder[0] {
                    add("write", "renewed", Holder::Queue, &|next| {
                        take(&mut next.clients[client].to_holder);
                        next.clients[client].keep = time;
                        next.clients[client].guard = Guard::Wait;
                        send(Down::Renewed(left))(next);
                    });
                }
            }
            Holder::Queue | Holder::Early | Holder::Keep => {
                match own.to_holder[0] {
                    Some(Up::Renew(left)) if has_room => {
                        add("write", "renewed", own.holder, &|next| {
                            take(&mut next.clients[client].to_holder);
                            next.clients[client].keep = time;
                            send(Down::Renewed(left))(next);
                        });
                    }
                    // One that holds the lock is not passed by others.
                    Some(Up::Stop) if own.holder == Holder::Queue => {
                        add("kill", "SIGSTOP", own.holder, &|next| {
                            let own = &mut next.clients[client];
                            take(&mut own.to_holder);
                            own.is_guard_stopped = own.guard != Guard::None;
                        });
                    }
                    Some(Up::Stop) => add("read", "stop", own.holder, &|next| {
                        take(&mut next.clients[client].to_holder);
                    }),
                    Some(Up::Continue) => add("kill", "SIGCONT", own.holder, &|next| {
                        take(&mut next.clients[client].to_holder);
                        next.clients[client].is_guard_stopped = false;
                    }),
                    Some(Up::Release) => {
                        add(
                            "read",
                            "release",
                            Holder::Free(Some(Down::Released)),
                            &nothing,
                        );
                    }
                    _ => {}
                }
                let was_promised = own.holder == Holder::Keep;
                let stays = match self.mutant {
                    Mutant::ReleaseAtEnd => false,
                    Mutant::QueueOn => true,
                    _ => was_promised,
                };
                if !own.is_connected && !stays {
                    add("read", "end", Holder::Free(None), &nothing);
                }
                if own.keep == 0 {
                    add("poll", "timeout", Holder::Free(Some(Down::Lost)), &nothing);
                }
                if own.holder == Holder::Early && !is_early {
                    add("poll", "uptime", first, &nothing);
                }
                if own.holder == Holder::Queue && own.is_offered {
                    let then = if is_early { Holder::Early } else { first };
                    add("recvmsg", "", then, &|next| {
                        next.clients[client].is_offered = false;
                        next.clients[client].has_descriptor = true;
                    });
                } else if own.holder == Holder::Queue && own.guard == Guard::None {
                    add("recvmsg", "end", Holder::Exit, &nothing);
                }
            }
            Holder::Confirm => {
                add("write", "k", after(own.holder), &|next| {
                    let guard = &mut next.clients[client].guard;
                    if *guard == Guard::Offered {
                        *guard = Guard::Confirmed;
                    }
                });
            }
            Holder::Grant if has_room => {
                add("write", "granted", after(own.holder), &send(Down::Granted));
            }
            Holder::Grant => {}
            Holder::Free(report) => {
                let then = report.map_or(Holder::Exit, Holder::Report);
                add("kill", "", then, &|next| {
                    let own = &mut next.clients[client];
                    own.end_guard();
                    own.has_descriptor = false;
                    own.is_offered &= self.mutant == Mutant::KeepSocket;
                });
            }
            Holder::Report(message) => {
                let result = match message {
                    Down::Released => "released",
                    _ => "lost",
                };
                if has_room {
                    add("write", result, Holder::Exit, &send(message));
                }
            }
            Holder::Exit => add("exit", "", Holder::Idle, &|next| {
                next.clients[client].holder = Holder::Exit;
                next.clients[client].end_holder();
            }),
        }
    }

    pub(super) fn add_steps_of_guard(
        &self,
        state: &State,
        client: usize,
        steps: &mut Vec<(Step, State)>,
    ) {
        let own = &state.clients[client];
        if own.is_guard_stopped {
            // The shell that has started the holder continues what that has left.
            if own.holder == Holder::Idle && self.mutant != Mutant::StayStopped {
                let mut next = *state;
                next.clients[client].is_guard_stopped = false;
                steps.push((call(WORLD, "kill", "SIGCONT"), next));
            }
            return;
        }
        let mut add = |name, result, guard, change: &dyn Fn(&mut State)| {
            let mut next = *state;
            next.clients[client].guard = guard;
            change(&mut next);
            steps.push((call(3 * client as u8 + 2, name, result), next));
        };
        let nothing = |_: &mut State| {};
        let is_holder_alive = own.holder != Holder::Idle;
        match own.guard {
            Guard::Wait if state.is_free() => add("flock", "ok", Guard::Locked, &nothing),
            Guard::Locked if is_holder_alive => add("sendmsg", "", Guard::Offered, &|next| {
                next.clients[client].is_offered = true;
            }),
            Guard::Locked => add("sendmsg", "EPIPE", Guard::None, &nothing),
            Guard::Offered if !is_holder_alive => add("read", "end", Guard::None, &nothing),
            Guard::Confirmed if !is_holder_alive => {
                let then = match self.mutant {
                    Mutant::NoGuard => Guard::None,
                    _ => Guard::Alone,
                };
                add("read", "end", then, &|next| {
                    next.clients[client].guard_keeps = self.time_of_holder();
                });
            }
            Guard::Alone if own.guard_keeps == 0 => add("poll", "timeout", Guard::None, &nothing),
            _ => {}
        }
    }
}
