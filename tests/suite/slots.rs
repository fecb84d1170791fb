//! `--slots N`: at most so many at once, first come, first served.
//!
//! A slot is a fact of the kernel too: a byte of the lock file, far beyond any data, that is locked by whoever has the
//! descriptor (`test_support::locks::slots`).

mod living;
mod options;
mod others;
mod queue;

use crate::fair::{nothing_is_left, queuing_by};
use test_support::locks::{Slot, slots};
use test_support::process::Process;
use test_support::{TestEnv, differs_from_util_linux, wait_until};

/// Why all of these are departures.
const WHY: &str = "the reference lets in one only, or all";

/// What a holder does: says `held`, and keeps the slot until told [`Process::let_go`].
const HOLD: [&str; 4] = ["l", "sh", "-c", "echo held; read x; exit 0"];

/// Somebody who has one of so many slots.
#[track_caller]
fn hold(env: &TestEnv, slots: &str) -> Process {
    env.hold(&["--slots", slots], "l")
}

/// Somebody who waits for one, and shows his turn.
#[track_caller]
fn holder_to_be(env: &TestEnv, options: &[&str]) -> Process {
    queuing_by(env, env.flock(options.iter().chain(&HOLD)))
}

/// The slots that are taken.
fn taken(env: &TestEnv) -> Vec<Slot> {
    slots(env.file("l"))
}

/// Waits until so many are taken.
#[track_caller]
fn taken_is(env: &TestEnv, count: usize) {
    wait_until("so many slots are taken", || taken(env).len() == count);
}

/// Asserts what comes of it when somebody wants one of so many at once.
#[track_caller]
fn try_for(env: &TestEnv, slots: &str, status: i32) {
    env.run(["--slots", slots, "-n", "l", "true"])
        .assert_stderr("")
        .assert_status(status);
}

#[test]
fn as_many_enter_as_there_are_slots_and_no_more() {
    differs_from_util_linux(WHY, |env| {
        for count in [1, 2, 3, 7] {
            let number = count.to_string();
            let mut holders: Vec<Process> = (0..count).map(|_| hold(env, &number)).collect();
            assert_eq!(taken(env).len(), count);
            for how in ["-n", "-w0", "-w0.01", "-nE1", "-on", "-Fn"] {
                env.run(["--slots", &number, how, "l", "true"])
                    .assert_stderr("")
                    .assert_status(1);
            }
            env.run(["-nE42", "--slots", &number, "l", "-c", "true"])
                .assert_status(42);
            // Whoever goes, his place is free.
            holders.remove(count / 2).release();
            assert_eq!(taken(env).len(), count - 1);
            try_for(env, &number, 0);
            holders.push(hold(env, &number));
            try_for(env, &number, 1);
            holders.into_iter().for_each(Process::release);
            nothing_is_left(env, &[]);
        }
    });
}

#[test]
fn within_a_slot_the_next_one_is_another_slot() {
    differs_from_util_linux(WHY, |env| {
        env.run([
            "--slots", "3", "l", "flock", "--slots", "3", "l", "flock", "--slots", "3", "-n", "l",
            "flock", "--slots", "3", "-nE42", "l", "true",
        ])
        .assert_stderr("")
        .assert_status(42);
        assert_eq!(taken(env), []);
    });
}

#[test]
fn everybody_counts_those_who_are_in_against_his_own_number() {
    differs_from_util_linux(WHY, |env| {
        let first = hold(env, "5");
        try_for(env, "1", 1);
        try_for(env, "2", 0);
        let second = hold(env, "2");
        for (number, status) in [("1", 1), ("2", 1), ("3", 0), ("5", 0), ("1000000", 0)] {
            try_for(env, number, status);
        }
        let third = hold(env, "1000000");
        try_for(env, "3", 1);
        try_for(env, "4", 0);
        first.release();
        third.release();
        try_for(env, "1", 1);
        try_for(env, "2", 0);
        second.release();
        try_for(env, "1", 0);
        nothing_is_left(env, &[]);
    });
}

#[test]
fn all_enter_for_whom_there_is_room_though_they_come_at_the_same_time() {
    differs_from_util_linux(WHY, |env| {
        std::thread::scope(|scope| {
            for how in ["-x", "-w1000", "-o", "-F"].repeat(2) {
                scope.spawn(move || {
                    for _ in 0..20 {
                        env.run(["--slots", "8", how, "l", "true"])
                            .assert_stderr("")
                            .assert_status(0);
                    }
                });
            }
        });
        nothing_is_left(env, &[]);
    });
}

#[test]
fn whoever_waits_enters_when_anybody_goes() {
    differs_from_util_linux(WHY, |env| {
        for goes in 0..3 {
            let mut holders: Vec<Process> = (0..3).map(|_| hold(env, "3")).collect();
            let mut waiter = holder_to_be(env, &["--slots", "3"]);
            assert_eq!(taken(env).len(), 3);
            holders.remove(goes).release();
            waiter.expect_line("held");
            taken_is(env, 3);
            waiter.release();
            holders.into_iter().for_each(Process::release);
            nothing_is_left(env, &[]);
        }
    });
}

#[test]
fn one_slot_is_a_lock() {
    differs_from_util_linux(WHY, |env| {
        std::fs::write(env.file("counter"), "0\n").expect("a counter");
        let step = "read n <counter; echo $((n + 1)) >counter";
        std::thread::scope(|scope| {
            for how in ["-x", "-w1000", "-F", "-o"] {
                scope.spawn(move || {
                    for _ in 0..20 {
                        env.run(["--slots=1", how, "l", "sh", "-c", step])
                            .assert_stderr("")
                            .assert_status(0);
                    }
                });
            }
        });
        let counter = std::fs::read_to_string(env.file("counter")).expect("a counter");
        assert_eq!(counter, "80\n");
        nothing_is_left(env, &[]);
    });
}
