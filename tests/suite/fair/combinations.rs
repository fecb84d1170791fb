//! `--fair` with `--also`, `--unlink` and `--verbose`, and beside fcntl(2) locks on the whole file.

use crate::queue::{
    HOLD, assert_clean_after, assert_one_message, assert_queue_len, assert_served,
    run_simultaneously, spawn_waiter,
};
use rstest::rstest;
use test_support::TestEnv;
use test_support::locks::{assert_unlocked, waiter_count};
use test_support::process::Process;

#[test]
fn several_files_are_queued_for_and_held_together() {
    let env = &TestEnv::new();
    let holder = env.hold(&["--fair"], "l");
    let script = "for f in a l; do flock -n $f true; echo $?; done";
    let mut first = spawn_waiter(env, ["--fair", "--also", "a", "l", "sh", "-c", script]);
    let mut second = spawn_waiter(env, ["--fair", "--also", "l", "b", "echo", "second"]);
    for option in ["-n", "-w0.01"] {
        let args = ["--fair", option, "-E42", "--also", "a", "l", "true"];
        env.run(args).assert_status(42);
    }
    assert_queue_len(env, 2);
    holder.release();
    first.expect("1\n1\n");
    second.expect_line("second");
    first.release();
    assert_clean_after(env, second);
    for file in ["a", "b"] {
        assert_unlocked(env.file(file));
    }
}

#[test]
fn several_files_in_different_orders_do_not_deadlock() {
    let env = &TestEnv::new();
    std::fs::write(env.file("counter"), "0\n").expect("a file");
    let step = "read n <counter; echo $((n + 1)) >counter";
    let calls = [
        "a --also b l",
        "l --also b a",
        "b --also l a",
        "b --also a l",
    ]
    .map(|files| {
        let files = files.split(' ').collect();
        [vec!["--fair", "--also"], files, vec!["sh", "-c", step]].concat()
    });
    run_simultaneously(env, 15, &calls);
    assert_eq!(env.read_file("counter"), "60\n");
    for file in ["a", "b", "l"] {
        assert_unlocked(env.file(file));
    }
}

#[test]
fn last_of_the_queue_unlinks_the_lock_file() {
    let env = &TestEnv::new();
    std::fs::write(env.file("count"), "0\n").expect("a file");
    let step = "[ -e l ] || echo gone; mkdir alone || echo two
        read n <count; echo $((n + 1)) >count; rmdir alone";
    let holder = env.hold(&["--fair", "--unlink"], "l");
    let args = ["--fair", "--unlink", "l", "sh", "-c", step];
    let waiters = [args; 6].map(|args| spawn_waiter(env, args));
    holder.release();
    waiters.into_iter().for_each(assert_silent_success);
    assert_eq!(env.read_file("count"), "6\n");
    assert_eq!(env.file_names(), ["count"]);
}

/// Waits until the process exits successfully, and asserts that it has not written anything.
#[track_caller]
pub fn assert_silent_success(mut process: Process) {
    let output = process.read_until("\n").expect_err("no output");
    assert!(output.ends_with("output: \"\""), "{output}");
    process.release();
}

#[rstest]
fn fcntl_lock_on_the_whole_file_leaves_no_queue(
    #[values(&["--fcntl"], &["--fcntl", "-s"])] foreign: &[&str],
) {
    let env = &TestEnv::new();
    let foreigner = env.hold(foreign, "l");
    env.run(["--fair", "-n", "l", "echo", "ran"])
        .assert_all(0, "ran\n", "");
    let holder = env.hold(&["--fair"], "l");
    env.run(["--fair", "-n", "l", "true"]).assert_status(1);
    env.run(["--fair", "-w0.01", "l", "true"]).assert_status(1);
    env.sh("exec 8<>l; flock --fair -w0.01 8; echo $?; flock --fair -ns 8; echo $?")
        .assert_all(0, "1\n1\n", "");
    let mut waiter = env.start(env.flock(["--fair", "-w1000"].iter().chain(&HOLD)));
    waiter.wait_alive_until("it waits in the kernel", || {
        waiter_count(env.file("l")) == 1
    });
    holder.release();
    assert_served(waiter);
    assert_clean_after(env, foreigner);
}

#[test]
fn verbose_reports_that_there_is_no_queue() {
    let env = &TestEnv::new();
    let _foreigner = env.hold(&["--fcntl"], "l");
    let outcome = env.run(["--fair", "--verbose", "l", "echo", "ran"]);
    let outcome = outcome.assert_status(0);
    assert!(outcome.stdout_text().ends_with("\nran\n"), "{outcome:?}");
    assert_one_message(&outcome);
    env.run(["--fair", "l", "true"]).assert_all(0, "", "");
    env.run(["--verbose", "l", "true"]).assert_stderr("");
}
