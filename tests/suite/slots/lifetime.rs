//! How long a slot is held: as long as a process has the descriptor that the command inherits.

use super::{assert_slots_held, assert_try, held_slots, hold_slot, wait_for_slot};
use crate::queue::{ONE_SLOT, assert_clean, assert_idle, assert_queue_len, assert_served};
use libc::{SIGHUP, SIGKILL, SIGTERM};
use rstest::rstest;
use test_support::TestEnv;
use test_support::process::{ExitReason, send_signal};

#[test]
fn command_keeps_its_slot_after_flock_was_killed() {
    let env = &TestEnv::new();
    let mut flock = hold_slot(env, "1");
    flock.kill();
    assert_slots_held(env, 1);
    assert_try(env, "1", 1);
    flock.close_stdin();
    assert_slots_held(env, 0);
    assert_try(env, "1", 0);
}

#[test]
fn background_processes_of_the_command_keep_the_slot() {
    let env = &TestEnv::new();
    env.sh(
        "mkfifo end; flock --slots 2 l sh -c 'read x <end &' </dev/null
        flock --slots 1 -n l true; echo $?; flock --slots 2 -n l true; echo $?
        echo >end; flock --slots 1 l true; echo $?",
    )
    .assert_all(0, "1\n0\n0\n", "");
    assert_eq!(held_slots(env), []);
}

#[test]
fn waiters_see_command_exit_after_flock_was_killed() {
    let env = &TestEnv::new();
    let mut flock = hold_slot(env, "1");
    let waiters = [(); 2].map(|()| wait_for_slot(env, "1"));
    flock.kill();
    assert_idle(env, ONE_SLOT, &[waiters[0].pid(), waiters[1].pid()]);
    assert_queue_len(env, 2);
    flock.close_stdin();
    waiters.into_iter().for_each(assert_served);
    assert_clean(env, &[]);
}

#[test]
fn waiter_sees_exit_of_background_process() {
    let env = &TestEnv::new();
    let background = "flock --slots 1 l sh -c 'read x <end &' </dev/null >/dev/null 2>&1";
    env.sh(format!("mkfifo end; {background}")).assert_status(0);
    assert_eq!(held_slots(env).len(), 1);
    let waiter = wait_for_slot(env, "1");
    assert_idle(env, ONE_SLOT, &[waiter.pid()]);
    std::fs::write(env.file("end"), "\n").expect("a FIFO");
    assert_served(waiter);
    assert_clean(env, &[]);
}

#[rstest]
fn signal_to_the_group_frees_the_slot(
    #[values("-x", "-o", "-F")] option: &str,
    #[values(SIGKILL, SIGTERM, SIGHUP)] signal: i32,
) {
    let env = &TestEnv::new();
    let mut flock = env.hold(&["--slots", "1", option], "l");
    assert_eq!(held_slots(env).len(), 1);
    assert!(send_signal(-flock.pid(), signal));
    flock.wait();
    assert_slots_held(env, 0);
    assert_try(env, "1", 0);
}

#[test]
fn signal_that_terminates_the_command_frees_the_slot() {
    let env = &TestEnv::new();
    let mut flock = hold_slot(env, "1");
    flock.signal(SIGTERM);
    assert_eq!(flock.wait(), ExitReason::Signaled(SIGTERM));
    assert_eq!(held_slots(env), []);
    assert_try(env, "1", 0);
}

#[test]
fn slot_that_the_command_does_not_inherit_is_flocks() {
    let env = &TestEnv::new();
    let script = "flock --slots 1 -n l true; echo $?; ls -l /proc/self/fd | grep -c '/l$'";
    env.run(["--slots", "1", "-o", "l", "sh", "-c", script])
        .assert_stdout("1\n0\n");
    let mut flock = env.hold(&["--slots", "1", "-o"], "l");
    assert_eq!(held_slots(env).len(), 1);
    flock.kill();
    assert_slots_held(env, 0);
    assert_try(env, "1", 0);
    env.sh(
        "mkfifo end; flock --slots 1 -o l sh -c 'read x <end &' </dev/null
        flock --slots 1 -n l true; echo $?; echo >end",
    )
    .assert_stdout("0\n");
}

#[test]
fn command_in_place_of_flock_holds_the_slot() {
    let env = &TestEnv::new();
    let command = env.hold(&["--slots", "1", "-F"], "l");
    assert_eq!(held_slots(env)[0].pid, command.pid());
    command.release();
    assert_eq!(held_slots(env), []);
}
