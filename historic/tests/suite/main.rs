//! The compliance suite of the historic tools, with a module for each tool.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, missing_docs)]

mod loto;
mod me_only;
mod recipes;
mod runlock;
mod supervisor;
mod traces;
mod ulock;

use std::ffi::OsStr;
use std::process::Command;
use std::time::{Duration, Instant};

use rstest::fixture;
use test_support::process::Process;
use test_support::{Outcome, TestEnv};

/// The environment of each test.
#[fixture]
fn env() -> TestEnv {
    TestEnv::new()
}

/// Command lines that are split at blanks, without a shell.
trait CommandLineEnv {
    fn env(&self) -> &TestEnv;

    fn command_line(&self, line: &str) -> Command {
        self.with_args(line, [""; 0])
    }

    /// Returns a command with further arguments, which are not split.
    fn with_args<A: AsRef<OsStr>>(&self, line: &str, args: impl IntoIterator<Item = A>) -> Command {
        let mut words = line.split_whitespace();
        let mut command = self.env().command(words.next().expect("a program"));
        command.args(words).args(args);
        command
    }

    /// Returns the command `LINE sh -c SCRIPT`.
    fn script(&self, line: &str, script: &str) -> Command {
        self.with_args(&format!("{line} sh -c"), [script])
    }

    #[track_caller]
    fn run_line(&self, line: &str) -> Outcome {
        self.env().run_command(self.command_line(line))
    }

    #[track_caller]
    fn run_script(&self, line: &str, script: &str) -> Outcome {
        self.env().run_command(self.script(line, script))
    }

    #[track_caller]
    fn start_line(&self, line: &str) -> Process {
        self.env().start(self.command_line(line))
    }

    #[track_caller]
    fn start_script(&self, line: &str, script: &str) -> Process {
        self.env().start(self.script(line, script))
    }

    /// Returns a command under an strace that injects faults or signals into its system calls.
    /// `None` if that is not possible.
    fn injected(&self, inject: &str, line: &str) -> Option<Command> {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.env()
            .with_fault_injection_into(words[0], "", inject, &words[1..])
    }

    /// Reads a file that the test or a tool has written.
    #[track_caller]
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.env().file(name)).expect("it has been written")
    }
}

impl CommandLineEnv for TestEnv {
    fn env(&self) -> &TestEnv {
        self
    }
}

/// Reads a line whose last word is a pid.
#[track_caller]
fn read_pid(process: &mut Process) -> i32 {
    let line = process.read_line();
    let word = line.rsplit(' ').next().and_then(|word| word.parse().ok());
    word.unwrap_or_else(|| panic!("no pid: {line}"))
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
