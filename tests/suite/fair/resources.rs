//! When there is not enough of something: an error that says so, and nothing is left.

use super::{WHY, assert_clean, assert_queue_len, spawn_waiter, spawn_waiting_holder};
use test_support::locks::tickets;
use test_support::process::ExitReason;
use test_support::{Outcome, TestEnv, differs_from_util_linux, is_installed};

/// An error of the system's, in one line, and the lock as it was.
#[track_caller]
fn fails(env: &TestEnv, outcome: Outcome) {
    let said = outcome.assert_status(71).assert_stdout("").stderr_text();
    assert!(
        said.starts_with("flock: ") && said.lines().count() == 1,
        "{said}"
    );
    assert_eq!(tickets(env.file("l")), []);
}

#[test]
fn without_descriptors_nobody_can_queue_but_a_free_lock_can_be_had() {
    differs_from_util_linux(WHY, |env| {
        env.sh("exec 3<bin 8<>l; ulimit -n 9; flock --fair -n 8")
            .assert_stderr("")
            .assert_status(0);
        let holder = env.hold(&["--fair"], "l");
        // A dynamic loader needs one as well, but only until the program runs.
        for limit in 4..8 {
            let script =
                format!("exec 3<bin; ulimit -n {limit}; exec flock --fair -w1000 l echo ran");
            let outcome = env.sh(script);
            if outcome.code() == 127 {
                continue;
            }
            // Enough are enough, and then it would wait for long.
            fails(env, outcome);
            if limit == 5 {
                break;
            }
        }
        holder.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn few_descriptors_are_enough() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut shell = env.command("sh");
        shell.args(["-c", "ulimit -n 10; exec flock --fair -w1000 l echo ran"]);
        let mut first = super::spawn_waiter_command(env, shell);
        let mut second = spawn_waiter(env, ["--fair", "l", "echo", "ran"]);
        holder.release();
        for waiter in [&mut first, &mut second] {
            waiter.expect_line("ran");
            assert_eq!(waiter.wait(), ExitReason::Exited(0));
        }
        assert_clean(env, &[]);
    });
}

#[test]
fn without_processes_nobody_can_queue() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        if !rustix::process::geteuid().is_root() || !is_installed("setpriv") {
            return;
        }
        env.sh("chmod 755 .").assert_status(0);
        let mut poor = env.command("setpriv");
        poor.args(["--reuid=65533", "--regid=65533", "--clear-groups"]);
        poor.args([
            "bash",
            "-c",
            "ulimit -u 1; exec flock --fair -w1000 l echo ran",
        ]);
        let outcome = env.run_command(poor);
        if outcome.code() == 126 || outcome.code() == 127 {
            println!("a stranger may not come in: {outcome:?}");
            return;
        }
        fails(env, outcome);
        holder.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn a_hundred_may_queue_with_readers_and_writers_that_come_and_go() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut last = Vec::new();
        for number in 0..50 {
            let mode = if number % 3 == 0 { "-x" } else { "-s" };
            last.push(spawn_waiting_holder(env, &["--fair", mode]));
            // Every third one goes again, from the middle.
            if number % 3 == 2 {
                drop(last.remove(last.len() / 2));
            }
            assert_queue_len(env, last.len());
        }
        holder.release();
        for mut waiter in last {
            waiter.expect_line("held");
            waiter.release();
        }
        assert_clean(env, &[]);
    });
}
