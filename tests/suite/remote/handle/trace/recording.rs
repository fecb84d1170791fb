//! The system calls of `flock` and the guards, as the model names them.

use std::collections::BTreeMap;

use test_support::system_calls::{Call, SystemCall};

/// What the byte of a lock is for: see `src/lock/mark.rs`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Mark = 0,
    Life = 1,
    Loss = 3,
}

/// The calls of all processes.
pub struct Recording(BTreeMap<i32, Vec<SystemCall>>);

impl Recording {
    pub fn new(processes: BTreeMap<i32, Vec<SystemCall>>) -> Self {
        Self(processes)
    }

    /// Returns the PIDs of those that have called this with this argument.
    fn with(&self, name: &str, arg: &str) -> Vec<i32> {
        let is_it = |call: &SystemCall| call.name == name && call.args.contains(arg);
        let found = self.0.iter().filter(|(_, calls)| calls.iter().any(is_it));
        found.map(|(pid, _)| *pid).collect()
    }

    /// Returns the PIDs of the guards that began with this name.
    fn guards(&self, name: &str) -> Vec<i32> {
        let is_name = |call: &&SystemCall| call.args.starts_with("PR_SET_NAME, \"lock-");
        let begins = |pid: &i32| {
            let first = self.0[pid].iter().find(is_name);
            first.is_some_and(|call| call.args.contains(name))
        };
        let mut pids = self.with("prctl", name);
        pids.retain(begins);
        pids
    }

    /// Returns the calls of `flock 8 test://n`.
    pub fn flock(&self) -> Vec<Call> {
        self.of_caller("\"8\", \"test://n\"]")
    }

    /// Returns the calls of `flock -u 8`.
    pub fn unlock(&self) -> Vec<Call> {
        self.of_caller("\"-u\", \"8\"]")
    }

    fn of_caller(&self, args: &str) -> Vec<Call> {
        let pids = self.with("execve", args);
        assert_eq!(pids.len(), 1, "{args}");
        let timekeepers = self.guards("lock-timekeeper");
        let name = |call: &SystemCall| {
            let has = |text: &str| call.args.contains(text);
            Some(match &*call.name {
                "recvfrom" | "recv" if has("\"granted ") => ("recv", "granted"),
                "fcntl" | "fcntl64" => match lock_of(call) {
                    Some(("F_OFD_SETLK", "F_UNLCK", Role::Mark)) => {
                        ("fcntl(F_OFD_SETLK)", "unlock")
                    }
                    Some(("F_OFD_SETLK", _, Role::Mark)) => ("fcntl(F_OFD_SETLK)", "mark"),
                    Some(("F_OFD_SETLKW", _, Role::Life)) => ("fcntl(F_OFD_SETLKW)", ""),
                    _ => return None,
                },
                "clone" | "fork" if is_one_of(&timekeepers, &call.result) => ("fork", "timekeeper"),
                "read" if has(", \".\", 1") => ("read", "ready"),
                // The exit of `flock -u` is not a step.
                "exit_group" if args.contains("-u") => return None,
                "exit_group" if call.args == "0" => ("exit", "success"),
                "exit_group" => ("exit", "failure"),
                _ => return None,
            })
        };
        self.0[&pids[0]].iter().filter_map(name).collect()
    }

    /// Returns the calls of each watcher, those that made few calls first.
    pub fn watchers(&self) -> Vec<Vec<Call>> {
        let parents = [self.guards("lock-timekeeper"), self.guards("lock-deputy")].concat();
        let name = |call: &SystemCall| {
            Some(match &*call.name {
                "prctl" if call.args.contains("PR_SET_PDEATHSIG") => {
                    ("prctl(PR_SET_PDEATHSIG)", "")
                }
                "getppid" if is_one_of(&parents, &call.result) => ("getppid", "same"),
                "getppid" => ("getppid", "other"),
                "fcntl" | "fcntl64" if call.result == "0" => match lock_of(call) {
                    Some(("F_OFD_SETLKW", _, Role::Mark)) => ("fcntl(F_OFD_SETLKW)", ""),
                    _ => return None,
                },
                "kill" if call.args.contains("SIGCONT") && is_one_of(&parents, &call.args) => {
                    ("kill", "timekeeper")
                }
                _ => return None,
            })
        };
        let calls_of = |pid: &i32| self.0[pid].iter().filter_map(name).collect();
        by_length(self.guards("lock-watcher").iter().map(calls_of))
    }

    /// Returns the calls of the timekeeper.
    pub fn timekeeper(&self) -> Vec<Call> {
        let pids = self.guards("lock-timekeeper");
        assert_eq!(pids.len(), 1, "one timekeeper is started");
        self.of_timekeeper(&self.0[&pids[0]])
    }

    /// Returns the calls of the deputy. One that it has started itself makes none.
    pub fn deputy(&self) -> Vec<Call> {
        let calls_of = |pid: &i32| self.of_deputy(&self.0[pid]);
        by_length(self.guards("lock-deputy").iter().map(calls_of)).concat()
    }

    /// Names the calls of a deputy, which may become the timekeeper.
    fn of_deputy(&self, recorded: &[SystemCall]) -> Vec<Call> {
        let is_takeover =
            |call: &SystemCall| matches!(&*call.name, "recvfrom" | "recv") && is_end(call);
        let takeover = recorded.iter().position(is_takeover);
        let (before, after) = recorded.split_at(takeover.unwrap_or(recorded.len()));
        let timekeepers = self.guards("lock-timekeeper");
        let mut calls = Vec::new();
        for call in before {
            let has = |text: &str| call.args.contains(text);
            if is_kill(call) {
                add_kill(&mut calls);
            } else if call.name == "kill" && has("SIGCONT") && is_one_of(&timekeepers, &call.args) {
                calls.push(("kill", "timekeeper"));
            }
        }
        if let [_, after @ ..] = after {
            calls.push(("poll", "end"));
            calls.extend(self.of_timekeeper(after));
        }
        calls
    }

    fn of_timekeeper(&self, recorded: &[SystemCall]) -> Vec<Call> {
        let watchers = self.guards("lock-watcher");
        // One that was killed in its first moment has no name.
        let mut deputies = Vec::new();
        let (mut is_shut, mut is_loss_reported) = (false, false);
        let mut calls = Vec::new();
        for call in recorded {
            let has = |text: &str| call.args.contains(text);
            let is_line = has("\\n\"");
            let named = match &*call.name {
                "clone" | "fork" if is_one_of(&watchers, &call.result) => ("fork", "watcher"),
                "clone" | "fork" => {
                    deputies.extend(call.result.parse::<i32>());
                    ("fork", "deputy")
                }
                // A successor writes it, too, when `flock` has exited.
                "write" if has("2, \".\"") && call.result == "1" => ("write", ""),
                "wait4" if has("WIFSTOPPED") => ("wait4", "stopped"),
                "wait4" if is_one_of(&watchers, &call.result) => ("wait4", "watcher"),
                "wait4" if is_one_of(&deputies, &call.result) => ("wait4", "deputy"),
                "recvfrom" | "recv" if is_line && has("MSG_PEEK") => {
                    is_loss_reported |= has("\"lost ");
                    ("recv(MSG_PEEK)", "line")
                }
                "recvfrom" | "recv" if is_line => ("recv", "line"),
                "recvfrom" | "recv" if is_shut && is_end(call) => ("recv", "end"),
                "fcntl" | "fcntl64" => match lock_of(call) {
                    Some(("F_OFD_GETLK", "F_UNLCK", Role::Mark)) => ("fcntl(F_OFD_GETLK)", "none"),
                    Some(("F_OFD_GETLK", _, Role::Mark)) => ("fcntl(F_OFD_GETLK)", "mark"),
                    // Before the processes are asked to terminate.
                    Some(("F_OFD_SETLK", _, Role::Loss)) if !is_loss_reported => ("poll", "stop"),
                    _ => continue,
                },
                "shutdown" => {
                    is_shut = true;
                    ("shutdown", "")
                }
                "kill" if has("SIGKILL") && is_one_of(&deputies, &call.args) => ("kill", "deputy"),
                _ if is_kill(call) => {
                    add_kill(&mut calls);
                    continue;
                }
                "exit_group" => ("exit", ""),
                _ => continue,
            };
            calls.push(named);
        }
        calls
    }
}

/// Returns the operation, the type and the role of a lock on a byte that belongs to a handle.
fn lock_of(call: &SystemCall) -> Option<(&str, &str, Role)> {
    let operation = call.args.split(", ").nth(1)?;
    let start: i64 = call.value("l_start")?.parse().ok()?;
    let role = match start & 3 {
        0 => Role::Mark,
        1 => Role::Life,
        _ => Role::Loss,
    };
    (call.value("l_len")? == "1").then_some((operation, call.value("l_type")?, role))
}

/// Returns whether the result or the first argument of a call is one of these PIDs.
fn is_one_of(pids: &[i32], text: &str) -> bool {
    let pid = text.split(',').next().and_then(|pid| pid.parse().ok());
    pid.is_some_and(|pid| pids.contains(&pid))
}

/// Returns whether a call has found the end of a connection.
fn is_end(call: &SystemCall) -> bool {
    call.result == "0" || call.result == "ECONNRESET"
}

/// Returns whether a call kills a process that has the descriptor.
fn is_kill(call: &SystemCall) -> bool {
    matches!(&*call.name, "kill" | "pidfd_send_signal") && call.args.contains("SIGKILL")
}

/// Adds the visit to all processes, one after the other, to which several calls belong.
fn add_kill(calls: &mut Vec<Call>) {
    if calls.last() != Some(&("kill", "others")) {
        calls.extend([("kill", "child"), ("kill", "others")]);
    }
}

fn by_length(calls: impl Iterator<Item = Vec<Call>>) -> Vec<Vec<Call>> {
    let mut calls = Vec::from_iter(calls);
    calls.sort_by_key(Vec::len);
    calls
}
