//! The end of a lease: the command is stopped before it, with all that belongs to it.

use std::process::Stdio;

use rstest::rstest;
use test_support::TestEnv;

/// A command of three generations that ignore `SIGTERM`, the last of which does the work. All of
/// them keep the file `witness` locked.
pub const STUBBORN: [&str; 6] = [
    "flock",
    "witness",
    "sh",
    "-c",
    "trap '' TERM; (trap '' TERM; sh -c 'echo working; while :; do sleep 1; done' & wait; :); :",
    "sh",
];

/// The options of a lease whose margin is 2 s, of which a busy machine may need a part.
pub const LEASE: [&str; 2] = ["--ttl=100s", "--grace=1s"];

/// Grants a lease that ends in 4 s. The command is asked to stop after 1 s, and killed after 2 s.
pub const SHORT_LEASE: &str = "echo granted 7 $(in_ms 4000)\n";

/// Runs `flock` with these options, for a command, and asserts that it reports that the lock is lost
/// for this reason, and that no process of the command is left. Returns the output.
#[track_caller]
fn assert_lost(env: &TestEnv, options: &[&str], command: &[&str], why: &str) -> String {
    let args = [options, &["test://n"], command].concat();
    let outcome = env.run(args).assert_status(75);
    let stdout = outcome.stdout_text();
    // A shell may report there that its child was terminated.
    let stderr = outcome.stderr_text();
    let message = format!("flock: lock lost, command stopped: {why}\n");
    assert!(stderr.ends_with(&message), "{stderr}");
    env.run(["-s", "-n", "witness", "true"])
        .assert_all(0, "", "");
    stdout
}

const NOT_RENEWED: &str = "its lease was not renewed in time";

#[rstest]
#[case::silent("wait_for_release")]
#[case::dead("exit 0")]
#[case::nonsense("printf 'hello\\nuntil %s\\n' $(in_ms 999000); wait_for_release")]
#[case::endless_line("head -c 9999 /dev/zero; wait_for_release")]
#[case::second_grant("echo granted 8 $(in_ms 999000); wait_for_release")]
fn command_is_stopped_if_the_lease_is_not_renewed(#[case] helper: &str) {
    let env = TestEnv::with_lock_helper(&format!("{SHORT_LEASE}{helper}"));
    let stdout = assert_lost(&env, &LEASE, &STUBBORN, NOT_RENEWED);
    assert_eq!(stdout, "working\n");
}

#[test]
fn command_is_dead_before_the_lease_ends() {
    // The next holder takes the lock exactly when the lease ends, while the command still has time
    // by its own clock: the helper reads no more of the connection.
    let helper = "end=$(in_ms 4000); echo granted 7 $end
        while [ $(in_ms 0) -lt $end ]; do sleep 0.01; done
        check";
    let env = TestEnv::with_lock_helper(helper);
    assert_lost(&env, &LEASE, &STUBBORN, NOT_RENEWED);
    test_support::wait_until("the lease ends", || env.file("checked").exists());
    assert_eq!(env.read_file("checked"), "free\n");
}

#[test]
fn all_processes_are_asked_to_stop_first() {
    let env = TestEnv::with_lock_helper("echo granted 7 $(in_ms 53000)\nwait_for_release");
    // The outer shell runs its trap only when the inner one has exited.
    let inner = "trap \"echo inner; exit\" TERM; while :; do sleep 0.01; done";
    let script = format!("trap 'echo outer; exit 0' TERM; sh -c '{inner}'; :");
    let options = ["--ttl=100s", "--grace=50s"];
    let stdout = assert_lost(&env, &options, &["sh", "-c", &script], NOT_RENEWED);
    assert_eq!(stdout, "inner\nouter\n");
}

#[test]
fn stopped_processes_are_asked_too() {
    let env = TestEnv::with_lock_helper("echo granted 7 $(in_ms 53000)\nwait_for_release");
    // flock continues the command itself together with the supervisor, but not its child.
    let child = "trap \"echo asked; exit\" TERM; kill -STOP $$; :";
    let script = format!("sh -c '{child}'; :");
    let options = ["--ttl=100s", "--grace=50s"];
    let stdout = assert_lost(&env, &options, &["sh", "-c", &script], NOT_RENEWED);
    assert_eq!(stdout, "asked\n");
}

#[test]
fn renewals_let_the_command_run() {
    let helper = "echo granted 7 $(in_ms 6000); echo until $(in_ms 60000); wait_for_release";
    let env = TestEnv::with_lock_helper(helper);
    env.run([
        "--ttl=20s",
        "--grace=0",
        "test://n",
        "sh",
        "-c",
        "sleep 6.1; exit 3",
    ])
    .assert_all(3, "", "");
}

#[test]
fn loss_of_the_lock_stops_the_command() {
    let helper = "echo granted 7 $(in_ms 60000); wait_for go; echo lost it is gone
        wait_for_release";
    let env = TestEnv::with_lock_helper(helper);
    let script = "trap 'echo asked; exit 0' TERM; echo >go; while :; do sleep 0.01; done";
    let options = ["--ttl=100s", "--grace=30s"];
    let stdout = assert_lost(&env, &options, &["sh", "-c", script], "it is gone");
    assert_eq!(stdout, "asked\n");
}

#[test]
fn lost_lock_leaves_only_the_grace_period() {
    let helper = "echo granted 7 $(in_ms 9999999); wait_for go; echo lost it is gone
        wait_for_release";
    let env = TestEnv::with_lock_helper(helper);
    let mut command = STUBBORN;
    command[4] = "echo >go; trap '' TERM; while :; do sleep 1; done";
    assert_lost(&env, &LEASE, &command, "it is gone");
}

#[test]
fn lock_that_another_process_may_have_leaves_no_grace() {
    let helper = "echo granted 7 $(in_ms 60000); wait_for go; printf 'until 0\\nlost it is gone\\n'
        wait_for_release";
    let env = TestEnv::with_lock_helper(helper);
    let script = "trap 'echo asked' TERM; echo >go; while :; do sleep 0.01; done";
    let options = ["--ttl=100s", "--grace=50s"];
    let stdout = assert_lost(&env, &options, &["sh", "-c", script], "it is gone");
    assert_eq!(stdout, "");
}

/// `flock` is held up between the grant and the start of the command: it cannot write.
#[test]
fn command_does_not_start_after_its_lease() {
    let helper = "end=$(in_ms 2000); echo granted 7 $end
        while [ $(in_ms 0) -lt $end ]; do sleep 0.01; done
        echo >ended; wait_for_release";
    let env = TestEnv::with_lock_helper(helper);
    let (mut unread, full) = std::io::pipe().expect("a pipe");
    fill(&full);
    let mut command = env.flock(["--verbose", "--ttl=5s", "--grace=0s", "test://n"]);
    command.args(["sh", "-c", "echo >started"]);
    let flock = command.stdout(full).stderr(Stdio::piped()).spawn();
    let flock = flock.expect("flock starts");
    // It has the pipe open.
    drop(command);
    test_support::wait_until("the lease ends", || env.file("ended").exists());
    std::io::copy(&mut unread, &mut std::io::sink()).expect("the output");
    let output = flock.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.starts_with("flock: lock lost, command stopped: "),
        "{stderr}"
    );
    assert_eq!(output.status.code(), Some(75));
    assert!(!env.file("started").exists());
}

/// Fills a pipe, so that the next write waits.
pub fn fill(pipe: &std::io::PipeWriter) {
    use rustix::fs::{OFlags, fcntl_setfl};
    fcntl_setfl(pipe, OFlags::NONBLOCK).expect("a pipe");
    while rustix::io::write(pipe, &[0; 4096]).is_ok() {}
    while rustix::io::write(pipe, &[0]).is_ok() {}
    fcntl_setfl(pipe, OFlags::empty()).expect("a pipe");
}

#[test]
fn command_does_not_start_without_time_to_stop_it() {
    let env = TestEnv::with_lock_helper("echo granted 7 $(in_ms 1000)\nwait_for_release");
    let message = "flock: test://n: the lock was granted too late: its lease had nearly run out\n";
    env.run(LEASE.iter().chain(&["test://n", "echo", "never"]))
        .assert_all(75, "", message);
}

#[test]
fn lost_lock_is_reported_even_if_the_command_succeeds() {
    let helper = "echo granted 7 $(in_ms 60000); wait_for go; echo lost it is gone
        wait_for_release";
    let env = TestEnv::with_lock_helper(helper);
    let script = "trap 'exit 0' TERM; echo >go; while :; do sleep 0.01; done";
    assert_lost(&env, &[], &["sh", "-c", script], "it is gone");
}

#[test]
fn daemons_of_the_command_are_stopped_too() {
    let helper = "echo granted 7 $(in_ms 60000); wait_for go; echo lost it is gone
        wait_for_release";
    let env = TestEnv::with_lock_helper(helper);
    let daemon = "test-helper exec-in-new-session flock witness sh -c 'echo >go; sleep 99'";
    let script = format!("({daemon} &); exit 0");
    assert_lost(&env, &[], &["sh", "-c", &script], "it is gone");
}
