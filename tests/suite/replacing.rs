//! `--replace`: the new process stops the old one, and takes its place.

mod refusals;
mod storm;

use std::fs;

use rstest::rstest;
use test_support::builtin::for_each_bash;
use test_support::locks::{assert_unlocked, waiter_count};
use test_support::process::{ExitReason, Process};
use test_support::{TestEnv, wait_until};

use crate::queue::HOLD;

/// Starts a script that holds the lock on `l`, and returns when it has printed `held`.
#[track_caller]
fn hold_with_script(env: &TestEnv, script: &str) -> Process {
    let mut holder = env.start(env.flock(["l", "sh", "-c", script]));
    holder.expect_line("held");
    holder
}

/// A script that holds the lock until it receives one of several signals, which it prints.
const PRINT_SIGNAL: &str = "for signal in HUP INT QUIT TERM USR1; do
    trap \"echo $signal; kill \\$! 2>/dev/null; exit 0\" $signal; done
    sleep 1000 & echo held; wait";

#[rstest]
fn the_holder_is_stopped(#[values(&[][..], &["-s"], &["-o"], &["-F"])] options: &[&str]) {
    let env = TestEnv::new();
    let mut holder = env.hold(options, "l");
    env.run(["--replace", "l", "echo", "ran"])
        .assert_all(0, "ran\n", "");
    assert_ne!(holder.wait(), ExitReason::Exited(0));
    assert_unlocked(env.file("l"));
}

#[test]
fn all_holders_are_stopped() {
    let env = &TestEnv::new();
    let mut holders = [(); 3].map(|()| env.hold(&["-s"], "l"));
    env.run(["--replace", "l", "echo", "ran"])
        .assert_all(0, "ran\n", "");
    for holder in &mut holders {
        assert_ne!(holder.wait(), ExitReason::Exited(0));
    }
}

#[rstest]
#[case("--replace", "TERM")]
#[case("--replace=TERM", "TERM")]
#[case("--replace=SIGINT", "INT")]
#[case("--replace=usr1", "USR1")]
#[case("--replace=1", "HUP")]
fn the_signal_can_be_chosen(#[case] option: &str, #[case] signal: &str) {
    let env = TestEnv::without_builtin();
    let mut holder = env.start(env.flock(["-F", "l", "sh", "-c", PRINT_SIGNAL]));
    holder.expect_line("held");
    env.run([option, "l", "true"]).assert_all(0, "", "");
    holder.expect_line(signal);
    assert_eq!(holder.wait(), ExitReason::Exited(0));
}

#[test]
fn a_holder_that_ignores_the_signal_is_killed() {
    let env = TestEnv::new();
    let mut holder = hold_with_script(&env, "trap '' TERM; echo held; read x; echo survived");
    env.run(["--replace", "--grace", "0.05", "l", "echo", "ran"])
        .assert_all(0, "ran\n", "");
    holder.wait();
    assert_unlocked(env.file("l"));
}

#[test]
fn a_holder_without_grace_is_killed_at_once() {
    let env = TestEnv::new();
    let mut holder = hold_with_script(&env, "trap '' TERM; echo held; read x; echo survived");
    env.run(["--replace", "--grace=0", "l", "echo", "ran"])
        .assert_all(0, "ran\n", "");
    holder.wait();
}

#[test]
fn a_holder_may_release_the_lock_and_go_on() {
    let env = TestEnv::without_builtin();
    let script = "exec 8>>l; flock 8; trap 'flock -u 8; echo released' TERM
        echo held; while read x; do echo $x; done; echo end";
    let mut command = env.command("bash");
    command.args(["-c", script]);
    let mut holder = env.start(command);
    holder.expect_line("held");
    env.run(["--replace", "--grace", "1h", "l", "echo", "ran"])
        .assert_all(0, "ran\n", "");
    holder.expect_line("released");
    holder.send_line("alive");
    holder.expect_line("alive");
    holder.close_stdin();
    assert_eq!(holder.wait(), ExitReason::Exited(0));
}

#[test]
fn the_timeout_limits_the_whole() {
    let env = TestEnv::new();
    let mut holder = hold_with_script(&env, "trap '' TERM; echo held; read x; echo $x");
    env.run(["--replace", "--grace", "1h", "-w0.1", "-E42", "l", "true"])
        .assert_all(42, "", "");
    assert!(!holder.has_exited());
    holder.send_line("alive");
    holder.expect_line("alive");
    holder.wait();
}

#[test]
fn a_free_lock_is_taken() {
    let env = TestEnv::new();
    env.run(["--replace", "l", "echo", "ran"])
        .assert_all(0, "ran\n", "");
    env.sh("exec 8>>l; flock --replace 8 && flock -nE9 l true")
        .assert_all(9, "", "");
}

#[test]
fn a_script_replaces_the_holder_of_its_descriptor() {
    let env = TestEnv::new();
    let mut holder = env.hold(&[], "l");
    env.sh("exec 8>>l; flock --replace 8 && flock -nE9 l true; echo $?; flock --replace 8")
        .assert_all(0, "9\n", "");
    assert_ne!(holder.wait(), ExitReason::Exited(0));
}

#[test]
fn the_builtin_replaces_the_holder() {
    for_each_bash(|env| {
        for script in [
            "f() { echo ran; }; flock --replace l f",
            "exec 8>>l; flock --replace 8; env flock -n l true || echo ran",
            "flock --replace l echo ran",
        ] {
            let mut holder = env.hold(&[], "l");
            env.run_with_builtin(script).assert_all(0, "ran\n", "");
            assert_ne!(holder.wait(), ExitReason::Exited(0));
        }
    });
}

/// Neither those that wait, nor those that only have the file open.
#[test]
fn only_holders_are_stopped() {
    let env = &TestEnv::new();
    let mut holder = env.hold(&[], "l");
    let mut open = env.start(env.sh_command("exec 8<l; echo open; read x; exit 0"));
    open.expect_line("open");
    let other = env.hold(&[], "m");
    let mut waiter = env.start(env.flock(["-s"].iter().chain(&HOLD)));
    waiter.wait_alive_until("it waits", || waiter_count(env.file("l")) == 1);
    // With a long grace period, the one that acquires the lock after the holder is not stopped.
    let options = ["--replace", "--grace", "1h"];
    let mut replacer = env.start(env.flock(options.iter().chain(&HOLD)));
    assert_ne!(holder.wait(), ExitReason::Exited(0));
    // Either of them may acquire the lock first.
    waiter.close_stdin();
    replacer.close_stdin();
    for process in [waiter, replacer, open, other] {
        process.release();
    }
}

#[test]
fn claims_are_not_listed() {
    let env = &TestEnv::new();
    let mut holder = env.start(env.flock(["--replace"].iter().chain(&HOLD)));
    holder.expect_line("held");
    let table = env.run(["--who", "l"]).assert_status(0).stdout_text();
    assert!(table.contains("FLOCK") && !table.contains("OFD"), "{table}");
    holder.release();
}

#[test]
fn a_stopped_holder_is_killed() {
    let env = TestEnv::new();
    let mut holder = env.start(env.flock(["-F"].iter().chain(&HOLD)));
    holder.expect_line("held");
    holder.signal(libc::SIGSTOP);
    env.run(["--replace", "--grace", "0.05", "l", "echo", "ran"])
        .assert_all(0, "ran\n", "");
    assert_eq!(holder.wait(), ExitReason::Signaled(libc::SIGKILL));
}

#[test]
fn processes_that_the_holder_has_started_are_stopped() {
    let env = TestEnv::new();
    let script = "sleep 1000 & echo $! >pid; echo held; exit 0";
    let mut holder = hold_with_script(&env, script);
    assert_eq!(holder.wait(), ExitReason::Exited(0));
    env.run(["-n", "l", "true"]).assert_status(1);
    env.run(["--replace", "l", "echo", "ran"])
        .assert_all(0, "ran\n", "");
    let pid = env.read_file("pid");
    let dir = format!("/proc/{}", pid.trim());
    wait_until("it has exited", || {
        fs::read_to_string(format!("{dir}/stat")).map_or(true, |stat| stat.contains(") Z "))
    });
}
