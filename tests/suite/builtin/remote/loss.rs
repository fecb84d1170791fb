//! The lock is lost while the function runs: the shell gets a signal, and is killed in time.

use libc::{SIGKILL, SIGTERM};
use rstest::rstest;
use test_support::process::ExitReason;

use super::{assert_released_last, with_helper};

/// A helper that loses the lock as soon as there is a file `go`.
const LOSES: &str = "echo granted 7 $(in_ms 100000); wait_for go; echo lost it is gone
    wait_for_release";

const CALL: &str = "flock --ttl=100s --grace=50s test://n f";

const MESSAGE: &str = "flock: test://n: lock lost, its processes are being stopped: it is gone\n";

#[test]
fn trap_handles_the_loss() {
    with_helper(LOSES, |env| {
        let script = "trap 'echo cleanup; flag=1' TERM
            f() { echo >go; until [ $flag ]; do sleep 0.01; done; return 3; }";
        let outcome = env.run_with_builtin(format!("{script}; {CALL}; echo $?"));
        let outcome = outcome.assert_stdout("cleanup\n75\n").assert_status(0);
        // bash reports that its child was terminated.
        let stderr = outcome.stderr_text();
        assert!(stderr.contains(MESSAGE), "{stderr}");
        assert_released_last(env);
    });
}

#[test]
fn trap_may_exit() {
    with_helper(LOSES, |env| {
        let script = "trap 'exit 12' TERM; f() { echo >go; while :; do sleep 0.01; done; }";
        let outcome = env.run_with_builtin(format!("{script}; {CALL}; echo no"));
        outcome.assert_status(12).assert_stdout("");
        assert_released_last(env);
    });
}

/// Even if it is stopped.
#[rstest]
#[case::running("read x <end")]
#[case::stopped("kill -STOP $$")]
fn shell_without_a_trap_is_terminated(#[case] body: &str) {
    with_helper(LOSES, |env| {
        let script = format!("mkfifo end; f() {{ echo >go; {body}; }}; {CALL}; echo no");
        let mut shell = env.start_with_builtin(script);
        let output = shell.read_until("it is gone\n").expect("a message");
        assert_eq!(output, MESSAGE);
        assert_eq!(shell.wait(), ExitReason::Signaled(SIGTERM));
    });
}

#[test]
fn shell_is_killed_after_the_grace_period() {
    with_helper(LOSES, |env| {
        // No command that is killed first, so that the function returns.
        let script = "mkfifo end; trap '' TERM
            f() { exec 9>>witness; flock 9; echo >go; read x <end; }
            flock --ttl=100s --grace=1s test://n f; echo no";
        let mut shell = env.start_with_builtin(script);
        assert_eq!(shell.wait(), ExitReason::Signaled(SIGKILL));
        assert_released_last(env);
    });
}

#[test]
fn commands_of_the_function_are_terminated_too() {
    with_helper(LOSES, |env| {
        let script = format!(
            "mkfifo end; trap : TERM
             f() {{ sh -c 'echo >go; read x <end' & while kill -0 $!; do sleep 0.01; done; echo gone; }}
             {CALL} 2>messages; echo $?"
        );
        env.run_with_builtin(script).assert_all(0, "gone\n75\n", "");
    });
}

#[test]
fn processes_of_the_script_itself_are_spared() {
    with_helper(LOSES, |env| {
        let script = format!(
            "mkfifo end; sh -c 'read x <end; echo spared' &
             trap 'flag=1' TERM; f() {{ echo >go; until [ $flag ]; do sleep 0.01; done; }}
             {CALL}; echo $?; echo >end; wait"
        );
        env.run_with_builtin(script).assert_stdout("75\nspared\n");
    });
}

#[test]
fn loss_of_an_outer_lock_ends_an_inner_call() {
    let helper = "case $(cat request) in
        *test://outer*) echo granted 7 $(in_ms 100000); wait_for go; echo lost it is gone;;
        *) echo granted 8 $(in_ms 100000);;
        esac
        wait_for_release";
    with_helper(helper, |env| {
        let script = "trap 'exit 12' TERM; f() { flock test://inner g; }
            g() { echo >go; while :; do sleep 0.01; done; }
            flock --ttl=100s --grace=50s test://outer f; echo no";
        let outcome = env.run_with_builtin(script);
        outcome.assert_status(12).assert_stdout("");
    });
}
