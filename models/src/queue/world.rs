//! What happens around the processes: the shell whose descriptor they share, and signals.

use super::{MAX, PIDS, Place, Queue, SHELL, Sentinel, State};
use crate::graph::{Model, Step};
use crate::kernel::{Descriptions, Lock, call, chance};

impl Queue {
    /// The shell opens descriptor 8, releases its lock, and closes it.
    fn add_steps_of_shell(&self, state: &State, steps: &mut Vec<(Step, State)>) {
        if self.shared == 0 {
            return;
        }
        let description = state.wanted_by_shell();
        let users = state.files.0[description].users;
        let mut next = *state;
        if users == 0 {
            next.files.open(description, 1, SHELL);
            steps.push((chance(SHELL, "open"), next));
        } else if users & 1 << SHELL != 0 {
            next.is_shell_holder = false;
            next.files.close(description, SHELL);
            steps.push((call(SHELL, "close", ""), next));
            // Not while a process is about to say that it has acquired the lock.
            let is_told = |process: usize| {
                use Place::{EndSentinel, EndTicket, Hold, ReleaseShared};
                let has_acquired = matches!(
                    state.places[process],
                    ReleaseShared | EndTicket | EndSentinel | Hold
                );
                has_acquired && self.shared & 1 << process != 0
            };
            if !(0..MAX).any(is_told) {
                let mut next = *state;
                next.is_shell_holder = false;
                next.files.0[description].lock = Lock::None;
                next.missed = 0;
                steps.push((chance(SHELL, "flock(LOCK_UN)"), next));
            }
        }
    }
}

impl Model for Queue {
    type State = State;

    fn initial(&self) -> State {
        State {
            places: [Place::Idle; MAX],
            stopped: 0,
            arrived: 0,
            files: Descriptions::default(),
            ranks: [0; MAX],
            pids: [0; MAX],
            sentinels: [Sentinel::None; PIDS],
            marked: 0,
            bounds: [0; MAX],
            targets: [(0, 0); MAX],
            gone: 0,
            watched: [0; MAX],
            woken: 0,
            seen_free: 0,
            ahead: [0; MAX],
            is_overtaken: false,
            shared: self.shared,
            is_shell_holder: false,
            missed: 0,
            is_misled: false,
        }
    }

    fn steps(&self, state: &State, steps: &mut Vec<(Step, State)>) {
        for process in 0..self.clients.len() as u8 {
            let bit = 1 << process;
            if state.stopped & bit == 0 {
                self.add_steps_of(state, process, steps);
            }
            if state.places[usize::from(process)] == Place::Idle {
                continue;
            }
            let mut change = |signal, change: &dyn Fn(&mut State)| {
                let mut next = *state;
                change(&mut next);
                steps.push((chance(process, signal), next));
            };
            change("SIGKILL", &|next| next.exit(process));
            if state.places[usize::from(process)] == Place::Forge {
                continue;
            }
            if self.stops && state.stopped & bit == 0 {
                change("SIGSTOP", &|next| {
                    next.stopped |= bit;
                    next.ahead.iter_mut().for_each(|ahead| *ahead &= !bit);
                });
            } else if self.stops {
                change("SIGCONT", &|next| next.stopped &= !bit);
            }
            let pid = state.pids[usize::from(process)];
            if self.sentinels_die && state.sentinels[usize::from(pid)] == Sentinel::Running {
                change("SIGKILL to its sentinel", &|next| {
                    next.end_sentinel(pid, Sentinel::Zombie);
                });
            }
        }
        self.add_steps_of_shell(state, steps);
        for pid in 1..PIDS as u8 {
            if state.sentinels[usize::from(pid)] == Sentinel::Orphan {
                let mut next = *state;
                next.end_sentinel(pid, Sentinel::None);
                steps.push((call(u8::MAX, "exit", ""), next));
            }
        }
    }
}
