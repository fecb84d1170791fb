//! The system calls of a program, recorded by strace(1).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::process::Command;

use crate::TestEnv;

/// A system call that has returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemCall {
    /// Its name, such as `flock`.
    pub name: String,
    /// Its arguments, as strace shows them in full (`-v`).
    pub args: String,
    /// Its result: the number or the name of the error.
    pub result: String,
}

impl SystemCall {
    /// Returns the value of `key=value` among the arguments.
    pub fn value(&self, key: &str) -> Option<&str> {
        let (_, value) = self.args.split_once(&format!("{key}="))?;
        value.split([',', '}']).next()
    }

    /// Parses a line such as `flock(3, LOCK_EX) = -1 EINTR (Interrupted system call)`.
    fn parse(line: &str) -> Option<Self> {
        let (call, result) = line.rsplit_once(" = ")?;
        let (name, args) = call.trim_end().strip_suffix(')')?.split_once('(')?;
        let mut words = result.split(' ');
        let result = match words.next()? {
            "-1" | "?" => words.next().unwrap_or("?"),
            number => number,
        };
        Some(Self {
            name: name.to_owned(),
            args: args.to_owned(),
            result: result.to_owned(),
        })
    }
}

/// Where strace writes what it records.
const FILE: &str = "system-calls";

impl TestEnv {
    /// Returns a command under an strace that records its system calls, without those of its
    /// children. `None` if strace is not installed or not permitted to trace.
    pub fn with_recording<A: AsRef<OsStr>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = A>,
    ) -> Option<Command> {
        self.with_fault_injection_into("true", "", "trace=none", &[])?;
        let mut command = self.command("strace");
        command
            .args(["--quiet=all", "-v", "-o", FILE, program])
            .args(args);
        Some(command)
    }

    /// Returns a command as [`with_recording`](Self::with_recording), under an strace that also
    /// records those of its children.
    pub fn with_recording_of_all<A: AsRef<OsStr>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = A>,
    ) -> Option<Command> {
        self.with_fault_injection_into("true", "", "trace=none", &[])?;
        let mut command = self.command("strace");
        command
            .args(["--quiet=all", "-v", "-s4096", "-ff", "-o", FILE, program])
            .args(args);
        Some(command)
    }

    /// Returns the system calls of a process and its children, in the order of their PIDs.
    pub fn recorded_processes(&self) -> BTreeMap<i32, Vec<SystemCall>> {
        let files = std::fs::read_dir(self.file("")).expect("a directory");
        let names = files.map(|file| file.expect("a file").file_name());
        let pids = names.filter_map(|name| {
            let pid = name.to_str()?.strip_prefix(FILE)?.strip_prefix('.')?;
            pid.parse::<i32>().ok()
        });
        pids.map(|pid| (pid, self.calls_in(&format!("{FILE}.{pid}"))))
            .collect()
    }

    /// Returns the system calls that were recorded.
    pub fn recorded_calls(&self) -> Vec<SystemCall> {
        self.calls_in(FILE)
    }

    fn calls_in(&self, file: &str) -> Vec<SystemCall> {
        self.read_file(file)
            .lines()
            .filter_map(SystemCall::parse)
            .collect()
    }
}

/// A call and its result, as a model names them.
pub type Call = (&'static str, &'static str);

/// Asserts that a model explains the calls, but not with two of them in reverse order.
///
/// # Panics
///
/// If it does not. `explain` returns the number of calls that it explains.
#[track_caller]
pub fn assert_explained(calls: &[Call], explain: impl Fn(&[Call]) -> Result<(), usize>) {
    if let Err(index) = explain(calls) {
        panic!(
            "not in the model: {:?} after {:?}",
            calls[index],
            &calls[..index]
        );
    }
    for index in 1..calls.len() {
        let mut reordered = calls.to_vec();
        reordered.swap(index - 1, index);
        let is_same = calls[index - 1] == calls[index];
        assert!(is_same || explain(&reordered).is_err(), "{reordered:?}");
    }
}
