//! The original, and scripts that make such locks by themselves, exclude ours and are excluded by it. A few lines of
//! shell stand for them.

use super::UlockEnv;
use test_support::TestEnv;

/// As the original takes LOCK and counts a reader.
const OLD: &str =
    "old_lock() { : >tmp.$$; ln tmp.$$ lock 2>/dev/null; set -- $?; rm tmp.$$; return $1; }
    old_read() { old_lock && { [ -e counter ] || : >counter; ln counter mine; rm -f lock; }; }
    old_write() { old_lock && [ $(stat -c %h counter) = 1 ] || { rm -f lock; return 1; }; }\n";

fn sh(env: &TestEnv, script: &str) -> test_support::Outcome {
    env.sh(format!("{OLD}{script}")).assert_stderr("")
}

#[test]
fn the_old_excludes_the_new() {
    let env = TestEnv::new();
    sh(
        &env,
        "old_lock || exit 9
         ulock --timeout=0 lock; echo $?
         ulock --timeout=0 -w lock counter; echo $?
         ulock --timeout=0 -r lock counter echo never; echo $?
         rm -f lock
         ulock --timeout=0 lock; echo $?",
    )
    .assert_stdout("1\n1\n1\n0\n");
}

#[test]
fn the_new_excludes_the_old() {
    sh(
        &TestEnv::new(),
        "ulock lock; old_lock; echo $?; rm -f lock; old_lock; echo $?; rm -f lock
         ulock -w lock counter; old_read; echo $?; rm -f lock; old_read; echo $?",
    )
    .assert_stdout("1\n0\n1\n0\n");
}

#[test]
fn old_readers_keep_new_writers_out_and_new_readers_old_writers() {
    let env = TestEnv::new();
    sh(
        &env,
        "old_read || exit 9
         ulock --timeout=0 -w lock counter; echo $?
         ulock --timeout=0 -r lock counter echo both
         rm mine
         ulock --timeout=0 -w lock counter; echo $?; rm -f lock",
    )
    .assert_stdout("1\nboth\n0\n");
    env.install_script("old_write", &format!("#!/bin/sh\n{OLD}old_write\n"));
    sh(
        &env,
        "ulock -r lock counter './old_write; echo $?'; ./old_write; echo $?",
    )
    .assert_stdout("1\n0\n");
}

#[test]
fn a_new_writer_waits_for_an_old_reader() {
    let env = TestEnv::new();
    sh(&env, "old_read").assert_status(0);
    let mut writer = env.start_waiting_ulock(&["-w", "lock", "counter"]);
    sh(&env, "rm mine").assert_status(0);
    assert_eq!(writer.wait(), test_support::process::ExitReason::Exited(0));
}
