//! The wait for a lock elsewhere: the shell handles its signals meanwhile.

use libc::{SIGINT, SIGKILL, SIGTERM, SIGUSR1};
use rstest::rstest;
use test_support::builtin::for_each_bash;
use test_support::locks::waiter_count;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{command_line, processes_in};
use test_support::{TestEnv, wait_until};

use super::with_helper;
use crate::builtin::terminal::assert_last_status;
use crate::remote::handle::EXCLUDES;

/// A helper that grants the lock as soon as there is a file `go`, unless the waiter withdraws.
const WAITS: &str = "echo waits db1
    (wait_for go; echo granted 7 $(in_ms 60000)) & trap 'kill -9 $! 2>/dev/null' EXIT
    wait_for_release; [ -e go ] || echo >withdrawn";

fn start(env: &TestEnv, before: &str) -> Process {
    let script = format!("f() {{ echo got; }}\n{before}\nflock --verbose test://n f; echo over $?");
    let mut shell = env.start_with_builtin(script);
    shell.expect_line("flock: waiting for db1");
    shell
}

#[track_caller]
fn expect_grant(env: &TestEnv, shell: &mut Process) {
    env.sh("echo >go").assert_status(0);
    shell.expect("flock: executing f\ngot\nover 0\n");
    assert_eq!(shell.wait(), ExitReason::Exited(0));
}

#[track_caller]
fn assert_withdrawn(env: &TestEnv) {
    wait_until("it withdraws", || env.file("withdrawn").exists());
}

#[test]
fn traps_run_and_the_wait_goes_on() {
    with_helper(WAITS, |env| {
        let mut shell = start(env, "trap 'echo trap; (exit 1)' USR1");
        for _ in 0..3 {
            shell.signal(SIGUSR1);
            shell.expect_line("trap");
        }
        assert!(!env.file("withdrawn").exists());
        expect_grant(env, &mut shell);
    });
}

#[rstest]
#[case::interrupt(":", SIGINT, ExitReason::Signaled(SIGINT))]
#[case::termination(":", SIGTERM, ExitReason::Signaled(SIGTERM))]
#[case::kill(":", SIGKILL, ExitReason::Signaled(SIGKILL))]
#[case::exit_in_a_trap("trap 'exit 5' USR1", SIGUSR1, ExitReason::Exited(5))]
#[case::kill_with_a_child(
    "sleep 60 & trap 'kill %1' EXIT",
    SIGTERM,
    ExitReason::Signaled(SIGTERM)
)]
fn end_of_the_shell_withdraws(
    #[case] before: &str,
    #[case] signal: i32,
    #[case] expected: ExitReason,
) {
    with_helper(WAITS, |env| {
        let mut shell = start(env, before);
        shell.signal(signal);
        assert_eq!(shell.wait(), expected);
        assert_withdrawn(env);
    });
}

/// A subshell that a trap has started has copies of the shell's descriptors.
#[test]
fn child_of_a_trap_does_not_wait_for_a_killed_shell() {
    with_helper(WAITS, |env| {
        let mut shell = start(
            env,
            "mkfifo end; trap '(echo $BASHPID; read x <end) & :' USR1",
        );
        shell.signal(SIGUSR1);
        let child = shell.read_line().trim().parse().expect("a PID");
        shell.kill();
        assert_withdrawn(env);
        assert!(send_signal(child, SIGKILL));
    });
}

#[test]
fn interrupt_at_a_prompt_withdraws() {
    with_helper(WAITS, |env| {
        let mut bash = env.start_builtin_at_terminal();
        bash.send_line("f() { echo got; }");
        bash.send_line("flock --verbose test://n f");
        bash.expect("waiting for db1\n");
        bash.send("\x03");
        assert_last_status(&mut bash, 128 + SIGINT);
        assert_withdrawn(env);
    });
}

#[test]
fn keys_are_for_the_shell() {
    with_helper(WAITS, |env| {
        if env.bash_is_older_than("5.0") {
            // At a prompt, it leaves any command after this trap.
            return;
        }
        let mut bash = env.start_builtin_at_terminal();
        bash.send_line("f() { echo got; }; trap 'echo trap' INT");
        bash.send_line("flock --verbose test://n f");
        bash.expect("waiting for db1\n");
        bash.send("\x1a\x03");
        bash.expect("trap\n");
        env.sh("echo >go").assert_status(0);
        bash.expect("got\n");
    });
}

#[test]
fn timeout_ends_the_wait() {
    with_helper("wait_for_release", |env| {
        let script = "f() { echo never; }; flock -w0.01 test://n f; echo $?";
        env.run_with_builtin(script).assert_all(0, "1\n", "");
    });
}

/// The waiter that the trap ends must not get it first.
#[rstest]
#[case::exit_in_a_trap(SIGUSR1, ExitReason::Exited(5))]
#[case::termination(SIGTERM, ExitReason::Signaled(SIGTERM))]
fn exit_trap_may_want_the_lock(#[case] signal: i32, #[case] expected: ExitReason) {
    for_each_bash(|env| {
        env.install_lock_helper("");
        env.install_script("libexec/fdlock/flock-test", EXCLUDES);
        let mut shell = env.start_with_builtin(
            "bin/flock test://n sh -c 'echo held; until [ -e go ]; do sleep 0.01; done' &
             f() { echo got; }; trap 'exit 5' USR1; trap 'echo >go; flock test://n f' EXIT
             until [ -e log ]; do sleep 0.01; done; g() { flock test://n f; echo no; }; g",
        );
        shell.expect_line("held");
        wait_until("it waits", || waiter_count(env.file("store-n")) == 1);
        shell.signal(signal);
        shell.expect_line("got");
        assert_eq!(shell.wait(), expected);
    });
}

/// As after `kill -9` by name.
#[test]
fn killed_program_is_reported() {
    with_helper(WAITS, |env| {
        let mut shell = start(env, ":");
        let program = processes_in(env.path())
            .into_iter()
            .find(|pid| command_line(*pid).starts_with("flock --print-token "));
        assert!(send_signal(program.expect("the program"), SIGKILL));
        shell.expect_line(
            "flock: test://n: the program that acquires it was killed, or could not be started",
        );
        shell.expect_line("over 69");
        assert_eq!(shell.wait(), ExitReason::Exited(0));
        assert_withdrawn(env);
    });
}
