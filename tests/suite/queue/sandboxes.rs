//! Sandboxes that refuse a system call, such as old container runtimes: the promises hold there,
//! too, or `--verbose` says which ones do not.

use std::process::Command;

use super::{
    FAIR, HOLD, ONE_SLOT, assert_clean, assert_one_message, assert_order, assert_served,
    noting_flock, sentinels, spawn_noting_waiter, spawn_waiter_command,
};
use rstest::rstest;
use test_support::locks::waiter_count;
use test_support::pre_exec::{CommandPreExecExt, signal_set};
use test_support::process::send_signal;
use test_support::procfs::is_stopped;
use test_support::sandbox::{CommandSandboxExt, RefusedCall, can_refuse_calls};
use test_support::{Outcome, TestEnv, wait_until};

fn refused(mut command: Command, call: RefusedCall) -> Command {
    command.refuse(call);
    command
}

fn refused_flock(env: &TestEnv, args: &str, call: RefusedCall) -> Command {
    refused(env.flock(args.split(' ')), call)
}

/// Runs `flock` with these arguments and without locks of fcntl(2).
#[track_caller]
fn run_without_fcntl(env: &TestEnv, args: &str) -> Outcome {
    env.run_command(refused_flock(env, args, RefusedCall::OFD_LOCK))
}

const NO_FCNTL: &str = "locks of fcntl(2) are not permitted here";

#[rstest]
fn order_is_kept_in_a_sandbox(
    #[values(FAIR, ONE_SLOT)] queue: &str,
    #[values(RefusedCall::PIDFD_OPEN, RefusedCall::SHARED_MEMORY)] call: RefusedCall,
    #[values(1, 2)] every: usize,
) {
    if !can_refuse_calls() {
        return;
    }
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    let names = ["0", "1", "2", "3", "4", "5"];
    let waiters = Vec::from_iter(names.iter().enumerate().map(|(number, name)| {
        let mut flock = noting_flock(env, queue, name);
        if number % every == 0 {
            flock.refuse(call);
        }
        spawn_waiter_command(env, flock)
    }));
    let sentinels = sentinels(env);
    holder.release();
    assert_order(env, waiters, &names);
    assert_clean(env, &sentinels);
}

#[rstest]
fn waiter_times_out_in_a_sandbox(
    #[values(FAIR, ONE_SLOT)] queue: &str,
    #[values(RefusedCall::PIDFD_OPEN, RefusedCall::KILL, RefusedCall::SHARED_MEMORY)]
    call: RefusedCall,
) {
    if !can_refuse_calls() {
        return;
    }
    let env = &TestEnv::new();
    let _holder = env.hold(&[queue], "l");
    let args = format!("{queue} -w0.01 -E42 l true");
    env.run_command(refused_flock(env, &args, call))
        .assert_all(42, "", "");
}

#[test]
fn killed_sentinel_that_was_forked_is_replaced() {
    if !can_refuse_calls() {
        return;
    }
    let env = &TestEnv::new();
    let holder = env.hold(&[FAIR], "l");
    let first = spawn_noting_waiter(env, FAIR, "first");
    let flock = noting_flock(env, FAIR, "second");
    let second = spawn_waiter_command(env, refused(flock, RefusedCall::SHARED_MEMORY));
    let third = spawn_noting_waiter(env, FAIR, "third");
    let old = sentinels(env);
    send_signal(old[1], libc::SIGKILL);
    wait_until("it has another one", || {
        let now = sentinels(env);
        now.len() == 3 && now[1] != old[1]
    });
    holder.release();
    assert_order(env, [first, second, third], &["first", "second", "third"]);
    assert_clean(env, &old);
}

#[rstest]
fn waiter_killed_with_a_forked_sentinel_is_gone(#[values(FAIR, ONE_SLOT)] queue: &str) {
    if !can_refuse_calls() {
        return;
    }
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    let flock = env.flock([queue].iter().chain(&HOLD));
    let mut waiter = spawn_waiter_command(env, refused(flock, RefusedCall::SHARED_MEMORY));
    let sentinels = sentinels(env);
    waiter.kill();
    holder.release();
    assert_clean(env, &sentinels);
}

/// The command must not find a `SIGCHLD` of a child that it does not have.
#[rstest]
fn exit_of_a_forked_sentinel_leaves_no_signal(#[values(FAIR, ONE_SLOT)] queue: &str) {
    if !can_refuse_calls() {
        return;
    }
    let env = &TestEnv::without_builtin();
    let holder = env.hold(&[queue], "l");
    let mut flock = env.flock([queue, "-F", "l", "grep", "ShdPnd", "/proc/self/status"]);
    flock.block_signals(signal_set([libc::SIGCHLD]));
    let mut waiter = spawn_waiter_command(env, refused(flock, RefusedCall::SHARED_MEMORY));
    holder.release();
    waiter.expect_line("ShdPnd:\t0000000000000000");
}

#[rstest]
fn waiter_is_served_where_kill_is_refused(
    #[values(FAIR, ONE_SLOT)] queue: &str,
    #[values(false, true)] is_sentinel_stopped: bool,
) {
    if !can_refuse_calls() {
        return;
    }
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    let flock = env.flock([queue].iter().chain(&HOLD));
    let waiter = spawn_waiter_command(env, refused(flock, RefusedCall::KILL));
    let sentinels = sentinels(env);
    if is_sentinel_stopped {
        send_signal(sentinels[0], libc::SIGSTOP);
        wait_until("it is stopped", || is_stopped(sentinels[0]));
    }
    holder.release();
    assert_served(waiter);
    assert_clean(env, &sentinels);
}

#[test]
fn stopped_sentinel_that_is_left_behind_does_not_count() {
    if !can_refuse_calls() {
        return;
    }
    let env = &TestEnv::new();
    let holder = env.hold(&[FAIR], "l");
    let reader = || env.flock([FAIR, "-s"].iter().chain(&HOLD));
    let mut first = spawn_waiter_command(env, refused(reader(), RefusedCall::KILL));
    let sentinels = sentinels(env);
    let second = spawn_waiter_command(env, reader());
    send_signal(sentinels[0], libc::SIGSTOP);
    wait_until("it is stopped", || is_stopped(sentinels[0]));
    holder.release();
    first.expect_line("held");
    assert_served(second);
    first.release();
    assert_clean(env, &sentinels);
}

#[test]
fn sentinel_exits_without_the_signal_of_its_parent() {
    if !can_refuse_calls() {
        return;
    }
    let env = &TestEnv::without_builtin();
    let holder = env.hold(&[FAIR], "l");
    let mut flock = env.flock([FAIR].iter().chain(&HOLD));
    flock.refuse(RefusedCall::KILL);
    flock.refuse(RefusedCall::PARENT_DEATH_SIGNAL);
    let mut waiter = spawn_waiter_command(env, flock);
    let sentinels = sentinels(env);
    waiter.kill();
    holder.release();
    assert_clean(env, &sentinels);
}

#[test]
fn slots_without_fcntl_are_always_an_error() {
    if !can_refuse_calls() {
        return;
    }
    let env = &TestEnv::new();
    let assert_refused = || {
        for option in ["-x", "-n", "-w0.01", "-w1000"] {
            let args = format!("--slots 1 {option} l echo ran").replace("-x ", "");
            let outcome = run_without_fcntl(env, &args);
            let stderr = outcome.stderr_text();
            assert!(stderr.ends_with(&format!("{NO_FCNTL}\n")), "{stderr}");
            assert_one_message(&outcome.assert_status(65).assert_stdout(""));
        }
    };
    assert_refused();
    let slot = env.hold(&["--slots", "1"], "l");
    assert_refused();
    slot.release();
    let _lock = env.hold(&[], "l");
    assert_refused();
}

#[test]
fn fair_without_fcntl_waits_in_the_kernel() {
    if !can_refuse_calls() {
        return;
    }
    let env = &TestEnv::new();
    let holder = env.hold(&[FAIR], "l");
    run_without_fcntl(env, "--fair -w0.01 -E42 l true").assert_all(42, "", "");
    let flock = env.flock([FAIR].iter().chain(&HOLD));
    let mut waiter = env.start(refused(flock, RefusedCall::OFD_LOCK));
    waiter.wait_alive_until("it waits", || waiter_count(env.file("l")) == 1);
    holder.release();
    assert_served(waiter);
}

#[rstest]
#[case("--fair --verbose l true", 0)]
#[case("--fair --verbose -n -E42 l true", 42)]
#[case("--fair --verbose -w0.01 -E42 l true", 42)]
fn verbose_says_that_there_is_no_queue(#[case] args: &str, #[case] status: i32) {
    if !can_refuse_calls() {
        return;
    }
    let env = &TestEnv::new();
    let _holder = (status != 0).then(|| env.hold(&[], "l"));
    let outcome = run_without_fcntl(env, args).assert_status(status);
    let warning = format!("flock: warning: --fair has no effect: {NO_FCNTL}\n");
    assert!(outcome.stderr_text().ends_with(&warning), "{outcome:?}");
}
