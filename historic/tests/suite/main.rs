//! The compliance suite of the historic tools, with a module for each tool.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, missing_docs)]

mod loto;
mod me_only;
mod recipes;
mod runlock;
mod supervisor;
mod ulock;

use std::process::Command;
use std::time::{Duration, Instant};

use test_support::process::Process;
use test_support::{Outcome, TestEnv};

/// Command lines that are split at blanks, without a shell.
trait CommandLineEnv {
    fn command_line(&self, line: &str) -> Command;

    /// Returns the command `LINE sh -c SCRIPT`.
    fn script(&self, line: &str, script: &str) -> Command;

    fn run_line(&self, line: &str) -> Outcome;

    fn run_script(&self, line: &str, script: &str) -> Outcome;

    fn start_line(&self, line: &str) -> Process;

    fn start_script(&self, line: &str, script: &str) -> Process;

    /// Returns a command under an strace that injects faults or signals into its system calls.
    /// `None` if that is not possible.
    fn injected(&self, inject: &str, line: &str) -> Option<Command>;

    /// Reads a file that the test or a tool has written.
    fn read(&self, name: &str) -> String;
}

impl CommandLineEnv for TestEnv {
    fn command_line(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().expect("a program"));
        command.args(words);
        command
    }

    fn script(&self, line: &str, script: &str) -> Command {
        let mut command = self.command_line(&format!("{line} sh -c"));
        command.arg(script);
        command
    }

    #[track_caller]
    fn run_line(&self, line: &str) -> Outcome {
        self.run_command(self.command_line(line))
    }

    #[track_caller]
    fn run_script(&self, line: &str, script: &str) -> Outcome {
        self.run_command(self.script(line, script))
    }

    #[track_caller]
    fn start_line(&self, line: &str) -> Process {
        self.start(self.command_line(line))
    }

    #[track_caller]
    fn start_script(&self, line: &str, script: &str) -> Process {
        self.start(self.script(line, script))
    }

    fn injected(&self, inject: &str, line: &str) -> Option<Command> {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.with_fault_injection_into(words[0], "", inject, &words[1..])
    }

    #[track_caller]
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).expect("it has been written")
    }
}

/// The pids in the output of running processes.
trait ReadPid {
    /// Reads a line whose last word is a pid.
    fn read_pid(&mut self) -> i32;
}

impl ReadPid for Process {
    #[track_caller]
    fn read_pid(&mut self) -> i32 {
        let line = self.read_line();
        let word = line.rsplit(' ').next().and_then(|word| word.parse().ok());
        word.unwrap_or_else(|| panic!("no pid: {line}"))
    }
}

/// Asserts that the command of a tool inherits the same state as the tool.
#[track_caller]
fn assert_inherits_state(env: &TestEnv, tool: &str, set_up: impl Fn(&mut Command)) {
    let state_of = |tool: &str| {
        let mut command = env.command_line(&format!("{tool} test-helper inherited-state state"));
        set_up(&mut command);
        let (state, outcome) = env.inherited_state_of(command);
        outcome.assert_all(0, "", "");
        // The pipes of stdout and stderr differ.
        let lines = state.lines().filter(|line| !line.contains(" pipe:"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(state_of(tool), state_of(""));
}

/// Waits without sleeping, because a sleep is not exact enough.
fn spin(microseconds: u64) {
    let deadline = Instant::now() + Duration::from_micros(microseconds);
    while Instant::now() < deadline {
        std::hint::spin_loop();
    }
}
