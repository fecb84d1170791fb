//! Locks on two files, of which the second is held.

use models::several::Several;
use test_support::locks::waiter_count;
use test_support::system_calls::{Call, SystemCall, assert_explained};
use test_support::{TestEnv, wait_until};

/// Names the calls that concern the lock files `a` and `b`.
fn calls_on_files(recorded: &[SystemCall]) -> Vec<Call> {
    let (mut opened, mut calls) = (Vec::new(), Vec::<Call>::new());
    for call in recorded {
        let inode = || call.value("st_ino").or(call.value("stx_ino"));
        let is_on_path = call.args.contains("\"a\"") || call.args.contains("\"b\"");
        let was_opened = calls.last().is_some_and(|(name, _)| *name == "open");
        calls.push(match &*call.name {
            "open" | "openat" if is_on_path => ("open", ""),
            "fstat" | "newfstatat" | "statx" if was_opened && !is_on_path => {
                opened.push(inode());
                continue;
            }
            "stat" | "newfstatat" | "statx" if is_on_path && !opened.is_empty() => {
                let is_same = opened.contains(&inode());
                ("stat", if is_same { "same" } else { "other" })
            }
            "flock" if call.args.contains("LOCK_NB") => (
                "flock(LOCK_NB)",
                if call.result == "0" { "ok" } else { "EAGAIN" },
            ),
            "flock" => ("flock", "ok"),
            "close" if calls.last() == Some(&("stat", "other")) => ("close", ""),
            "clone" | "fork" => ("clone", ""),
            "exit_group" => ("exit", ""),
            _ => continue,
        });
    }
    calls
}

fn explain(calls: &[Call]) -> Result<(), usize> {
    Several::new(2, 3).explain(calls)
}

#[test]
fn a_wait_for_one_of_two_is_a_path_of_the_model() {
    for is_replaced in [false, true] {
        let env = &TestEnv::new();
        for name in ["a", "b", "new"] {
            std::fs::write(env.file(name), "").expect("a file");
        }
        let holder = env.hold(&[], "b");
        let Some(command) = env.with_recording("flock", ["--also", "b", "a", "true"]) else {
            return holder.release();
        };
        let mut waiter = env.start(command);
        wait_until("it waits", || waiter_count(env.file("b")) == 1);
        if is_replaced {
            std::fs::rename(env.file("new"), env.file("b")).expect("a file");
        }
        holder.release();
        waiter.wait();
        let calls = calls_on_files(&env.recorded_calls());
        assert!(calls.len() >= 10, "{calls:?}");
        assert_explained(&calls, explain);
    }
}
