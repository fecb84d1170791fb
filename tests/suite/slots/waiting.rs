//! Waiting for one of several slots.

use std::process::Command;

use super::{assert_slots_held, assert_try, held_slots, hold_all_slots, hold_slot, wait_for_slot};
use crate::queue::{
    HOLD, assert_clean, assert_clean_after, assert_queue_len, assert_served, spawn_waiting_holders,
    unshared_flock,
};
use rstest::rstest;
use test_support::locks::tickets;
use test_support::process::{ExitReason, Process};
use test_support::{TestEnv, can_unshare, wait_until};

/// The system calls that count and take slots are delayed, so that both callers would count before
/// one of them takes the slot, if they were not to hold the lock meanwhile.
#[test]
fn simultaneous_callers_do_not_take_the_same_slot() {
    let env = &TestEnv::new();
    std::fs::write(env.file("l"), "").expect("a file");
    let delay = "trace=fcntl,?fcntl64 inject=fcntl,?fcntl64:delay_enter=100000";
    let args = [&["--slots", "1"], &HOLD[..]].concat();
    let delayed = || env.with_fault_injection("l", delay, &args);
    let (Some(first), Some(second)) = (delayed(), delayed()) else {
        return;
    };
    let mut callers = [first, second].map(|command| env.start(command));
    wait_until("one of them waits, or both have a slot", || {
        let slots = held_slots(env).len();
        slots == 2 || slots == 1 && tickets(env.file("l")).len() == 1
    });
    assert_eq!(held_slots(env).len(), 1);
    callers.iter_mut().for_each(Process::close_stdin);
    callers.into_iter().for_each(assert_served);
    assert_clean(env, &[]);
}

#[rstest]
fn waiter_is_served_when_any_holder_exits(#[values(0, 1, 2)] exiting: usize) {
    let env = &TestEnv::new();
    let mut holders = hold_all_slots(env, 3);
    let mut waiter = wait_for_slot(env, "3");
    assert_eq!(held_slots(env).len(), 3);
    holders.remove(exiting).release();
    waiter.expect_line("held");
    assert_slots_held(env, 3);
    waiter.release();
    holders.into_iter().for_each(Process::release);
    assert_clean(env, &[]);
}

#[test]
fn free_slot_goes_to_the_head_of_the_queue() {
    let env = &TestEnv::new();
    let mut holders = hold_all_slots(env, 3);
    let waiters = spawn_waiting_holders(env, &["--slots=3"], 6);
    let mut left = waiters.len();
    for mut next in waiters {
        // Sometimes the oldest, sometimes the newest holder exits.
        holders.remove(left % holders.len()).release();
        next.expect_line("held");
        left -= 1;
        assert_queue_len(env, left);
        assert_slots_held(env, 3);
        assert_try(env, "3", 1);
        holders.push(next);
    }
    holders.into_iter().for_each(Process::release);
    assert_clean(env, &[]);
}

#[test]
fn all_free_slots_are_given_to_waiters() {
    let env = &TestEnv::new();
    let holder = env.hold(&[], "l");
    let mut waiters = spawn_waiting_holders(env, &["--slots=3"], 5);
    holder.release();
    let last = waiters.split_off(3);
    let expect_held = |waiter: &mut Process| waiter.expect_line("held");
    waiters.iter_mut().for_each(expect_held);
    assert_queue_len(env, 2);
    assert_eq!(held_slots(env).len(), 3);
    waiters.into_iter().for_each(Process::release);
    last.into_iter().for_each(assert_served);
    assert_clean(env, &[]);
}

#[test]
fn caller_with_greater_number_does_not_pass_a_waiter() {
    let env = &TestEnv::new();
    let holders = hold_all_slots(env, 2);
    let mut for_one_slot = wait_for_slot(env, "1");
    assert_try(env, "5", 1);
    let mut for_five_slots = wait_for_slot(env, "5");
    assert_queue_len(env, 2);
    for holder in holders {
        // While there is a holder, the head of the queue has to wait.
        assert_try(env, "5", 1);
        assert_queue_len(env, 2);
        holder.release();
    }
    for_one_slot.expect_line("held");
    for_five_slots.expect_line("held");
    assert_eq!(held_slots(env).len(), 2);
    for_one_slot.release();
    assert_clean_after(env, for_five_slots);
}

/// Returns a command that runs a script without `/proc`, where there are no tickets. `None` if that
/// is not possible here.
fn without_proc(env: &TestEnv, script: &str) -> Option<Command> {
    let inside = |script: &str| {
        let mut command = env.command("unshare");
        let script = format!("mount -t tmpfs none /proc || exit 99; {script}");
        command.args(["-rm", "sh", "-c", &script]);
        command
    };
    let is_possible = can_unshare(env, "-rm") && env.run_command(inside("exit 0")).code() == 0;
    is_possible.then(|| inside(script))
}

#[test]
fn slot_is_waited_for_without_proc() {
    let env = &TestEnv::new();
    let holders = hold_all_slots(env, 2);
    let script = "flock --slots 2 -w0.01 -E42 l true; echo $?
        exec flock --slots 2 l sh -c 'echo held; read x; exit 0'";
    let Some(waiter) = without_proc(env, script) else {
        return;
    };
    let mut waiter = env.start(waiter);
    waiter.expect_line("42");
    for holder in holders {
        holder.release();
    }
    waiter.expect_line("held");
    assert_eq!(held_slots(env).len(), 1);
    assert_try(env, "1", 1);
    waiter.release();
    assert_clean(env, &[]);
}

/// The waiter looks for a slot before and after its timeout, which is shorter than the time between
/// two looks. The slot is released in between, except sometimes, as it is not known when the waiter
/// looks. So most of the waiters must be served.
#[test]
fn waiter_without_proc_looks_again_after_its_timeout() {
    let env = &TestEnv::new();
    let mut lead = 0;
    while lead < 3 {
        let script = "exec flock --slots 1 --verbose -w0.09 l true";
        let Some(waiter) = without_proc(env, script) else {
            return;
        };
        let holder = hold_slot(env, "1");
        let mut waiter = env.start(waiter);
        waiter.expect("waiting for l");
        holder.release();
        lead += match waiter.wait() {
            ExitReason::Exited(0) => 1,
            _ => -1,
        };
        assert!(lead > -20, "most of them timed out");
    }
}

#[test]
fn slot_is_waited_for_if_children_are_in_another_pid_namespace() {
    let env = &TestEnv::new();
    if !can_unshare(env, "-rp") {
        return;
    }
    let run = |args: &[&str]| env.run_command(unshared_flock(env, "-rp", args));
    let holder = hold_slot(env, "1");
    run(&["--slots=1", "-w0.01", "-E42", "l", "true"]).assert_all(42, "", "");
    holder.release();
    run(&["--slots=1", "l", "sh", "-c", "echo $$"]).assert_all(0, "1\n", "");
}
