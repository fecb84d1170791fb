//! Failures of the other machine: of its processes for a lock, of sshd, and of the machine.

use libc::{SIGCONT, SIGHUP, SIGKILL, SIGSTOP, SIGTERM};
use rstest::rstest;
use test_support::process::send_signal;
use test_support::procfs::{is_running, is_stopped};
use test_support::{can_unshare, wait_until};

use super::SshTest;
use super::failures::side_by_side;
use crate::remote::engines::failures::assert_no_overlap;
use crate::remote::form::{Form, NOT_RENEWED};

/// Why a lock is lost whose holder was killed.
const EXITED: &str = "the process that held it there has exited";

/// A lock there is not passed on while its process is stopped.
#[test]
fn stopped_holder_leads_to_no_overlap() {
    side_by_side(&[()], |test, form, ()| {
        let (mut holder, next) = test.start_pair(form, "machine");
        let serve = test.process_there("serve");
        assert!(send_signal(serve, SIGSTOP));
        holder.expect_loss(NOT_RENEWED);
        holder.assert_stopped();
        test.wait_for_waiters(1);
        send_signal(serve, SIGCONT);
        assert_no_overlap(next);
    });
}

/// The guard keeps the lock for the time to live.
#[test]
fn killed_holder_leads_to_no_overlap() {
    side_by_side(&[()], |test, form, ()| {
        let (mut holder, next) = test.start_pair(form, "machine");
        assert!(send_signal(test.process_there("serve"), SIGKILL));
        holder.assert_killed(EXITED);
        assert_no_overlap(next);
    });
}

#[rstest]
fn guard_keeps_the_lock_of_a_killed_holder(#[values(Form::Command, Form::Descriptor)] form: Form) {
    let Some(test) = SshTest::new() else { return };
    let mut holder = form.start_stubborn(&test.env, &["--ttl=2m"], &test.url());
    assert!(send_signal(test.process_there("serve"), SIGKILL));
    holder.assert_killed(EXITED);
    test.assert_there(&[], 1);
    // It would do so for two minutes.
    assert!(send_signal(test.process_there("guard"), SIGKILL));
    test.wait_for_nothing_there();
    test.assert_there(&[], 0);
}

/// The command is killed at once, for no process is left that holds the lock.
#[rstest]
fn process_without_holder_and_guard_is_killed(
    #[values(Form::Command, Form::Descriptor)] form: Form,
) {
    let Some(test) = SshTest::new() else { return };
    // A grace period that is longer than any test.
    let options = ["--ttl=130s", "--grace=65s"];
    let mut holder = form.start_stubborn(&test.env, &options, &test.url());
    for word in ["guard", "serve"] {
        assert!(send_signal(test.process_there(word), SIGKILL));
    }
    holder.assert_killed(EXITED);
    test.wait_for_nothing_there();
    test.assert_there(&[], 0);
}

#[rstest]
#[case::killed(SIGKILL)]
#[case::stopped(SIGSTOP)]
fn lock_does_not_depend_on_the_guard(
    #[values(Form::Command, Form::Descriptor)] form: Form,
    #[case] signal: i32,
) {
    let Some(test) = SshTest::new() else { return };
    let holder = test.hold_by(form);
    let guard = test.process_there("guard");
    assert!(send_signal(guard, signal));
    wait_until("that has happened", || {
        !is_running(guard) || is_stopped(guard)
    });
    test.assert_there(&[], 1);
    holder.finish();
    test.assert_there(&[], 0);
    test.wait_for_nothing_there();
}

/// As at the end of a session, by a service manager.
#[rstest]
fn terminated_holder_keeps_the_lock(#[values(Form::Command, Form::Descriptor)] form: Form) {
    let Some(test) = SshTest::new() else { return };
    let holder = test.hold_by(form);
    for word in ["serve", "guard"] {
        let pid = test.process_there(word);
        for signal in [SIGHUP, SIGTERM] {
            assert!(send_signal(pid, signal));
        }
    }
    test.assert_there(&[], 1);
    holder.finish();
    test.assert_there(&[], 0);
}

#[rstest]
fn server_that_is_restarted_keeps_the_lock(#[values(Form::Command, Form::Descriptor)] form: Form) {
    let Some(mut test) = SshTest::new() else {
        return;
    };
    let url = test.url();
    let holder = form.hold(&test.env, &["--ttl=2m"], &url);
    test.server.restart(&test.env);
    test.env.run(["-n", &url, "true"]).assert_all(1, "", "");
    holder.finish();
    test.assert_there(&[], 0);
}

/// A command may still run for which the lock was held before the restart.
#[test]
fn restarted_machine_grants_no_lock_for_a_while() {
    let Some(mut test) = SshTest::new() else {
        return;
    };
    let uptime = std::fs::read_to_string("/proc/uptime").expect("/proc can be read");
    let uptime: u64 = uptime
        .split('.')
        .next()
        .and_then(|text| text.parse().ok())
        .expect("seconds");
    let offset = format!("-{uptime}");
    if !can_unshare(&test.env, &format!("--time --boottime {offset}")) {
        return;
    }
    let program = ["unshare", "--time", "--boottime", &offset];
    test.server.restart_by(&test.env, &program);
    let url = test.url();
    // A wait that ends before that ends at once.
    for wait in ["-n", "-w1800"] {
        test.env
            .run([wait, "--ttl=1h", &url, "true"])
            .assert_all(1, "", "");
    }
    test.assert_there(&[], 0);
    test.env
        .run(["--ttl=5s", &url, "echo", "got it"])
        .assert_all(0, "got it\n", "");
}
