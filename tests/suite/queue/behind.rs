//! Those who wait already when the one before them is stopped, and who would be served beside others if he were not
//! there.

use super::{WHY, assert_queue_len, last_ticket, spawn_waiter};
use test_support::process::{Process, send_signal};
use test_support::procfs::{is_stopped, parent_of, status_field};
use test_support::{TestEnv, differs_from_util_linux, wait_until};

/// One who waits, and one behind who waits for him; then the first is stopped. He goes on when the test ends.
#[track_caller]
fn behind_a_stopped_one<const N: usize>(
    env: &TestEnv,
    first: [&str; N],
    second: [&str; N],
) -> (Process, Process) {
    let first = spawn_waiter(env, first);
    let owner = parent_of(last_ticket(env).sentinel);
    let second = spawn_waiter(env, second);
    let behind = parent_of(last_ticket(env).sentinel);
    wait_until("he waits for the one before him", || {
        status_field(behind, "State").starts_with('S')
    });
    assert!(send_signal(owner, libc::SIGSTOP));
    wait_until("the one before him stops", || is_stopped(owner));
    (first, second)
}

#[test]
fn a_slot_that_is_free_goes_to_whoever_is_behind_a_stopped_one() {
    differs_from_util_linux(WHY, |env| {
        let _goes_on = env.hold(&["--slots", "2"], "l");
        let ends = env.hold(&["--slots", "2"], "l");
        let (_stopped, mut behind) = behind_a_stopped_one(
            env,
            ["--slots", "2", "l", "sh", "-c", "true"],
            ["--slots", "2", "l", "sh", "-c", "echo served"],
        );
        ends.release();
        behind.expect_line("served");
        assert_queue_len(env, 1);
    });
}

#[test]
fn a_reader_behind_a_stopped_writer_joins_the_readers() {
    differs_from_util_linux(WHY, |env| {
        let _reads_on = env.hold(&["--fair", "-s"], "l");
        let (_stopped, mut behind) = behind_a_stopped_one(
            env,
            ["--fair", "-x", "l", "sh", "-c", "true"],
            ["--fair", "-s", "l", "sh", "-c", "echo served"],
        );
        behind.expect_line("served");
        assert_queue_len(env, 1);
    });
}
