//! The original `ulock`, and scripts that create such locks themselves, exclude this one and are
//! excluded by it. A few shell functions stand for them.

use rstest::rstest;
use test_support::process::ExitReason;
use test_support::{Outcome, TestEnv};

use super::start_writer;

use crate::env;

/// How the original takes LOCK and counts a reader.
const ORIGINAL: &str =
    "old_lock() { : >tmp.$$; ln tmp.$$ lock 2>/dev/null; set -- $?; rm tmp.$$; return $1; }
    old_read() { old_lock && { [ -e counter ] || : >counter; ln counter mine; rm -f lock; }; }
    old_write() { old_lock && [ $(stat -c %h counter) = 1 ] || { rm -f lock; return 1; }; }\n";

#[track_caller]
fn sh(env: &TestEnv, script: &str) -> Outcome {
    env.sh(format!("{ORIGINAL}{script}")).assert_stderr("")
}

#[test]
fn original_excludes_ulock() {
    sh(
        &TestEnv::new(),
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
fn ulock_excludes_original() {
    sh(
        &TestEnv::new(),
        "ulock lock; old_lock; echo $?; rm -f lock; old_lock; echo $?; rm -f lock
         ulock -w lock counter; old_read; echo $?; rm -f lock; old_read; echo $?",
    )
    .assert_stdout("1\n0\n1\n0\n");
}

#[rstest]
fn readers_exclude_writers_of_other_version(env: TestEnv) {
    sh(
        &env,
        "old_read || exit 9
         ulock --timeout=0 -w lock counter; echo $?
         ulock --timeout=0 -r lock counter echo both
         rm mine
         ulock --timeout=0 -w lock counter; echo $?; rm -f lock",
    )
    .assert_stdout("1\nboth\n0\n");
    env.install_script("old_write", &format!("#!/bin/sh\n{ORIGINAL}old_write\n"));
    sh(
        &env,
        "ulock -r lock counter './old_write; echo $?'; ./old_write; echo $?",
    )
    .assert_stdout("1\n0\n");
}

#[rstest]
fn writer_waits_for_reader_of_original(env: TestEnv) {
    sh(&env, "old_read").assert_status(0);
    let mut writer = start_writer(&env, "");
    sh(&env, "rm mine").assert_status(0);
    assert_eq!(writer.wait(), ExitReason::Exited(0));
}
