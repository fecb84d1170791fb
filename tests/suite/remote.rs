//! Locks elsewhere, with scripts as helpers: what a helper is asked for and may answer, and what the
//! command sees.

mod engines;
mod etcd;
pub mod form;
pub mod handle;
mod kills;
mod lease;
mod listing;
mod postgres;
mod several;
mod ssh;
mod terminal;

use rstest::rstest;
use test_support::TestEnv;

/// A helper that grants the lock for a minute.
const GRANTS: &str = "echo granted 7 $(in_ms 60000)\nwait_for_release";

#[test]
fn command_sees_the_token_and_the_url() {
    let env = TestEnv::with_lock_helper(GRANTS);
    let script = "echo $FLOCK_TOKEN $FLOCK_URL; exit 5";
    let outcome = env.run(["test://h/n", "sh", "-c", script]);
    outcome.assert_all(5, "7 test://h/n\n", "");
}

#[test]
fn helper_is_told_what_to_lock() {
    let env = TestEnv::with_lock_helper(GRANTS);
    env.run(["--slots=3", "-w1.5", "--ttl=20s", "test://h/n", "true", "a"])
        .assert_all(0, "", "");
    let request = env.read_file("request");
    let (start, rest) = request.split_once("pid ").expect("a PID");
    let expected = "flock 1\nurl test://h/n\nmode exclusive\nslots 3\nwait 1500\nttl 20000\n";
    assert_eq!(start, expected);
    assert!(rest.ends_with("command true a\n"), "{rest}");
}

#[rstest]
#[case::shared(&["-s"], "mode shared\nwait forever\n")]
#[case::nonblocking(&["-n"], "mode exclusive\nwait 0\n")]
#[case::fair(&["--fair"], "mode exclusive\nwait forever\n")]
fn helper_is_told_how_to_lock(#[case] options: &[&str], #[case] expected: &str) {
    let env = TestEnv::with_lock_helper(GRANTS);
    env.run(options.iter().chain(&["test://n", "true"]))
        .assert_all(0, "", "");
    let request = env.read_file("request");
    assert!(request.contains(expected), "{request}");
}

#[test]
fn shell_line_runs_under_the_lock() {
    let env = TestEnv::with_lock_helper(GRANTS);
    let outcome = env.run(["test://n", "-c", "echo $FLOCK_TOKEN"]);
    outcome.assert_all(0, "7\n", "");
}

#[test]
fn path_with_a_slash_in_front_is_a_file() {
    let env = TestEnv::with_lock_helper(GRANTS);
    env.sh("mkdir -p test:").assert_status(0);
    env.run(["./test://n", "true"]).assert_all(0, "", "");
    assert!(env.file("test:/n").exists() && !env.file("request").exists());
}

#[test]
fn helper_is_not_looked_for_in_path() {
    let env = TestEnv::with_lock_helper(GRANTS);
    env.sh("mv libexec/fdlock/flock-test bin").assert_status(0);
    let outcome = env.run(["test://n", "true"]).assert_status(69);
    let expected = format!(
        "flock: no helper for test://: cannot execute {}; for a file of that name, use: \
         ./test://...\n",
        env.file("libexec/fdlock/flock-test").display()
    );
    outcome.assert_stderr(&expected);
}

#[test]
fn refusal_has_the_status_of_a_conflict() {
    let env = TestEnv::with_lock_helper("echo refused");
    env.run(["-n", "test://n", "echo"]).assert_all(1, "", "");
    env.run(["-E", "9", "-n", "test://n", "echo"])
        .assert_all(9, "", "");
    let outcome = env.run(["-n", "--verbose", "test://n", "echo"]);
    outcome.assert_all(1, "", "flock: failed to get lock\n");
}

#[test]
fn verbose_reports_the_holder_and_the_command() {
    let helper = format!("echo waits db1 process 42\necho warning no route\n{GRANTS}");
    let env = TestEnv::with_lock_helper(&helper);
    env.run(["test://n", "true"])
        .assert_all(0, "", "flock: no route\n");
    let outcome = env.run(["--verbose", "test://n", "true"]);
    let stdout = outcome.stdout_text();
    let outcome = outcome.assert_stderr("flock: waiting for db1 process 42\nflock: no route\n");
    assert!(stdout.starts_with("flock: getting lock took "), "{stdout}");
    assert!(stdout.ends_with("flock: executing true\n"), "{stdout}");
    outcome.assert_status(0);
}

#[rstest]
#[case::usage(64)]
#[case::unsuitable(65)]
#[case::not_reached(66)]
#[case::unavailable(69)]
#[case::denied(77)]
fn error_of_the_helper_is_the_exit_status(#[case] status: i32) {
    let env = TestEnv::with_lock_helper(&format!("echo error {status} it does not work"));
    let outcome = env.run(["test://h/n", "echo"]);
    outcome.assert_all(status, "", "flock: test://h/n: it does not work\n");
}

#[rstest]
#[case::other_text("echo hello")]
#[case::other_status("echo error 3 x")]
#[case::renewal("echo until $(in_ms 60000)")]
#[case::endless_line("head -c 9999 /dev/zero")]
#[case::exit("exit 0")]
#[case::partial_line("printf 'granted 1 99999999999'")]
fn helper_that_violates_the_protocol_is_unusable(#[case] helper: &str) {
    let env = TestEnv::with_lock_helper(helper);
    let outcome = env.run(["test://n", "echo"]).assert_status(69);
    let stderr = outcome.stderr_text();
    assert!(
        stderr.starts_with("flock: test://n: the helper has "),
        "{stderr}"
    );
}

#[test]
fn timeout_ends_although_the_helper_does_not_answer() {
    let env = TestEnv::with_lock_helper("wait_for_release");
    env.run(["-w0.01", "test://n", "echo"])
        .assert_all(1, "", "");
}

#[test]
fn lock_is_released_before_flock_exits() {
    let env = TestEnv::with_lock_helper(&format!("{GRANTS}\nsleep 0.3\necho >late"));
    env.run(["test://n", "true"]).assert_all(0, "", "");
    assert!(env.file("late").exists());
}

#[test]
fn lock_is_released_if_the_command_cannot_run() {
    let env = TestEnv::with_lock_helper(GRANTS);
    let outcome = env.run(["test://n", "./missing"]).assert_status(69);
    let expected = "flock: failed to execute ./missing: No such file or directory\n";
    outcome.assert_stderr(expected);
    assert_eq!(env.read_file("checked"), "free\n");
}

#[test]
fn processes_left_behind_keep_the_lock() {
    let env = TestEnv::with_lock_helper(GRANTS);
    let script = "(flock witness sh -c 'sleep 0.3; echo done >late' &) ; exit 5";
    env.run(["test://n", "sh", "-c", script])
        .assert_all(5, "", "");
    assert_eq!(env.read_file("checked"), "free\n");
    assert_eq!(env.read_file("late"), "done\n");
}

#[test]
fn daemons_keep_the_lock() {
    let env = TestEnv::with_lock_helper(GRANTS);
    let daemon = "test-helper exec-in-new-session sh -c 'sleep 0.3; echo done >late'";
    let script = format!("({daemon} >/dev/null 2>&1 &); exit 5");
    env.run(["test://n", "sh", "-c", &script])
        .assert_all(5, "", "");
    assert_eq!(env.read_file("late"), "done\n");
}

#[test]
fn command_inherits_what_it_inherits_locally() {
    let env = TestEnv::with_lock_helper(GRANTS);
    let report = ["test-helper", "inherited-state", "state"];
    let command = |lock| {
        let mut command = env.flock([lock].iter().chain(&report));
        command.stdin(std::process::Stdio::null());
        command
    };
    let state = |lock| {
        let (state, outcome) = env.inherited_state_of(command(lock));
        outcome.assert_all(0, "", "");
        let lines = state.lines().filter(|line| !line.ends_with("/l"));
        // Each command has pipes of its own.
        Vec::from_iter(lines.map(|line| line.split(":[").next().map(str::to_owned)))
    };
    assert_eq!(state("test://n"), state("l"));
}

#[test]
fn helper_inherits_no_descriptor_of_the_caller() {
    let helper = format!("ls -l /proc/$$/fd >fds\n{GRANTS}");
    let env = TestEnv::with_lock_helper(&helper);
    let outcome = env.sh("exec 7>seven; flock test://n true 2>two");
    outcome.assert_all(0, "", "");
    let fds = env.read_file("fds");
    assert!(!fds.contains("seven") && !fds.contains("two"), "{fds}");
    assert!(
        fds.contains("/dev/null") && fds.contains("socket:"),
        "{fds}"
    );
}

#[test]
fn standard_descriptors_may_be_closed() {
    let env = TestEnv::with_lock_helper(GRANTS);
    let script = "flock test://n test-helper inherited-state state <&- >&- 2>&-";
    env.sh(script).assert_status(0);
    let state = env.read_file("state");
    assert!(!state.contains("fd "), "{state}");
}
