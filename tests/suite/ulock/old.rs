//! The original, and scripts that make such locks by themselves, exclude ours and are excluded by it. A few lines of
//! shell stand for them.

use super::UlockEnv;
use test_support::Lab;

/// As the original takes LOCK and counts a reader.
const OLD: &str =
    "old_lock() { : >tmp.$$; ln tmp.$$ lock 2>/dev/null; set -- $?; rm tmp.$$; return $1; }
    old_read() { old_lock && { [ -e counter ] || : >counter; ln counter mine; rm -f lock; }; }
    old_write() { old_lock && [ $(stat -c %h counter) = 1 ] || { rm -f lock; return 1; }; }\n";

fn sh(lab: &Lab, script: &str) -> test_support::Outcome {
    lab.sh(format!("{OLD}{script}")).expect_err("")
}

#[test]
fn the_old_excludes_the_new() {
    let lab = Lab::new();
    sh(
        &lab,
        "old_lock || exit 9
         ulock --timeout=0 lock; echo $?
         ulock --timeout=0 -w lock counter; echo $?
         ulock --timeout=0 -r lock counter echo never; echo $?
         rm -f lock
         ulock --timeout=0 lock; echo $?",
    )
    .expect_out("1\n1\n1\n0\n");
}

#[test]
fn the_new_excludes_the_old() {
    sh(
        &Lab::new(),
        "ulock lock; old_lock; echo $?; rm -f lock; old_lock; echo $?; rm -f lock
         ulock -w lock counter; old_read; echo $?; rm -f lock; old_read; echo $?",
    )
    .expect_out("1\n0\n1\n0\n");
}

#[test]
fn old_readers_keep_new_writers_out_and_new_readers_old_writers() {
    let lab = Lab::new();
    sh(
        &lab,
        "old_read || exit 9
         ulock --timeout=0 -w lock counter; echo $?
         ulock --timeout=0 -r lock counter echo both
         rm mine
         ulock --timeout=0 -w lock counter; echo $?; rm -f lock",
    )
    .expect_out("1\nboth\n0\n");
    lab.program("old_write", &format!("#!/bin/sh\n{OLD}old_write\n"));
    sh(
        &lab,
        "ulock -r lock counter './old_write; echo $?'; ./old_write; echo $?",
    )
    .expect_out("1\n0\n");
}

#[test]
fn a_new_writer_waits_for_an_old_reader() {
    let lab = Lab::new();
    sh(&lab, "old_read").expect_code(0);
    let mut writer = lab.waiting_ulock(&["-w", "lock", "counter"]);
    sh(&lab, "rm mine").expect_code(0);
    assert_eq!(writer.end(), test_support::process::End::Exited(0));
}
