//! Timeouts if the caller has blocked signals, and if there is no room for a timer.

use std::process::Command;

use rstest::rstest;
use test_support::locks::{assert_waiters, waiter_count};
use test_support::pre_exec::{CommandPreExecExt, signal_set};
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{children_of, is_running};
use test_support::sandbox::{CommandSandboxExt, RefusedCall, can_refuse_calls};
use test_support::{TestEnv, differs_from_util_linux, wait_until};

use crate::fcntl::lock_kinds;

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

/// Refuses a command both a timer and a child that shares memory, as qemu-user does.
fn restrict(command: &mut Command, others_blocked: &[i32]) {
    let blocked = (34..=64).chain(others_blocked.iter().copied());
    command.block_signals(signal_set(blocked));
    command.refuse(RefusedCall::SHARED_MEMORY);
}

/// Starts the command, and returns when it waits for the lock on `l`.
#[track_caller]
fn start_restricted(env: &TestEnv, mut command: Command, others_blocked: &[i32]) -> Process {
    restrict(&mut command, others_blocked);
    let waiter = env.start(command);
    wait_until("it waits", || waiter_count(env.file("l")) == 1);
    waiter
}

#[rstest]
fn wait_needs_no_shared_memory(#[values("-x", "--fcntl")] api: &str) {
    let env = &TestEnv::new();
    if !can_refuse_calls() || !lock_kinds(env).contains(&api) {
        return;
    }
    let holder = env.hold(&[api], "l");
    let mut late = env.flock([api, "-E9", "-w0.01", "l", "true"]);
    restrict(&mut late, &[]);
    env.run_command(late).assert_all(9, "", "");
    let command = env.flock([api, "-w1000", "l", "echo", "locked"]);
    let mut waiter = start_restricted(env, command, &[]);
    holder.release();
    waiter.expect_line("locked");
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[test]
fn killed_waiter_takes_its_forked_child_with_it() {
    if !can_refuse_calls() {
        return;
    }
    let env = &TestEnv::new();
    let holder = env.hold(&[], "l");
    let mut waiter = start_restricted(env, env.flock(["-w1000", "l", "touch", "ran"]), &[]);
    waiter.kill();
    wait_until("nothing waits", || waiter_count(env.file("l")) == 0);
    holder.release();
    env.run(["-n", "l", "true"]).assert_status(0);
    assert!(!env.file("ran").exists());
}

#[test]
fn killed_forked_child_is_replaced() {
    if !can_refuse_calls() {
        return;
    }
    let env = &TestEnv::without_builtin();
    let holder = env.hold(&[], "l");
    let command = env.flock(["-w1000", "l", "echo", "locked"]);
    let mut waiter = start_restricted(env, command, &[]);
    let old = children_of(waiter.pid());
    send_signal(old[0], libc::SIGKILL);
    wait_until("it has another one", || {
        children_of(waiter.pid()) != old && waiter_count(env.file("l")) == 1
    });
    holder.release();
    waiter.expect_line("locked");
}

/// The command must not find a `SIGCHLD` of a child that it does not have, but that of its own.
#[rstest]
fn forked_child_leaves_no_signal(#[values(false, true)] other_child_exits: bool) {
    if !can_refuse_calls() {
        return;
    }
    let env = &TestEnv::without_builtin();
    let holder = env.hold(&[], "l");
    let mut sh = env.command("sh");
    let script = "exec 7<&0; cat <&7 >/dev/null & echo $!
        exec flock -F -w1000 l grep ShdPnd /proc/self/status";
    sh.args(["-c", script]);
    let mut waiter = start_restricted(env, sh, &[libc::SIGCHLD]);
    let other: i32 = waiter.read_line().parse().expect("a pid");
    if other_child_exits {
        waiter.close_stdin();
        wait_until("it has exited", || !is_running(other));
    }
    holder.release();
    let pending = u64::from(other_child_exits) << (libc::SIGCHLD - 1);
    waiter.expect_line(&format!("ShdPnd:\t{pending:016x}"));
}
