//! Waiting for a lock: which locks conflict, the order of waiters, timeouts and signals.

mod without_timer;

use rstest::rstest;
use test_support::locks::{locks_on, waiter_count};
use test_support::pre_exec::{CommandPreExecExt, signal_set};
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{is_stopped, voluntary_switches};
use test_support::{TestEnv, differs_from_util_linux, wait_until};

use crate::fcntl::lock_kinds;

/// Starts `flock` on the file `l`, which is locked, and returns when it is blocked in the kernel.
#[track_caller]
fn start_waiter<const N: usize>(env: &TestEnv, args: [&str; N]) -> Process {
    let waiter = env.start_flock(args);
    wait_until("it is blocked in the kernel", || {
        let mut requests = locks_on(env.file("l")).into_iter();
        requests.any(|lock| lock.is_waiting && lock.pid == i64::from(waiter.pid()))
    });
    waiter
}

#[test]
fn shared_locks_conflict_only_with_exclusive_locks() {
    let env = TestEnv::new();
    for kind in lock_kinds(&env) {
        for (held, requested, status) in [
            ("-s", "-s", 0),
            ("-s", "-x", 1),
            ("-x", "-s", 1),
            ("-x", "-e", 1),
        ] {
            env.run([kind, held, "l", "flock", kind, "-n", requested, "l", "true"])
                .assert_all(status, "", "");
            env.sh(format!(
                "exec 8<>l 9<>l; flock {kind} {held} 8 || exit 9; flock {kind} -n {requested} 9"
            ))
            .assert_status(status);
        }
    }
}

#[rstest]
fn a_waiter_sleeps_until_it_gets_the_lock(#[values("-x", "-s", "-w1000")] option: &str) {
    let env = TestEnv::new();
    let holder = env.hold(&[], "l");
    let mut waiter = start_waiter(&env, [option, "l", "echo", "locked"]);

    // Use the timeouts of other waiters as the clock: a waiter that polls wakes up meanwhile.
    let pass_time = || env.run(["-w0.1", "l", "true"]).assert_status(1);
    pass_time();
    let before = voluntary_switches(waiter.pid());
    pass_time();
    assert_eq!(voluntary_switches(waiter.pid()), before, "it woke up");

    holder.release();
    waiter.expect_line("locked");
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[test]
fn waiters_get_the_lock_in_order_of_arrival() {
    let env = TestEnv::new();
    let holder = env.hold(&[], "l");
    let mut queue: Vec<Process> = ["-x", "-w1000", "-x", "-w1000"]
        .iter()
        .enumerate()
        .map(|(place, option)| {
            let step = format!("echo {place} >>order");
            start_waiter(&env, [option, "l", "sh", "-c", &step])
        })
        .collect();
    holder.release();
    for waiter in &mut queue {
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
    }
    let order = std::fs::read_to_string(env.file("order")).expect("the order");
    assert_eq!(order, "0\n1\n2\n3\n");
}

#[rstest]
#[case::flock("-x", "-s")]
#[case::fcntl("--fcntl", "-s --start 7")]
fn a_timeout_of_a_microsecond_fires(
    #[case] kind: &str,
    #[case] descriptor_options: &str,
    #[values("0.000001", "0.000002", ".000005", "1e-5", "0.00005", "0.0001")] time: &str,
) {
    let env = TestEnv::new();
    if !lock_kinds(&env).contains(&kind) {
        return;
    }
    let script = format!(
        "exec 8<l; for i in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19; do
            flock -w {time} {kind} l true; [ $? -eq 1 ] || exit 9
            flock -w {time} {descriptor_options} -E 42 8; [ $? -eq 42 ] || exit 9
        done"
    );
    env.run([kind, "l", "sh", "-c", &script])
        .assert_all(0, "", "");
}

/// Waits until a timeout, while the caller ignores and blocks these signals.
#[track_caller]
fn assert_timeout_fires(env: &TestEnv, ignored: &[i32], blocked: u64) {
    // The outer flock passes them on to the inner one.
    let mut nested = env.flock(["l", "flock", "-w0.01", "l", "true"]);
    nested.ignore_signals(ignored.iter().copied());
    nested.block_signals(blocked);
    env.run_command(nested).assert_status(1);
}

#[test]
fn a_timeout_fires_although_sigalrm_is_ignored() {
    assert_timeout_fires(&TestEnv::new(), &[libc::SIGALRM], 0);
}

#[test]
fn a_timeout_fires_although_all_signals_are_blocked() {
    differs_from_util_linux("it waits for a SIGALRM that is blocked", |env| {
        assert_timeout_fires(env, &[], signal_set([libc::SIGALRM]));
        let ignored = (1..=31).filter(|signal| ![9, 17, 19].contains(signal));
        assert_timeout_fires(env, &ignored.collect::<Vec<_>>(), u64::MAX);
    });
}

#[test]
fn with_no_fork_the_command_inherits_the_callers_alarm() {
    let env = TestEnv::new();
    for option in ["-n", "-w1000", "-x"] {
        let mut flock = env.flock(["-F", option, "l", "test-helper", "inherited-state", "state"]);
        flock.set_alarm(1_000_000_000);
        let (state, _) = env.inherited_state_of(flock);
        assert!(state.contains("alarm true\n"), "{option}: {state}");
    }
}

/// Asserts that an alarm that the caller has set ends the wait.
#[track_caller]
fn assert_alarm_ends_wait(env: &TestEnv, option: &str) {
    let _holder = env.hold(&[], "l");
    let mut flock = env.flock([option, "l", "true"]);
    flock.set_alarm(50_000);
    assert_eq!(env.start(flock).wait(), ExitReason::Signaled(libc::SIGALRM));
}

#[test]
fn the_callers_alarm_ends_a_wait() {
    assert_alarm_ends_wait(&TestEnv::new(), "-x");
}

#[test]
fn the_callers_alarm_ends_a_wait_with_a_timeout() {
    differs_from_util_linux("it takes the alarm for its own, and ignores it", |env| {
        assert_alarm_ends_wait(env, "-w1000");
    });
}

#[test]
fn a_signal_ends_a_wait() {
    let env = TestEnv::new();
    let holder = env.hold(&[], "l");
    let common = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, 34];
    // None of the other signals is reserved for the timeout.
    let others = (35..=64).chain([libc::SIGVTALRM, libc::SIGPROF]);
    for (option, signals) in [
        ("-x", common.to_vec()),
        ("-s", common.to_vec()),
        ("-w1000", common.into_iter().chain(others).collect()),
    ] {
        for signal in signals {
            let mut waiter = start_waiter(&env, [option, "l", "touch", "ran"]);
            waiter.signal(signal);
            assert_eq!(waiter.wait(), ExitReason::Signaled(signal), "{option}");
        }
    }
    assert!(!env.file("ran").exists());
    env.run(["-n", "l", "true"]).assert_status(1);
    holder.release();
}

#[rstest]
fn a_stopped_and_continued_waiter_gets_the_lock(#[values("-x", "-w1000")] option: &str) {
    let env = TestEnv::new();
    let holder = env.hold(&[], "l");
    let mut waiter = start_waiter(&env, [option, "l", "echo", "locked"]);
    for signal in [libc::SIGWINCH, libc::SIGURG, libc::SIGCHLD, libc::SIGCONT] {
        waiter.signal(signal);
    }
    waiter.signal(libc::SIGSTOP);
    wait_until("it stops", || is_stopped(waiter.pid()));
    waiter.signal(libc::SIGCONT);
    wait_until("it continues", || !is_stopped(waiter.pid()));
    holder.release();
    waiter.expect_line("locked");
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[test]
fn interruptions_do_not_prolong_a_timeout() {
    let env = TestEnv::new();
    let _holder = env.hold(&[], "l");
    let mut waiter = env.start_flock(["-w0.2", "-E42", "l", "true"]);
    wait_until("it times out", || {
        // The PID stays valid, because the process is reaped at the end of the test.
        send_signal(waiter.pid(), libc::SIGSTOP);
        send_signal(waiter.pid(), libc::SIGCONT);
        waiter.has_exited()
    });
    assert_eq!(waiter.wait(), ExitReason::Exited(42));
}

#[rstest]
#[case::shared_lock_to_exclusive_and_back(
    "exec 8>l; flock -s 8; flock -ns l true; echo $?; flock -n l true; echo $?
     flock -x 8; flock -ns l true; echo $?
     flock -s 8; flock -ns l true; echo $?",
    "0\n1\n1\n0\n"
)]
#[case::conflict_with_another_shared_lock(
    "exec 8>l 9>l; flock -s 8; flock -s 9; flock -nx 8; echo $?; flock -w 0.01 -x 9; echo $?",
    "1\n0\n"
)]
fn a_descriptor_can_be_converted(#[case] script: &str, #[case] stdout: &str) {
    TestEnv::new().sh(script).assert_all(0, stdout, "");
}

#[test]
fn a_conversion_waits_for_other_shared_locks() {
    let env = TestEnv::new();
    let reader = env.hold(&["-s"], "l");
    let mut command = env.command("sh");
    command.args(["-c", "exec 8>l; flock -s 8; flock -x 8; echo converted"]);
    let mut converter = env.start(command);
    wait_until("it waits", || waiter_count(env.file("l")) == 1);
    reader.release();
    converter.expect_line("converted");
}
