//! `--slots N`: at most so many at once, first come, first served.
//!
//! Every process can see the slots that are held: each is a locked byte of the lock file, far beyond any
//! data, and is held as long as a process has the descriptor (`test_support::locks::slots`).

mod combinations;
mod lifetime;
mod options;
mod pid_collisions;
mod waiting;

use crate::queue::{assert_clean, spawn_waiter_command};
use test_support::locks::{Slot, slots};
use test_support::process::Process;
use test_support::{TestEnv, differs_from_util_linux, wait_until};

/// Why all of these are departures.
const WHY: &str = "the reference lets in one only, or all";

/// The command of a holder: it prints `held`, and keeps the slot until [`Process::release`].
const HOLD: [&str; 4] = ["l", "sh", "-c", "echo held; read x; exit 0"];

/// Starts a holder of one of N slots.
#[track_caller]
fn hold_slot(env: &TestEnv, slots: &str) -> Process {
    env.hold(&["--slots", slots], "l")
}

/// Starts a waiter for a slot, and returns when it has a ticket.
#[track_caller]
fn spawn_waiting_holder(env: &TestEnv, options: &[&str]) -> Process {
    spawn_waiter_command(env, env.flock(options.iter().chain(&HOLD)))
}

/// Returns the slots that are held.
fn held_slots(env: &TestEnv) -> Vec<Slot> {
    slots(env.file("l"))
}

/// Waits until `count` slots are held.
#[track_caller]
fn assert_slots_held(env: &TestEnv, count: usize) {
    wait_until(&format!("{count} slots are held"), || {
        held_slots(env).len() == count
    });
}

/// Asserts the status of an attempt to take one of N slots without waiting.
#[track_caller]
fn assert_try(env: &TestEnv, slots: &str, status: i32) {
    env.run(["--slots", slots, "-n", "l", "true"])
        .assert_stderr("")
        .assert_status(status);
}

#[test]
fn as_many_enter_as_there_are_slots_and_no_more() {
    differs_from_util_linux(WHY, |env| {
        for count in [1, 2, 3, 7] {
            let number = count.to_string();
            let mut holders: Vec<Process> = (0..count).map(|_| hold_slot(env, &number)).collect();
            assert_eq!(held_slots(env).len(), count);
            for how in ["-n", "-w0", "-w0.01", "-nE1", "-on", "-Fn"] {
                env.run(["--slots", &number, how, "l", "true"])
                    .assert_stderr("")
                    .assert_status(1);
            }
            env.run(["-nE42", "--slots", &number, "l", "-c", "true"])
                .assert_status(42);
            // Whoever goes, his place is free.
            holders.remove(count / 2).release();
            assert_eq!(held_slots(env).len(), count - 1);
            assert_try(env, &number, 0);
            holders.push(hold_slot(env, &number));
            assert_try(env, &number, 1);
            holders.into_iter().for_each(Process::release);
            assert_clean(env, &[]);
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
        assert_eq!(held_slots(env), []);
    });
}

#[test]
fn everybody_counts_those_who_are_in_against_his_own_number() {
    differs_from_util_linux(WHY, |env| {
        let first = hold_slot(env, "5");
        assert_try(env, "1", 1);
        assert_try(env, "2", 0);
        let second = hold_slot(env, "2");
        for (number, status) in [("1", 1), ("2", 1), ("3", 0), ("5", 0), ("1000000", 0)] {
            assert_try(env, number, status);
        }
        let third = hold_slot(env, "1000000");
        assert_try(env, "3", 1);
        assert_try(env, "4", 0);
        first.release();
        third.release();
        assert_try(env, "1", 1);
        assert_try(env, "2", 0);
        second.release();
        assert_try(env, "1", 0);
        assert_clean(env, &[]);
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
        assert_clean(env, &[]);
    });
}

#[test]
fn whoever_waits_enters_when_anybody_goes() {
    differs_from_util_linux(WHY, |env| {
        for goes in 0..3 {
            let mut holders: Vec<Process> = (0..3).map(|_| hold_slot(env, "3")).collect();
            let mut waiter = spawn_waiting_holder(env, &["--slots", "3"]);
            assert_eq!(held_slots(env).len(), 3);
            holders.remove(goes).release();
            waiter.expect_line("held");
            assert_slots_held(env, 3);
            waiter.release();
            holders.into_iter().for_each(Process::release);
            assert_clean(env, &[]);
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
        assert_clean(env, &[]);
    });
}
