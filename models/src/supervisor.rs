//! The supervisor of `loto` and `runlock` (`src/run/supervisor.rs`): neither the command nor what it
//! leaves behind outlives the lock, whichever of the processes is killed.
//!
//! The tool and the supervisor have the lock open, the command has not. The command starts one
//! process in its session, which it may leave behind, and a daemon, which is meant to stay.
//!
//! Left out: signals other than `SIGKILL`, and stops; processes with other privileges; supervisors
//! within supervisors; and the exit of a process that was killed, which takes a moment.

use crate::graph::{Always, Graph, Model, Step};
use crate::kernel::{call, chance};
use crate::trace;

/// What is modelled.
#[derive(Clone, Copy, Debug)]
pub struct Supervisor {
    /// How many processes are killed at most.
    pub kills: u8,
    /// What is wrong with the program.
    pub mutant: Mutant,
}

/// An error in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// None.
    Correct,
    /// The supervisor does not have the lock open.
    LockOfToolOnly,
    /// The supervisor exits before it has killed what the command has left behind.
    ExitFirst,
    /// The tool does not adopt what a killed supervisor leaves behind.
    NotAdopted,
    /// The supervisor looks at its parent before it asks to be notified of its end.
    LookFirst,
}

/// How far a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// It has not started.
    NotStarted,
    /// It asks to be notified when its parent exits.
    Ask,
    /// It looks whether its parent has exited.
    Look,
    /// It is about to start its child.
    Start,
    /// It waits for its child, or runs.
    Run,
    /// It kills the command, and waits for its exit.
    KillCommand,
    /// It kills what the command has left behind, and waits for its exit.
    KillLeftBehind,
    /// It exits.
    Exit,
    /// It has exited, or was killed.
    Exited,
}

/// A state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    tool: Place,
    supervisor: Place,
    command: Place,
    left_behind: Place,
    kills: u8,
    killed: [bool; 4],
    /// The tool and the supervisor were both killed.
    is_broken: bool,
    /// The supervisor was killed, and the tool has yet to kill what the command has left behind.
    is_abandoned: bool,
    /// The command has exited by itself.
    is_done: bool,
    /// The supervisor has missed the end of the tool.
    is_deaf: bool,
}

/// The process that the user has started.
pub const TOOL: u8 = 0;
/// The parent of the command.
pub const SUPERVISOR: u8 = 1;
const COMMAND: u8 = 2;
const LEFT_BEHIND: u8 = 3;

fn is_alive(place: Place) -> bool {
    !matches!(place, Place::NotStarted | Place::Exited)
}

impl State {
    /// Whether a process runs that the lock is held for.
    fn has_job(&self) -> bool {
        is_alive(self.command) || !self.is_done && is_alive(self.left_behind)
    }

    /// Whether all processes have exited, except those that are left behind on purpose.
    pub fn is_over(&self) -> bool {
        let has_keeper = is_alive(self.tool) || is_alive(self.supervisor);
        !has_keeper && !is_alive(self.command)
    }

    /// Whether the command was killed, but what it has left behind still runs.
    pub fn is_orphaned(&self) -> bool {
        self.is_over() && !self.is_done && is_alive(self.left_behind)
    }

    /// Whether the tool has exited, and the command runs.
    pub fn has_lost_tool(&self) -> bool {
        self.tool == Place::Exited && is_alive(self.command)
    }

    /// Whether the tool and the supervisor were killed.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }
}

impl Supervisor {
    /// Returns the properties of every state.
    pub fn always(&self) -> [Always<State>; 1] {
        let with_tool_only: Always<State> = (
            "while the command, or what it has left behind, runs, the lock is held",
            |state| state.is_broken || !state.has_job() || is_alive(state.tool),
        );
        let with_both: Always<State> = (with_tool_only.0, |state| {
            let is_held = is_alive(state.tool) || is_alive(state.supervisor);
            state.is_broken || !state.has_job() || is_held
        });
        [if self.mutant == Mutant::LockOfToolOnly {
            with_tool_only
        } else {
            with_both
        }]
    }

    /// Checks that the tool (0) or the supervisor (1) can make these system calls, with these results.
    ///
    /// # Errors
    ///
    /// The number of calls that it can make.
    pub fn explain(&self, process: u8, calls: &[(&str, &str)]) -> Result<(), usize> {
        trace::explain_of(self, process, calls)
    }

    /// Returns the state diagram of the supervisor.
    pub fn diagram(graph: &Graph<'_, Self>) -> String {
        trace::diagram_of(graph, SUPERVISOR, |state| format!("{:?}", state.supervisor))
    }

    fn add_steps_of_tool(&self, state: &State, add: &mut dyn FnMut(Step, State)) {
        let next = |tool| State { tool, ..*state };
        let done = |name| call(TOOL, name, "");
        match state.tool {
            Place::Start => add(
                done("fork"),
                State {
                    supervisor: self.first_place(),
                    ..next(Place::Run)
                },
            ),
            Place::Run if state.supervisor == Place::Exited => {
                let adopts = state.is_abandoned && self.mutant != Mutant::NotAdopted;
                let then = if adopts {
                    Place::KillCommand
                } else {
                    Place::Exit
                };
                add(done("waitid"), next(then));
            }
            Place::KillCommand | Place::KillLeftBehind => {
                self.add_kills(state, TOOL, &mut |step, after, place| {
                    add(
                        step,
                        State {
                            tool: place,
                            ..after
                        },
                    );
                });
            }
            Place::Exit => add(done("exit"), next(Place::Exited)),
            _ => {}
        }
    }

    fn first_place(&self) -> Place {
        match self.mutant {
            Mutant::LookFirst => Place::Look,
            _ => Place::Ask,
        }
    }

    fn add_steps_of_supervisor(&self, state: &State, add: &mut dyn FnMut(Step, State)) {
        let next = |supervisor| State {
            supervisor,
            ..*state
        };
        let done = |name, result| call(SUPERVISOR, name, result);
        let is_orphan = state.tool == Place::Exited;
        match state.supervisor {
            Place::Ask => {
                let then = if self.mutant == Mutant::LookFirst {
                    Place::Start
                } else {
                    Place::Look
                };
                let is_deaf = self.mutant == Mutant::LookFirst && is_orphan;
                let step = done("prctl(PR_SET_PDEATHSIG)", "");
                add(
                    step,
                    State {
                        is_deaf,
                        ..next(then)
                    },
                );
            }
            Place::Look if is_orphan => add(done("getppid", "other"), next(Place::Exit)),
            Place::Look => {
                let then = if self.mutant == Mutant::LookFirst {
                    Place::Ask
                } else {
                    Place::Start
                };
                add(done("getppid", "same"), next(then));
            }
            Place::Start => add(
                done("clone", ""),
                State {
                    command: Place::Start,
                    ..next(Place::Run)
                },
            ),
            Place::Run if is_orphan && !state.is_deaf => {
                add(done("SIGCONT", ""), next(Place::KillCommand))
            }
            Place::Run if state.command == Place::Exited => {
                add(done("waitid", ""), next(Place::Exit));
            }
            Place::KillCommand | Place::KillLeftBehind => {
                self.add_kills(state, SUPERVISOR, &mut |step, after, supervisor| {
                    add(
                        step,
                        State {
                            supervisor,
                            ..after
                        },
                    );
                });
            }
            Place::Exit => add(done("exit", ""), next(Place::Exited)),
            _ => {}
        }
    }

    /// Kills the command first, so that it starts nothing more, and then what it has left behind.
    fn add_kills(&self, state: &State, by: u8, add: &mut dyn FnMut(Step, State, Place)) {
        let place = if by == TOOL {
            state.tool
        } else {
            state.supervisor
        };
        let mut next = *state;
        if place == Place::KillCommand {
            let is_hasty = self.mutant == Mutant::ExitFirst && by == SUPERVISOR;
            let then = if is_hasty {
                Place::Exit
            } else {
                Place::KillLeftBehind
            };
            if is_alive(next.command) {
                next.command = Place::Exited;
            }
            add(call(by, "kill command", ""), next, then);
        } else {
            if is_alive(next.left_behind) {
                next.left_behind = Place::Exited;
            }
            next.is_abandoned = false;
            add(call(by, "kill children", ""), next, Place::Exit);
        }
    }

    fn add_kill(&self, state: &State, process: u8, add: &mut dyn FnMut(Step, State)) {
        let mut next = *state;
        next.kills += 1;
        match process {
            TOOL => next.tool = Place::Exited,
            SUPERVISOR => {
                next.supervisor = Place::Exited;
                // The kernel kills the command with its parent.
                if is_alive(next.command) {
                    next.command = Place::Exited;
                }
                next.is_abandoned = true;
            }
            COMMAND => next.command = Place::Exited,
            _ => next.left_behind = Place::Exited,
        }
        // A command that is killed leaves processes behind as one that exits by itself does.
        next.is_done |= process == COMMAND && is_alive(next.tool) && is_alive(next.supervisor);
        next.killed[usize::from(process)] = true;
        next.is_broken = next.killed[..2] == [true; 2];
        add(chance(process, "SIGKILL"), next);
    }
}

impl Model for Supervisor {
    type State = State;

    fn initial(&self) -> State {
        State {
            tool: Place::Start,
            supervisor: Place::NotStarted,
            command: Place::NotStarted,
            left_behind: Place::NotStarted,
            kills: 0,
            killed: [false; 4],
            is_broken: false,
            is_abandoned: false,
            is_done: false,
            is_deaf: false,
        }
    }

    fn steps(&self, state: &State, steps: &mut Vec<(Step, State)>) {
        let mut add = |step, next| steps.push((step, next));
        self.add_steps_of_tool(state, &mut add);
        self.add_steps_of_supervisor(state, &mut add);
        match state.command {
            Place::Start => add(
                call(COMMAND, "clone", ""),
                State {
                    command: Place::Run,
                    left_behind: Place::Run,
                    ..*state
                },
            ),
            Place::Run => add(
                call(COMMAND, "exit", ""),
                State {
                    command: Place::Exited,
                    is_done: true,
                    ..*state
                },
            ),
            _ => {}
        }
        if state.left_behind == Place::Run {
            let left_behind = Place::Exited;
            let step = chance(LEFT_BEHIND, "exit");
            add(
                step,
                State {
                    left_behind,
                    ..*state
                },
            );
        }
        if state.kills < self.kills {
            let places = [
                state.tool,
                state.supervisor,
                state.command,
                state.left_behind,
            ];
            for (process, place) in (0..).zip(places) {
                if is_alive(place) {
                    self.add_kill(state, process, &mut add);
                }
            }
        }
    }
}
