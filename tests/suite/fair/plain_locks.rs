//! `--fair` beside plain locks. A ticket is only about the order: what excludes callers without
//! tickets is the lock of flock(2), as usual.

use std::path::Path;

use crate::queue::{HOLD, assert_clean, assert_queue_len, assert_served, spawn_waiting_holder};
use rstest::rstest;
use test_support::locks::waiter_count;
use test_support::process::{ExitReason, Process};
use test_support::{TestEnv, wait_until};

#[rstest]
#[case("-s", "-s", "0\n")]
#[case("-s", "-x", "1\n")]
#[case("-x", "-s", "1\n")]
#[case("-x", "-x", "1\n")]
fn fair_and_plain_locks_exclude_each_other(
    #[case] held: &str,
    #[case] requested: &str,
    #[case] status: &str,
    #[values("flock", "/usr/bin/flock")] plain: &str,
) {
    if plain != "flock" && !Path::new(plain).exists() {
        return;
    }
    let env = TestEnv::new();
    let fair = "flock --fair";
    for (holder, other) in [(plain, fair), (fair, plain), (fair, fair)] {
        let (holder, other) = (format!("{holder} {held}"), format!("{other} {requested}"));
        env.sh(format!("{holder} l {other} -n l true; echo $?"))
            .assert_all(0, status, "");
        env.sh(format!("exec 8<>l 9<>l; {holder} 8; {other} -n 9; echo $?"))
            .assert_all(0, status, "");
    }
}

/// Starts a waiter without a ticket, beside a waiter with one, which waits in the kernel too.
#[track_caller]
fn spawn_plain_waiter(env: &TestEnv, args: &[&str]) -> Process {
    let waiter = env.start(env.flock(args));
    wait_until("both wait in the kernel", || {
        waiter_count(env.file("l")) == 2
    });
    waiter
}

#[test]
fn plain_waiter_may_intervene_but_never_shares() {
    let env = &TestEnv::new();
    let holder = env.hold(&["--fair"], "l");
    let waiter = spawn_waiting_holder(env, &["--fair"]);
    let args = ["l", "sh", "-c", "flock -n l true; echo $?; read x"];
    let mut plain = spawn_plain_waiter(env, &args);
    assert_queue_len(env, 1);
    holder.release();
    // In either order.
    plain.close_stdin();
    let behind = env.start(env.flock(["--fair"].iter().chain(&HOLD)));
    assert_served(waiter);
    assert_served(behind);
    plain.expect_line("1");
    assert_eq!(plain.wait(), ExitReason::Exited(1));
    assert_clean(env, &[]);
}

#[test]
fn queue_does_not_hold_up_plain_calls() {
    let env = &TestEnv::new();
    let reader = env.hold(&["-s"], "l");
    let waiter = spawn_waiting_holder(env, &["--fair"]);
    env.run(["-ns", "l", "true"]).assert_status(0);
    env.run(["-n", "l", "true"]).assert_status(1);
    env.run(["-w0.01", "l", "true"]).assert_status(1);
    assert_queue_len(env, 1);
    drop(waiter);
    reader.release();
    env.run(["-n", "l", "true"]).assert_status(0);
    assert_clean(env, &[]);
}

#[test]
fn waiter_keeps_its_place_when_a_plain_one_is_faster() {
    let env = &TestEnv::new();
    let holder = env.hold(&[], "l");
    let first = spawn_waiting_holder(env, &["--fair"]);
    let mut second = spawn_waiting_holder(env, &["--fair"]);
    let mut plain = spawn_plain_waiter(env, &HOLD);
    holder.release();
    // The head of the queue, which was first in the kernel too; then the other two in either order.
    plain.close_stdin();
    assert_served(first);
    second.close_stdin();
    for waiter in [second, plain] {
        assert_served(waiter);
    }
    assert_clean(env, &[]);
}
