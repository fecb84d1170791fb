//! Waiters that do not use `--queue`: they count as far as the kernel shows them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use rstest::rstest;
use test_support::locks::{assert_waiters, place_count, tickets, waiter_count};
use test_support::process::Process;
use test_support::{TestEnv, can_unshare, wait_until};

use super::{assert_refused, spawn_waiter};
use crate::queue::{HOLD, other_user_command, spawn_waiting_holder};

/// Starts `flock` without `--queue`, and returns when it is blocked.
#[track_caller]
fn spawn_plain_waiter(env: &TestEnv) -> Process {
    let before = waiter_count(env.file("l"));
    let mut waiter = env.start(env.flock(HOLD));
    waiter.wait_alive_until("it waits", || waiter_count(env.file("l")) > before);
    waiter
}

/// Asserts that a caller is refused because of waiters that only the kernel's table shows, which may
/// lack some of them while many processes lock other files.
#[track_caller]
fn assert_refused_by_table(env: &TestEnv, options: &[&str]) {
    let args = [options, &["--verbose", "-w0.1", "l", "true"]].concat();
    wait_until("the caller is refused", || {
        let stderr = env.run(&args).assert_status(1).stderr_text();
        stderr.contains("enough processes wait for it")
    });
}

#[test]
fn plain_waiters_count() {
    let env = &TestEnv::new();
    let _holder = env.hold(&[], "l");
    let _plain = [spawn_plain_waiter(env), spawn_plain_waiter(env)];
    for limit in ["1", "2"] {
        assert_refused_by_table(env, &["--queue", limit]);
    }
    let _waiter = spawn_waiter(env, &["--queue", "3"]);
    assert_refused_by_table(env, &["--queue", "3"]);
    drop(spawn_waiter(env, &["--queue", "4"]));
}

#[rstest]
fn waiters_with_tickets_count_once(#[values("--fair", "--slots=1")] order: &str) {
    let env = &TestEnv::new();
    let _holder = env.hold(&[order], "l");
    // Only the first of them is blocked in the kernel, and with --slots none.
    let _queue: Vec<_> = (0..3)
        .map(|_| spawn_waiting_holder(env, &[order]))
        .collect();
    assert_eq!(tickets(env.file("l")).len(), 3);
    assert_refused(env, &["--queue", "3", order]);
    let _waiter = spawn_waiter(env, &["--queue", "4", order]);
    assert_refused(env, &["--queue", "4", order]);
    drop(spawn_waiter(env, &["--queue", "5", order]));
}

#[test]
fn waiters_with_a_place_count_once() {
    let env = &TestEnv::new();
    let _holder = env.hold(&[], "l");
    let _first = spawn_waiter(env, &["--queue", "9"]);
    let _second = spawn_waiter(env, &["--queue", "9", "--fair"]);
    let _third = spawn_waiter(env, &["--queue", "3", "--fair"]);
    assert_refused(env, &["--queue", "3"]);
    drop(spawn_waiter(env, &["--queue", "4"]));
}

#[test]
fn a_waiter_in_another_pid_namespace_counts_once() {
    let env = &TestEnv::without_builtin();
    if !can_unshare(env, "-rpf") {
        return;
    }
    let _holder = env.hold(&[], "l");
    let mut command = env.command("unshare");
    command.args(["-rpf", "flock", "--queue", "1"]).args(HOLD);
    let mut inner = env.start(command);
    inner.wait_alive_until("it has a place", || place_count(env.file("l")) == 1);
    assert_waiters(env.file("l"), 1);
    assert_refused(env, &["--queue", "1"]);
    drop(spawn_waiter(env, &["--queue", "2"]));
}

#[test]
fn waiters_of_all_users_count() {
    let env = &TestEnv::new();
    let _holder = env.hold(&[], "l");
    let other_user = |script: &str| other_user_command(env, 54321, script);
    let (Some(waits), Some(refused)) = (
        other_user("exec flock --queue 1 l true"),
        other_user("exec flock --queue 1 l echo ran"),
    ) else {
        return;
    };
    let writable = Permissions::from_mode(0o666);
    fs::set_permissions(env.file("l"), writable).expect("its mode");
    let mut other = env.start(waits);
    other.wait_alive_until("it has a place", || place_count(env.file("l")) == 1);
    assert_refused(env, &["--queue", "1"]);
    drop(spawn_waiter(env, &["--queue", "2"]));
    drop(other);
    wait_until("no process waits", || place_count(env.file("l")) == 0);
    let _waiter = spawn_waiter(env, &["--queue", "1"]);
    env.run_command(refused).assert_all(1, "", "");
}
