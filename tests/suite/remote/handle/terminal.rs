//! Keys of the terminal, its end, and the options and traps of shells.

use libc::{SIGHUP, SIGINT};
use test_support::process::{ExitReason, Process};
use test_support::procfs::is_stopped;
use test_support::wait_until;

use super::{GRANTS, HOLD, HandleTest};

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

/// Starts a script as the leader of the session of a terminal.
fn start_at_terminal(test: &HandleTest, script: &str) -> Process {
    test.start_at_terminal(test.session_leader(&["sh", "-c", script]))
}

#[test]
fn interrupt_ends_the_wait_for_the_lock() {
    let test = HandleTest::new("echo waits db1\nwait_for_release");
    let script = "exec 8>>handle; flock --verbose 8 test://n; echo never";
    let mut script = start_at_terminal(&test, script);
    script.expect("waiting for db1");
    script.send(CTRL_C);
    assert_eq!(script.wait(), ExitReason::Signaled(SIGINT));
    wait_until("the helper withdraws", || test.file("checked").exists());
}

#[test]
fn interrupted_script_releases_the_lock() {
    let test = HandleTest::new(GRANTS);
    let mut script = start_at_terminal(&test, &format!("{HOLD} echo locked; read x"));
    script.expect("locked");
    script.send(CTRL_C);
    assert_eq!(script.wait(), ExitReason::Signaled(SIGINT));
    test.assert_released_last();
}

#[test]
fn interrupt_that_is_caught_keeps_the_lock() {
    let test = HandleTest::new(GRANTS);
    let trap = "trap 'echo caught' INT; echo locked; read x; read x";
    let mut script = start_at_terminal(&test, &format!("{HOLD} {trap}"));
    script.expect("locked");
    script.send(CTRL_C);
    script.expect("caught");
    test.assert_held();
    script.send("x\nx\n");
    script.wait();
    test.assert_released_last();
}

#[test]
fn hang_up_of_the_terminal_releases_the_lock() {
    let test = HandleTest::new(GRANTS);
    let leader = test.session_leader(&["sh", "-c", &format!("{HOLD} echo locked; read x")]);
    let mut script = test.start_at_terminal_with_piped_output(leader);
    script.expect("locked");
    script.close_stdin();
    assert_eq!(script.wait(), ExitReason::Signaled(SIGHUP));
    test.assert_released_last();
}

#[test]
fn stopped_job_keeps_the_lock_and_goes_on() {
    let test = HandleTest::new(GRANTS);
    test.install_script(
        "job",
        &format!("#!/bin/sh\n{HOLD} echo ready $$; read x; echo got $x"),
    );
    let mut bash = test.start_bash_at_terminal();
    bash.send_line("./job");
    bash.expect("ready ");
    let script = bash.read_line().parse().expect("a PID");
    bash.send(CTRL_Z);
    wait_until("it stops", || is_stopped(script));
    bash.expect("Stopped");
    test.assert_held();
    bash.send_line("fg");
    wait_until("it goes on", || !is_stopped(script));
    bash.send_line("this");
    bash.expect("got this");
    test.assert_released_last();
    bash.send_line("exit 3");
    assert_eq!(bash.wait(), ExitReason::Exited(3));
}

#[test]
fn stopped_waiter_goes_on() {
    let test = HandleTest::new(
        "echo waits db1\nwait_for free\necho granted 7 $(in_ms 60000)\nwait_for_release",
    );
    let mut bash = test.start_bash_at_terminal();
    bash.send_line("exec 8>>handle; flock --verbose 8 test://n; echo status $?");
    bash.expect("waiting for db1");
    bash.send(CTRL_Z);
    bash.expect("Stopped");
    bash.send_line("echo >free; fg; echo status $?");
    bash.expect("getting lock took");
    bash.expect("status 0");
    test.assert_held();
    bash.send_line("exit 3");
    assert_eq!(bash.wait(), ExitReason::Exited(3));
}

/// An interactive shell ignores `SIGTERM`.
#[test]
fn interactive_shell_is_killed_when_the_lock_is_lost() {
    let test = HandleTest::new(
        "echo granted 7 $(in_ms 60000); wait_for go; echo lost it is gone; wait_for_release",
    );
    let mut bash = test.start_bash_at_terminal();
    bash.send_line("exec 8>>handle; flock --grace=1s 8 test://n; echo status $?; echo >go");
    bash.expect("status 0");
    bash.expect("lock lost, its processes are being stopped: it is gone");
    assert_eq!(bash.wait(), ExitReason::Signaled(libc::SIGKILL));
}

#[test]
fn set_e_ends_a_script_that_is_refused() {
    let test = HandleTest::new("echo refused");
    test.sh("set -e; exec 8>>handle; flock -n 8 test://n; echo never")
        .assert_all(1, "", "");
}

#[test]
fn exit_trap_still_has_the_lock() {
    let test = HandleTest::new(GRANTS);
    let trap = "trap 'echo trapped; read x' EXIT; exit 3";
    let mut script = test.start_script(&format!("{HOLD} {trap}"));
    script.expect_line("trapped");
    test.assert_held();
    script.send_line("");
    assert_eq!(script.wait(), ExitReason::Exited(3));
    test.assert_released_last();
}
