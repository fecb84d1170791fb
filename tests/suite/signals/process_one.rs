//! `flock` as process 1 of a PID namespace, where signals without a handler have no effect.

use libc::{SIGHUP, SIGTERM, SIGUSR1};
use rstest::rstest;
use test_support::helper::ALL_SIGNALS_RECEIVED;
use test_support::locks::{slots, tickets, waiter_count};
use test_support::pre_exec::CommandPreExecExt;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{children_of, status_field};
use test_support::{TestEnv, can_unshare, differs_from_util_linux};

const UNSHARE: &str = "-rpf --kill-child";

/// Starts `flock` as process 1 with these arguments, which wait for `l`, and returns when it waits.
/// `None` if that is not possible here.
#[track_caller]
fn start_waiting(env: &TestEnv, command: &str, ignored: &[i32]) -> Option<Process> {
    if !can_unshare(env, UNSHARE) {
        return None;
    }
    let mut unshare = env.command("unshare");
    let script = format!("exec 8>>l; exec {command}");
    unshare.args(UNSHARE.split(' ')).args(["sh", "-c", &script]);
    unshare.ignore_signals(ignored.to_vec());
    let mut unshare = env.start(unshare);
    let file = env.file("l");
    unshare.wait_alive_until("it waits", || {
        waiter_count(&file) + tickets(&file).len() > 0
    });
    Some(unshare)
}

/// Sends a signal to process 1.
#[track_caller]
fn signal_init(unshare: &Process, signal: i32) {
    let init = children_of(unshare.pid())[0];
    assert!(send_signal(init, signal), "cannot send {signal}");
}

/// Asserts that this signal terminates process 1 while it waits, and that it does not run `echo`.
#[track_caller]
fn assert_terminated(env: &TestEnv, holder: &[&str], command: &str, signal: i32) {
    let _holder = env.hold(holder, "l");
    let Some(mut unshare) = start_waiting(env, command, &[]) else {
        return;
    };
    signal_init(&unshare, signal);
    assert_eq!(unshare.wait(), ExitReason::Exited(128 + signal));
    assert!(unshare.read_until("ran").is_err());
}

#[test]
fn signal_terminates_a_waiting_process_1() {
    if can_unshare(&TestEnv::new(), UNSHARE) {
        differs_from_util_linux("it waits for SIGKILL", |env| {
            assert_terminated(env, &[], "flock l echo ran", SIGTERM);
        });
    }
}

#[rstest]
#[case::timeout("", "flock -w1000 l echo ran")]
#[case::fair("", "flock --fair l echo ran")]
#[case::fair_with_timeout("", "flock --fair -w1000 l echo ran")]
#[case::slots("--slots=1", "flock --slots 1 l echo ran")]
#[case::several_files("", "flock --also a l echo ran")]
#[case::fcntl("--fcntl", "flock --fcntl l echo ran")]
#[case::without_fork("", "flock -F l echo ran")]
#[case::descriptor("", "flock 8")]
#[case::descriptor_and_command("", "flock --fd 8 echo ran")]
fn process_1_may_wait_in_any_way(
    #[case] holder: &str,
    #[case] command: &str,
    #[values(SIGTERM, SIGUSR1, 64)] signal: i32,
) {
    let env = &TestEnv::new();
    if env.is_reference() {
        return;
    }
    let holder: Vec<&str> = holder.split_whitespace().collect();
    assert_terminated(env, &holder, command, signal);
}

#[test]
fn signal_ends_process_1_that_polls_for_a_slot() {
    let env = &TestEnv::new();
    if env.is_reference() {
        return;
    }
    let _holder = env.hold(&["--slots=1"], "l");
    let unmount =
        "unshare -m sh -c 'mount -t tmpfs none /proc && exec flock --verbose --slots=1 l echo ran'";
    if !can_unshare(env, UNSHARE) || !can_unshare(env, "-rm") {
        return;
    }
    let mut unshare = env.command("unshare");
    unshare
        .args(UNSHARE.split(' '))
        .args(["sh", "-c", &format!("exec {unmount}")]);
    let mut unshare = env.start(unshare);
    unshare.expect("waiting for l");
    signal_init(&unshare, SIGTERM);
    assert_eq!(unshare.wait(), ExitReason::Exited(128 + SIGTERM));
    assert_eq!(slots(env.file("l")).len(), 1);
}

#[test]
fn process_1_ignores_what_its_caller_ignores() {
    let env = &TestEnv::new();
    if env.is_reference() {
        return;
    }
    let _holder = env.hold(&[], "l");
    let Some(mut unshare) = start_waiting(env, "flock l echo ran", &[SIGHUP]) else {
        return;
    };
    let init = children_of(unshare.pid())[0];
    assert_eq!(status_field(init, "SigIgn"), "0000000000000001");
    signal_init(&unshare, SIGTERM);
    assert_eq!(unshare.wait(), ExitReason::Exited(128 + SIGTERM));
}

#[test]
fn process_1_that_has_waited_forwards_signals() {
    let env = &TestEnv::new();
    if env.is_reference() {
        return;
    }
    let holder = env.hold(&[], "l");
    let command = "flock l test-helper catch-signals 1";
    let Some(mut unshare) = start_waiting(env, command, &[]) else {
        return;
    };
    holder.release();
    unshare.expect("ready");
    unshare.read_line();
    signal_init(&unshare, SIGTERM);
    unshare.expect("received 15 ");
    assert_eq!(unshare.wait(), ExitReason::Exited(ALL_SIGNALS_RECEIVED));
}

#[test]
fn command_of_process_1_has_the_default_signals() {
    let env = &TestEnv::new();
    let holder = env.hold(&[], "l");
    let script = r#"flock l sh -c "grep SigIgn: /proc/self/status; kill -TERM \$\$""#;
    let Some(mut unshare) = start_waiting(env, script, &[]) else {
        return;
    };
    holder.release();
    unshare.expect("SigIgn:\t0000000000000000");
    assert_eq!(unshare.wait(), ExitReason::Exited(128 + SIGTERM));
}
