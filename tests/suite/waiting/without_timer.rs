//! Timeouts if the caller has blocked signals, and if there is no room for a timer.

use rstest::rstest;
use test_support::locks::{assert_waiters, waiter_count};
use test_support::pre_exec::{CommandPreExecExt, signal_set};
use test_support::process::{ExitReason, Process};
use test_support::{TestEnv, differs_from_util_linux, wait_until};

const ALARM: &str = "it waits for a SIGALRM that is blocked";

/// Starts `flock` with these arguments, with blocked signals of which some are pending, while the
/// lock on `l` is held, and returns when it waits.
#[track_caller]
fn start_blocked(env: &TestEnv, args: &[&str], blocked: u64, pending: &[i32]) -> Process {
    let mut flock = env.flock(args);
    flock.block_signals(blocked);
    for signal in pending {
        flock.raise_signal(*signal);
    }
    let flock = env.start(flock);
    wait_until("it waits", || waiter_count(env.file("l")) == 1);
    flock
}

#[rstest]
#[case::last(signal_set([64]), &[64])]
#[case::real_time(signal_set(34..=64), &[50, 64])]
#[case::all_pending(signal_set(34..=64), &Vec::from_iter(34..=64))]
#[case::all(u64::MAX, &[libc::SIGTERM, 64])]
fn signals_that_the_caller_blocks_stay_pending(#[case] blocked: u64, #[case] pending: &[i32]) {
    let env = TestEnv::new();
    let holder = env.hold(&[], "l");
    let count = (pending.len() + 300).to_string();
    let args = ["-F", "-w1000", "l", "test-helper", "catch-signals", &count];
    let mut flock = start_blocked(&env, &args, blocked, pending);
    let values = 1..=300;
    for value in values.clone() {
        flock.queue_signal(64, value);
    }
    assert_waiters(env.file("l"), 1);
    holder.release();
    flock.expect("ready ");
    flock.read_line();
    for signal in pending {
        flock.expect_line(&format!("received {signal} 0 0"));
    }
    for value in values {
        flock.expect_line(&format!("received 64 -1 {value}"));
    }
}

#[test]
fn timeout_fires_although_blocked_signals_are_pending() {
    differs_from_util_linux(ALARM, |env| {
        let _holder = env.hold(&[], "l");
        let signals = || [libc::SIGALRM].into_iter().chain(34..=64);
        let mut flock = env.flock(["-w0.01", "-E9", "l", "true"]);
        flock.block_signals(signal_set(signals()));
        for signal in signals() {
            flock.raise_signal(signal);
        }
        env.run_command(flock).assert_all(9, "", "");
    });
}

#[rstest]
#[case::terminated(libc::SIGTERM)]
#[case::killed(libc::SIGKILL)]
fn signal_ends_a_wait_while_others_are_blocked(#[case] signal: i32) {
    let env = TestEnv::new();
    let holder = env.hold(&[], "l");
    let args = ["-w1000", "l", "touch", "ran"];
    let mut flock = start_blocked(&env, &args, signal_set(34..=64), &[]);
    flock.signal(signal);
    assert_eq!(flock.wait(), ExitReason::Signaled(signal));
    wait_until("nothing waits", || waiter_count(env.file("l")) == 0);
    holder.release();
    env.run(["-n", "l", "true"]).assert_status(0);
    assert!(!env.file("ran").exists());
}

#[test]
fn signal_that_is_not_blocked_terminates_as_usual() {
    let env = TestEnv::new();
    let _holder = env.hold(&[], "l");
    for signal in [34, 63] {
        let blocked = signal_set((34..=64).filter(|other| *other != signal));
        let mut flock = start_blocked(&env, &["-w1000", "l", "true"], blocked, &[]);
        flock.signal(signal);
        assert_eq!(flock.wait(), ExitReason::Signaled(signal));
    }
}

/// In qemu-user, the last real-time signals do not exist.
#[test]
fn timeout_uses_a_signal_that_exists() {
    let env = TestEnv::without_builtin();
    let _holder = env.hold(&[], "l");
    let no_child = "inject=?clone,?clone3,?fork,?vfork:error=EAGAIN";
    let inject = format!("inject=timer_create:error=EINVAL:when=1..2 {no_child}");
    let args = ["-w0.01", "-E9", "l", "true"];
    if let Some(command) = env.with_fault_injection("", &inject, &args) {
        env.run_command(command).assert_all(9, "", "");
    }
}

#[rstest]
fn timeout_needs_no_room_for_signals(#[values("", "--fcntl")] api: &str) {
    differs_from_util_linux("it needs a timer", |env| {
        let options = Vec::from_iter(Some(api).filter(|api| !api.is_empty()));
        let holder = env.hold(&options, "l");
        let wait = |time: &str, command: &str| {
            let script = format!("ulimit -i 0 && exec flock {api} -w {time} -E 9 l {command}");
            let mut bash = env.command("bash");
            bash.args(["-c", &script]);
            bash
        };
        env.run_command(wait("0.01", "true")).assert_all(9, "", "");
        let mut waiter = env.start(wait("1000", "echo locked"));
        wait_until("it waits", || waiter_count(env.file("l")) == 1);
        holder.release();
        waiter.expect_line("locked");
    });
}

/// Nothing can interrupt a call that blocks.
#[test]
fn timeout_fires_without_timer_if_kill_is_refused() {
    let env = TestEnv::new();
    let holder = env.hold(&[], "l");
    let wait = |time: &str| {
        let script = format!(
            "ulimit -i 0 && exec test-helper deny kill EPERM flock -w {time} -E 9 l echo locked"
        );
        let mut bash = env.command("bash");
        bash.args(["-c", &script]);
        bash
    };
    env.run_command(wait("0.3")).assert_all(9, "", "");
    let mut waiter = env.start(wait("1000"));
    holder.release();
    waiter.expect_line("locked");
}
