//! A lock on another machine, by ssh (`remote/src/ssh`): the machine's lock is held by the holder and
//! the guard until the command is dead, whatever happens to them, to the helper and to the
//! connection.
//!
//! Time passes in ticks, at any moment. The holder keeps the lock for longer than the time to live,
//! and its clock may be faster by as much as that; both are left out, so it keeps the lock for the
//! time to live. A process may take any time for anything, so one that is stopped is like a slow one,
//! except for a waiter whose `flock` is stopped: then what waits for it on the other machine is to be
//! stopped, too. The connection delivers messages in order and as late as it likes, and may end. A
//! process may be killed; the other machine may be restarted.
//!
//! Left out: processes that do not wait; the order of the queue, which is that of the other machine's
//! `flock`; kernels before 5.6, where the holder has no descriptor; the other machine's own locks,
//! which do not wait after a restart; and what the lease demands of the command, which is in the
//! model of the lease. A client connects again only when nothing is left of its last connection.

mod client;
mod holder;
mod state;

use crate::graph::{Always, Graph, Model, Step};
use crate::kernel::{chance, timer};
use crate::trace;

use state::{Guard, Holder, Place};
pub use state::{MAX, State};

/// Time, and the connections.
pub const WORLD: u8 = 3 * MAX as u8;
/// The process on the other machine that serves the first client.
pub const HOLDER: u8 = 1;

/// What is modelled.
#[derive(Clone, Copy, Debug)]
pub struct Ssh {
    /// The number of clients.
    pub clients: u8,
    /// The time to live, in ticks: a multiple of three.
    pub ttl: i8,
    /// How many renewals may be unanswered.
    pub renewals: usize,
    /// How often a connection ends, a process is killed, or the other machine is restarted.
    pub faults: u8,
    /// How often a waiter is stopped.
    pub stops: u8,
    /// Whether states are one if they differ only in the numbers of the first two clients.
    pub is_exchangeable: bool,
    /// What is wrong with the program.
    pub mutant: Mutant,
}

/// An error in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// None.
    Correct,
    /// A lease lasts for the time to live from an answer on.
    CountFromAnswer,
    /// An answer counts for the last renewal that was sent.
    CountLastSent,
    /// The holder keeps the lock for no longer than the time to live, and its clock is faster.
    NoExtraTime,
    /// The end of the connection releases the lock.
    ReleaseAtEnd,
    /// The client learns that the lock is granted before the guard does.
    GuardLast,
    /// The guard exits with the holder.
    NoGuard,
    /// The lock is granted soon after a restart.
    GrantEarly,
    /// A descriptor that the guard has sent, and the holder has not received, outlives the release.
    KeepSocket,
    /// A waiter whose connection has ended stays in the queue.
    QueueOn,
    /// A client that connects again does not say that it is stopped.
    StopOnce,
    /// A client does not say that it is continued.
    NoContinue,
    /// A guard that is stopped stays so if the holder is killed.
    StayStopped,
}

impl Ssh {
    /// The properties of every state.
    pub const ALWAYS: [Always<State>; 3] = [
        ("at most one command runs", |state| {
            (0..MAX).filter(|client| state.is_inside(*client)).count() < 2
        }),
        (
            "no command runs without the lock, unless the other machine was restarted",
            |state| (0..MAX).all(|client| !state.is_inside(client) || state.is_excluding(client)),
        ),
        ("the lock is free when the client learns that", |state| {
            (0..MAX).all(|client| !state.is_released(client) || !state.has_lock(client))
        }),
    ];

    /// Whatever fails.
    pub const IN_STEP: [Always<State>; 1] = [(
        "what waits there is stopped as the client is, when that has been reported",
        |state| (0..MAX).all(|client| state.is_in_step(client)),
    )];

    /// Returns the correct program.
    pub fn new(clients: u8, ttl: i8, faults: u8) -> Self {
        Self {
            clients,
            ttl,
            renewals: 1,
            faults,
            stops: 0,
            is_exchangeable: false,
            mutant: Mutant::Correct,
        }
    }

    /// How long the holder keeps the lock after a renewal, if its clock is fast.
    fn time_of_holder(&self) -> i8 {
        match self.mutant {
            Mutant::NoExtraTime => self.ttl - 1,
            _ => self.ttl,
        }
    }

    /// Checks that the holder can make these system calls, with these results.
    ///
    /// # Errors
    ///
    /// The number of calls that it can make.
    pub fn explain_holder(&self, calls: &[(&str, &str)]) -> Result<(), usize> {
        trace::explain_of(self, HOLDER, calls)
    }

    /// Returns the state diagram of the holder.
    pub fn diagram(graph: &Graph<'_, Self>) -> String {
        trace::diagram_of(graph, HOLDER, |state| {
            // Without what Mermaid does not allow in a name.
            let place = format!("{:?}", state.holder(0)).replace(['(', ')'], "");
            place.replace("Some", "").replace("None", "")
        })
    }

    /// `flock` is stopped or continued.
    fn add_stops(&self, state: &State, client: usize, steps: &mut Vec<(Step, State)>) {
        let own = &state.clients[client];
        let mut next = *state;
        next.clients[client].is_stopped = !own.is_stopped;
        let may_stop = matches!(own.place, Place::Wait | Place::Retry);
        if own.is_stopped {
            steps.push((chance(3 * client as u8, "SIGCONT"), next));
        } else if may_stop && state.stops < self.stops {
            next.stops += 1;
            steps.push((chance(3 * client as u8, "SIGTSTP"), next));
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
        for client in 0..usize::from(self.clients) {
            let own = &state.clients[client];
            let process = 3 * client as u8;
            if own.is_connected {
                let mut next = start;
                next.clients[client].cut();
                add(chance(WORLD, "cut"), next);
            }
            if !matches!(own.place, Place::Idle | Place::Retry | Place::Alone) {
                let mut next = start;
                next.clients[client].cut();
                next.clients[client].place = match own.place {
                    Place::Hold => Place::Alone,
                    _ => Place::Idle,
                };
                add(chance(process, "SIGKILL"), next);
            }
            if own.holder != Holder::Idle {
                let mut next = start;
                next.clients[client].end_holder();
                add(chance(process + 1, "SIGKILL"), next);
            }
            if own.guard != Guard::None {
                let mut next = start;
                next.clients[client].end_guard();
                add(chance(process + 2, "SIGKILL"), next);
            }
        }
        let mut next = start;
        (next.uptime, next.was_restarted) = (0, true);
        for client in &mut next.clients {
            client.cut();
            client.end_holder();
            client.end_guard();
        }
        add(chance(WORLD, "restart"), next);
    }
}

impl Model for Ssh {
    type State = State;

    fn initial(&self) -> State {
        State {
            uptime: self.ttl,
            ..State::default()
        }
    }

    fn steps(&self, state: &State, steps: &mut Vec<(Step, State)>) {
        for client in 0..usize::from(self.clients) {
            self.add_steps_of_client(state, client, steps);
            self.add_steps_of_holder(state, client, steps);
            self.add_steps_of_guard(state, client, steps);
            self.add_stops(state, client, steps);
        }
        let mut next = *state;
        next.tick(self.ttl);
        steps.push((timer(WORLD, "tick", ""), next));
        self.add_faults(state, steps);
        for (_, next) in steps {
            next.normalize();
            if self.is_exchangeable {
                *next = next.exchange().min(*next);
            }
        }
    }
}
