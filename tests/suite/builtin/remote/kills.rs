//! The shell of a function, or a process that watches over its lock, is killed or stopped.

use libc::{SIGCONT, SIGTERM};
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{is_stopped, processes_in};
use test_support::{TestEnv, wait_until};

use super::{GRANTS, assert_released_last, with_helper};

/// Starts a function whose command reads from the FIFO `end`, and waits until it works.
fn start(env: &TestEnv) -> Process {
    let script = "mkfifo end; f() { flock witness sh -c 'echo working; read x <end; echo on'; }
         flock test://n f; echo $?";
    let mut shell = env.start_with_builtin(script);
    shell.expect_line("working");
    shell
}

/// As with a local lock.
#[test]
fn command_of_a_killed_shell_keeps_the_lock() {
    with_helper(GRANTS, |env| {
        let mut shell = start(env);
        shell.kill();
        assert!(!env.file("checked").exists());
        env.sh("echo >end").assert_status(0);
        assert_released_last(env);
    });
}

#[test]
fn stopped_shell_keeps_the_lock() {
    with_helper(GRANTS, |env| {
        let script = "f() { kill -STOP $$; echo on; }; flock test://n f; echo $?";
        let mut shell = env.start_with_builtin(script);
        wait_until("it stops", || is_stopped(shell.pid()));
        assert!(!env.file("checked").exists());
        shell.signal(SIGCONT);
        shell.expect_line("on");
        shell.expect_line("0");
        assert_released_last(env);
    });
}

/// A service manager sends it to all processes of a service.
#[test]
fn termination_of_all_processes_releases_the_lock_last() {
    with_helper(GRANTS, |env| {
        let command = "trap 'sleep 0.1; exit 3' TERM; echo working; read x <end";
        let script = format!(
            "mkfifo end; trap 'echo asked' TERM; f() {{ flock witness sh -c \"{command}\"; }}
             flock test://n f; echo $?"
        );
        let mut shell = env.start_with_builtin(script);
        shell.expect_line("working");
        for pid in processes_in(env.path()) {
            send_signal(pid, SIGTERM);
        }
        shell.expect("asked\n3\n");
        assert_eq!(shell.wait(), ExitReason::Exited(0));
        assert_released_last(env);
    });
}
