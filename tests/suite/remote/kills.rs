//! The processes that watch over a lease are killed or stopped.

use libc::{SIGCONT, SIGKILL, SIGSTOP, SIGTERM};
use rstest::rstest;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{children_of, is_asleep, is_running, is_stopped};
use test_support::{TestEnv, wait_until};

use super::GRANTS;
use super::form::child;
use super::lease::{LEASE, SHORT_LEASE, STUBBORN};

/// A helper that grants a short lease, and then does nothing.
const NO_RENEWALS: &str = "echo granted 7 $(in_ms 4000)\nwait_for_release";

/// Starts `flock` with a helper and a command that is hard to stop, and waits until that runs.
fn start(helper: &str) -> (TestEnv, Process) {
    let env = TestEnv::without_builtin();
    env.install_lock_helper(helper);
    let mut flock = env.flock(LEASE);
    flock.arg("test://n").args(STUBBORN);
    let mut flock = env.start(flock);
    flock.expect_line("working");
    (env, flock)
}

fn helper(env: &TestEnv) -> i32 {
    env.read_file("helper-pid").trim().parse().expect("a PID")
}

/// Asserts that the helper released the lock only after the last process of the command had exited.
#[track_caller]
fn assert_released_last(env: &TestEnv) {
    wait_until("the lock is released", || env.file("checked").exists());
    assert_eq!(env.read_file("checked"), "free\n");
}

#[track_caller]
fn assert_witness_free(env: &TestEnv) {
    env.run(["-s", "-n", "witness", "true"])
        .assert_all(0, "", "");
}

#[test]
fn command_of_killed_flock_is_killed() {
    for _ in 0..5 {
        let (env, mut flock) = start(GRANTS);
        flock.kill();
        assert_released_last(&env);
    }
}

#[test]
fn command_of_killed_supervisor_is_killed() {
    for _ in 0..5 {
        let (env, mut flock) = start(GRANTS);
        assert!(send_signal(child(&flock, "lock-keeper"), SIGKILL));
        assert_eq!(flock.wait(), ExitReason::Exited(128 + SIGKILL));
        assert_released_last(&env);
    }
}

#[test]
fn command_of_killed_timekeeper_is_killed() {
    for _ in 0..5 {
        let (env, mut flock) = start(GRANTS);
        assert!(send_signal(child(&flock, "lock-timekeeper"), SIGKILL));
        assert_eq!(flock.wait(), ExitReason::Exited(75));
        assert_released_last(&env);
    }
}

#[rstest]
#[case::killed(SIGKILL)]
#[case::stopped(SIGSTOP)]
fn time_runs_out_without_the_helper(#[case] signal: i32) {
    let (env, mut flock) = start(NO_RENEWALS);
    let helper = helper(&env);
    assert!(send_signal(helper, signal));
    assert_eq!(flock.wait(), ExitReason::Exited(75));
    assert_witness_free(&env);
    send_signal(helper, SIGKILL);
}

/// A service manager sends `SIGTERM` to all processes of a service.
#[test]
fn helper_of_a_terminated_service_releases_last() {
    let env = TestEnv::without_builtin();
    env.install_lock_helper(GRANTS);
    let command = "trap 'exit 3' TERM; echo working; while :; do sleep 0.1; done";
    let mut flock = env.start_flock(["test://n", "flock", "witness", "sh", "-c", command]);
    flock.expect_line("working");
    let pids = [helper(&env)].into_iter().chain(children_of(flock.pid()));
    for pid in pids.chain([flock.pid()]) {
        assert!(send_signal(pid, SIGTERM));
    }
    assert_eq!(flock.wait(), ExitReason::Exited(3));
    assert_released_last(&env);
}

#[test]
fn stopped_supervisor_still_kills_in_time() {
    let (env, mut flock) = start(NO_RENEWALS);
    let supervisor = child(&flock, "lock-keeper");
    assert!(send_signal(supervisor, SIGSTOP));
    wait_until("it stops", || is_stopped(supervisor));
    assert_eq!(flock.wait(), ExitReason::Exited(75));
    assert_released_last(&env);
}

#[test]
fn command_is_killed_in_time_while_flock_is_stopped() {
    let (env, mut flock) = start(NO_RENEWALS);
    let supervisor = child(&flock, "lock-keeper");
    flock.signal(SIGSTOP);
    wait_until("the supervisor exits", || !is_running(supervisor));
    assert_witness_free(&env);
    flock.signal(SIGCONT);
    assert_eq!(flock.wait(), ExitReason::Exited(75));
    assert_released_last(&env);
}

/// The next process need not wait for `flock`, and what the helper says afterwards is no loss.
#[test]
fn lock_is_released_while_flock_is_stopped() {
    let env = TestEnv::without_builtin();
    let lost = "while read -r line; do :; done; echo lost it is gone; check";
    env.install_lock_helper(&format!("echo granted 7 $(in_ms 60000)\n{lost}"));
    let script = "echo working; until [ -e go ]; do sleep 0.01; done; exit 3";
    let mut flock = env.start_flock(["test://n", "sh", "-c", script]);
    flock.expect_line("working");
    let timekeeper = child(&flock, "lock-timekeeper");
    flock.signal(SIGSTOP);
    wait_until("flock stops", || is_stopped(flock.pid()));
    env.sh("echo >go").assert_status(0);
    assert_released_last(&env);
    wait_until("the timekeeper waits again", || is_asleep(timekeeper));
    flock.signal(SIGCONT);
    assert_eq!(flock.wait(), ExitReason::Exited(3));
}

#[test]
fn stopped_timekeeper_does_not_extend_the_lease() {
    let (env, mut flock) = start(NO_RENEWALS);
    assert!(send_signal(child(&flock, "lock-timekeeper"), SIGSTOP));
    assert_eq!(flock.wait(), ExitReason::Exited(75));
    assert_released_last(&env);
}

#[test]
fn stopped_timekeeper_is_continued_to_read_renewals() {
    let env = TestEnv::without_builtin();
    let renews = "wait_for stopped; echo until $(in_ms 60000); echo >renewed; wait_for_release";
    env.install_lock_helper(&format!("echo granted 7 $(in_ms 10000)\n{renews}"));
    let mut flock = env.flock(["--ttl=100s", "--grace=5s", "test://n", "sh", "-c"]);
    flock.arg("echo working; sleep 8.1; exit 5");
    let mut flock = env.start(flock);
    flock.expect_line("working");
    let timekeeper = child(&flock, "lock-timekeeper");
    assert!(send_signal(timekeeper, SIGSTOP));
    wait_until("it stops", || is_stopped(timekeeper));
    env.sh("echo >stopped").assert_status(0);
    assert_eq!(flock.wait(), ExitReason::Exited(5));
}

/// The helper of a waiter withdraws from the queue.
#[test]
fn helper_of_killed_waiter_is_notified() {
    let env = TestEnv::without_builtin();
    env.install_lock_helper("echo waits db1\nwait_for_release");
    let mut flock = env.start_flock(["--verbose", "test://n", "echo", "never"]);
    flock.expect_line("flock: waiting for db1");
    flock.kill();
    assert_released_last(&env);
}

#[test]
fn grant_of_a_helper_whose_flock_was_killed_starts_nothing() {
    let _ = SHORT_LEASE;
    let env = TestEnv::without_builtin();
    env.install_lock_helper(
        "echo waits db1; wait_for killed; (echo granted 7 $(in_ms 60000)); check",
    );
    let mut flock = env.start_flock(["--verbose", "test://n", "sh", "-c", "echo >started"]);
    flock.expect_line("flock: waiting for db1");
    flock.kill();
    env.sh("echo >killed").assert_status(0);
    assert_released_last(&env);
    assert!(!env.file("started").exists());
}
