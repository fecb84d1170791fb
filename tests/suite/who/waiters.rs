//! The waiters for a lock.

use rstest::rstest;
use serde_json::json;

use super::{
    assert_fields, assert_lock_users, holder_pids, lock_users, start_holding_script, who_rows,
};
use test_support::locks::waiter_count;
use test_support::{TestEnv, wait_until};

#[rstest]
#[case::blocked_in_the_kernel("-x")]
#[case::queued_with_a_sentinel("--fair")]
fn waiters_are_listed_once_and_are_not_holders(#[case] option: &str) {
    let env = TestEnv::new();
    let holder = start_holding_script(&env);
    let one = env.start_flock([option, "f", "true"]);
    let two = env.start_flock([option, "-s", "f", "true"]);
    wait_until("they wait", || lock_users(&env, &["f"]).len() == 3);
    assert_lock_users(
        &env,
        "f",
        &[
            ("holder FLOCK exclusive", holder.pid()),
            ("waiter FLOCK exclusive", one.pid()),
            ("waiter FLOCK shared", two.pid()),
        ],
    );
    assert_eq!(holder_pids(&env, &["f"]), [holder.pid()]);
    if option == "--fair" {
        for row in &who_rows(&env, &["f"])[1..] {
            assert_eq!(row["since_of"], "lock", "{row}");
            let seconds = row["seconds"].as_u64();
            assert!(seconds.is_some_and(|seconds| seconds < 60), "{row}");
        }
    }
}

#[test]
fn holders_precede_waiters() {
    let env = TestEnv::new();
    // The waiter is the oldest process.
    let mut waiter = env.command("/bin/sh");
    waiter.args(["-c", "read x; exec flock f true"]);
    let mut waiter = env.start(waiter);
    let _holder = env.hold(&[], "f");
    waiter.send_line("now");
    wait_until("it waits", || waiter_count(env.file("f")) == 1);
    let rows = who_rows(&env, &["f"]);
    let roles: Vec<_> = rows.iter().map(|row| row["role"].as_str()).collect();
    assert_eq!(roles, [Some("holder"), Some("holder"), Some("waiter")]);
}

/// The kernel's table does not name it.
#[test]
fn ofd_lock_waiter_is_found_by_its_system_call() {
    let env = TestEnv::new();
    let holder = env.hold(&["-F", "--fcntl"], "f");
    let waiter = env.start_flock(["--fcntl", "-s", "--start", "3", "f", "true"]);
    wait_until("it waits", || waiter_count(env.file("f")) == 1);
    let rows = who_rows(&env, &["f"]);
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_fields(&rows[0], &json!({"role": "holder", "pid": holder.pid()}));
    assert_fields(
        &rows[1],
        &json!({"role": "waiter", "pid": waiter.pid(), "kind": "OFDLCK", "mode": "shared", "first": 3}),
    );
}

#[test]
fn waiter_for_a_process_lock_is_listed() {
    let env = TestEnv::new();
    let holder = env.hold(&["-F", "--fcntl"], "f");
    let waiter = env.start_lock_holder("posix", 0, 0, "f");
    wait_until("it waits", || waiter_count(env.file("f")) == 1);
    assert_lock_users(
        &env,
        "f",
        &[
            ("holder OFDLCK exclusive", holder.pid()),
            ("waiter POSIX exclusive", waiter.pid()),
        ],
    );
}

#[test]
fn status_is_1_if_there_are_only_waiters() {
    let env = TestEnv::new();
    let holder = start_holding_script(&env);
    let waiter = env.start_flock(["--fair", "f", "true"]);
    wait_until("it queues", || lock_users(&env, &["f"]).len() == 2);
    // A stopped waiter does not acquire the free lock.
    waiter.signal(libc::SIGSTOP);
    waiter.wait_stopped();
    holder.release();
    let outcome = env.run(["--who", "f"]).assert_status(1);
    let table = outcome.stdout_text();
    let is_listed = ["waiter", "holder"].map(|role| table.contains(role));
    assert_eq!(is_listed, [true, false], "{table}");
    env.run(["--who", "--pids", "f"]).assert_all(1, "", "");
}
