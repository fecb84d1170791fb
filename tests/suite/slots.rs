//! What is peculiar to `--slots N`: up to N holders at a time.
//!
//! Every process can see the slots that are held (`test_support::locks::slots`). A slot is held as
//! long as a process has the descriptor.

mod combinations;
mod lifetime;
mod options;
mod pid_collisions;
mod waiting;

use rstest::rstest;
use test_support::locks::{Slot, slots};
use test_support::process::Process;
use test_support::{TestEnv, wait_until};

use crate::queue::{assert_clean, run_simultaneously, spawn_waiting_holder};

#[track_caller]
fn hold_slot(env: &TestEnv, slots: &str) -> Process {
    env.hold(&["--slots", slots], "l")
}

#[track_caller]
fn hold_all_slots(env: &TestEnv, slots: usize) -> Vec<Process> {
    let number = slots.to_string();
    (0..slots).map(|_| hold_slot(env, &number)).collect()
}

#[track_caller]
fn wait_for_slot(env: &TestEnv, slots: &str) -> Process {
    spawn_waiting_holder(env, &["--slots", slots])
}

fn held_slots(env: &TestEnv) -> Vec<Slot> {
    slots(env.file("l"))
}

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
        .assert_all(status, "", "");
}

#[rstest]
fn slots_limit_the_number_of_holders(#[values(1, 2, 3, 7)] count: usize) {
    let env = &TestEnv::new();
    let number = &count.to_string()[..];
    let mut holders = hold_all_slots(env, count);
    assert_eq!(held_slots(env).len(), count);
    for option in ["-n", "-w0", "-w0.01", "-nE1", "-on", "-Fn"] {
        env.run(["--slots", number, option, "l", "true"])
            .assert_all(1, "", "");
    }
    env.run(["-nE42", "--slots", number, "l", "-c", "true"])
        .assert_status(42);
    holders.remove(count / 2).release();
    assert_eq!(held_slots(env).len(), count - 1);
    assert_try(env, number, 0);
    holders.push(hold_slot(env, number));
    assert_try(env, number, 1);
    holders.into_iter().for_each(Process::release);
    assert_clean(env, &[]);
}

#[test]
fn nested_call_takes_another_slot() {
    let env = &TestEnv::new();
    let nested = "--slots 3 l flock --slots 3 l flock --slots 3 -n l flock --slots 3 -nE42 l true";
    env.run(nested.split(' ')).assert_all(42, "", "");
    assert_eq!(held_slots(env), []);
}

#[test]
fn callers_count_holders_against_their_own_number() {
    let env = &TestEnv::new();
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
}

#[test]
fn simultaneous_callers_all_get_free_slots() {
    let env = &TestEnv::new();
    let options = ["-x", "-w1000", "-o", "-F"].repeat(2).into_iter();
    let calls = options.map(|option| vec!["--slots=8", option, "l", "true"]);
    run_simultaneously(env, 20, &Vec::from_iter(calls));
    assert_clean(env, &[]);
}

#[test]
fn single_slot_excludes_like_a_lock() {
    let env = &TestEnv::new();
    std::fs::write(env.file("counter"), "0\n").expect("a file");
    let step = "read n <counter; echo $((n + 1)) >counter";
    let call = |option| vec!["--slots=1", option, "l", "sh", "-c", step];
    run_simultaneously(env, 20, &["-x", "-w1000", "-F", "-o"].map(call));
    assert_eq!(env.read_file("counter"), "80\n");
    assert_clean(env, &[]);
}
