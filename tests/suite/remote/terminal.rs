//! Keys of the terminal, and job control, for commands under a lock elsewhere.

use libc::SIGINT;
use test_support::process::{ExitReason, Process};
use test_support::procfs::{is_running, is_stopped};
use test_support::{TestEnv, wait_until};

use super::GRANTS;

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const CTRL_Z: &str = "\x1a";

/// Starts a bash with job control, in it `flock` with these arguments, and a command that prints its
/// PID and the lines that it reads. Returns the bash and that PID.
fn start_job(env: &TestEnv, args: &str) -> (Process, i32) {
    let mut bash = env.start_bash_at_terminal();
    let script = "echo ready $$; while read x; do echo got $x; done; exit 5";
    bash.send_line(&format!(
        "flock {args} test://n flock witness sh -c '{script}'; echo status $?"
    ));
    bash.expect("ready ");
    let pid = bash.read_line().parse().expect("a PID");
    (bash, pid)
}

#[test]
fn stopped_job_keeps_the_lock_and_goes_on() {
    let env = TestEnv::with_lock_helper(GRANTS);
    let (mut bash, command) = start_job(&env, "");
    for word in ["this", "that"] {
        bash.send(CTRL_Z);
        wait_until("it stops", || is_stopped(command));
        bash.expect("Stopped");
        assert!(!env.file("checked").exists(), "the lock was released");
        bash.send_line("fg; echo status $?");
        wait_until("it goes on", || !is_stopped(command));
        bash.send_line(word);
        bash.expect(&format!("got {word}\n"));
    }
    bash.send(CTRL_D);
    bash.expect("status 5\n");
    assert_eq!(env.read_file("checked"), "free\n");
    bash.send_line("exit 3");
    assert_eq!(bash.wait(), ExitReason::Exited(3));
}

#[test]
fn stopped_job_is_killed_before_the_lease_ends() {
    let env =
        TestEnv::with_lock_helper("wait_for go\necho granted 7 $(in_ms 5000)\nwait_for_release");
    env.sh("echo >go").assert_status(0);
    let (mut bash, command) = start_job(&env, "--ttl=100s --grace=1s");
    bash.send(CTRL_Z);
    bash.expect("Stopped");
    wait_until("the command is killed", || !is_running(command));
    // flock itself continues when its command has exited.
    wait_until("the lock is released", || env.file("checked").exists());
    assert_eq!(env.read_file("checked"), "free\n");
    bash.send_line("wait %1; echo status $?");
    bash.expect("status 75\n");
    bash.send_line("exit 3");
    assert_eq!(bash.wait(), ExitReason::Exited(3));
}

#[test]
fn interrupt_ends_the_wait_for_the_lock() {
    let env = TestEnv::with_lock_helper("echo waits db1\nwait_for_release");
    let args = ["flock", "--verbose", "test://n", "echo", "never"];
    let mut flock = env.start_at_terminal(env.session_leader(&args));
    flock.expect("waiting for db1");
    flock.send(CTRL_C);
    assert_eq!(flock.wait(), ExitReason::Signaled(SIGINT));
    wait_until("the helper withdraws", || env.file("checked").exists());
}

#[test]
fn interrupt_of_the_command_is_that_of_flock() {
    let env = TestEnv::with_lock_helper(GRANTS);
    let args = ["flock", "test://n", "sh", "-c", "echo ready; read x"];
    let mut flock = env.start_at_terminal(env.session_leader(&args));
    flock.expect("ready");
    flock.send(CTRL_C);
    assert_eq!(flock.wait(), ExitReason::Signaled(SIGINT));
}
