//! The models of `runlock` and `ulock` against the programs: see `tests/suite/traces.rs`.

mod supervisor;

use super::env;
use models::hard_link::{HardLink, Takeover};
use models::pid_file::PidFile;
use rstest::rstest;
use test_support::TestEnv;
use test_support::system_calls::{Call, SystemCall, assert_explained};

/// Runs a program to its end, and returns its system calls. `None` without strace.
fn record(env: &TestEnv, program: &str, args: &[&str]) -> Option<Vec<SystemCall>> {
    let command = env.with_recording(program, args)?;
    env.run_command(command);
    Some(env.recorded_calls())
}

/// Names the calls of `runlock x`. `owner` is the state of the owner of an existing file.
fn calls_of_runlock(recorded: &[SystemCall], owner: &'static str) -> Vec<Call> {
    let (mut opened, mut is_linked, mut calls) = (None, false, Vec::<Call>::new());
    for call in recorded {
        let inode = || call.value("st_ino").or(call.value("stx_ino"));
        let has = |text: &str| call.args.contains(text);
        let is_own_read = calls.last().is_some_and(|(name, _)| *name == "read");
        calls.push(match &*call.name {
            "open" | "openat" if has("O_TMPFILE") => {
                opened = None;
                ("open(O_TMPFILE)", "")
            }
            "open" | "openat" if has("\"x.lock\"") => ("open", "ok"),
            // On 32-bit processors, musl's fstat(3) calls statx(2).
            name if !calls.is_empty() && (name == "fstat" || has("AT_EMPTY_PATH")) => {
                opened = inode();
                continue;
            }
            "newfstatat" | "lstat" | "statx" if has("\"x.lock\"") => {
                match (&*call.result, opened.is_some()) {
                    ("ENOENT", true) if is_linked => continue,
                    ("ENOENT", _) => ("lstat", "ENOENT"),
                    (_, false) => ("lstat", "ok"),
                    (_, true) if inode() == opened => ("lstat", "same"),
                    (_, true) => ("lstat", "other"),
                }
            }
            "newfstatat" | "lstat" | "statx" if has(".fdlock.") => ("lstat", "same"),
            "flock" if call.result == "0" => ("flock(LOCK_NB)", "ok"),
            "flock" => ("flock(LOCK_NB)", "EAGAIN"),
            "pread64" if !is_linked && !is_own_read && opened.is_some() => ("read", owner),
            "renameat2" => ("renameat2", "ok"),
            "unlink" | "unlinkat" => ("unlink", "ok"),
            "close" if calls.last() == Some(&("unlink", "ok")) && !is_linked => {
                opened = None;
                ("close", "")
            }
            "linkat" => {
                is_linked = true;
                ("link", "ok")
            }
            "waitid" if has("P_PID") => ("waitid", ""),
            "exit_group" => ("exit", ""),
            _ => continue,
        });
    }
    calls
}

#[rstest]
#[case::free("", "", 9)]
#[case::stale("echo 4194305 >x.lock", "dead", 18)]
#[case::held("echo $PPID >x.lock", "alive", 6)]
fn runlock_is_a_path_of_the_model(
    env: TestEnv,
    #[case] prepare: &str,
    #[case] owner: &'static str,
    #[case] count: usize,
) {
    env.sh(prepare);
    if let Some(recorded) = record(&env, "runlock", &["x", "true"]) {
        let calls = calls_of_runlock(&recorded, owner);
        assert_eq!(calls.len(), count, "{calls:?}");
        // A living owner without a flock(2) lock is the original.
        let model = PidFile {
            with_original: owner == "alive",
            ..PidFile::new(2)
        };
        assert_explained(&calls, |calls| model.explain(calls));
    }
}

/// Names the calls of `ulock l`.
fn calls_of_ulock(recorded: &[SystemCall]) -> Vec<Call> {
    let mut calls = Vec::new();
    for call in recorded {
        let has = |text: &str| call.args.contains(text);
        let is_exchanged = calls.last() == Some(&("renameat2", "ok"));
        let named = match &*call.name {
            "linkat" => ("link", if call.result == "0" { "ok" } else { "EEXIST" }),
            "open" | "openat" if has("O_PATH") && has("\"l\"") => ("open", "fresh"),
            "renameat2" => {
                let opened = calls.pop_if(|call| *call == ("open", "fresh"));
                calls.extend(opened.map(|_| ("open", "stale")));
                ("renameat2", "ok")
            }
            "newfstatat" | "lstat" | "statx" if has(".fdlock.") && is_exchanged => {
                ("lstat", "same")
            }
            "unlink" | "unlinkat" => ("unlink", ""),
            "poll" | "ppoll" | "ppoll_time64" => ("poll", ""),
            _ => continue,
        };
        calls.push(named);
    }
    calls
}

#[rstest]
#[case::free("", 1)]
#[case::stale(": >l", 5)]
fn ulock_is_a_path_of_the_model(env: TestEnv, #[case] prepare: &str, #[case] least: usize) {
    env.sh(prepare);
    if let Some(recorded) = record(&env, "ulock", &["--invalid=0.1", "l"]) {
        let calls = calls_of_ulock(&recorded);
        assert!(calls.len() >= least, "{calls:?}");
        assert_explained(&calls, |calls| {
            HardLink::new(2, Takeover::Exchange).explain(calls)
        });
    }
}
