//! `me-only`: the exit status, and how the script is run.

mod holding;
mod names;
mod storm;

use std::ffi::OsStr;
use std::process::Command;

use rstest::{fixture, rstest};
use test_support::process::Process;
use test_support::{Outcome, TestEnv};

use crate::{CommandLineEnv, env, read_pid};

#[track_caller]
fn run_me_only<A: AsRef<OsStr>>(env: &TestEnv, args: impl IntoIterator<Item = A>) -> Outcome {
    env.run_command(env.with_args("me-only", args))
}

/// A name that no other test uses. Names belong to the whole machine.
#[fixture]
fn name() -> String {
    format!("{:016x}.lock", fastrand::u64(..))
}

/// Starts a holder of the name, which exits at [`Process::release`]. Also returns the pid of its
/// script.
#[track_caller]
fn hold_name(env: &TestEnv, name: &str) -> (Process, i32) {
    start_holder(env, env.with_args("me-only", [name]))
}

/// Completes a command that binds a name with a script that keeps it, and starts it.
#[track_caller]
fn start_holder(env: &TestEnv, mut command: Command) -> (Process, i32) {
    command.args(["sh", "-c", "echo held $$; read x; exit 0"]);
    let mut holder = env.start(command);
    let script = read_pid(&mut holder);
    (holder, script)
}

/// Asserts that a call for the name is refused, and reports one of these processes as the holder.
#[track_caller]
fn assert_refused(env: &TestEnv, name: &str, holders: &[i32]) {
    let refused = run_me_only(env, [name, "echo", "overlap"]);
    let refused = refused.assert_status(4).assert_stdout("");
    let start = format!("me-only: {name}: not the only instance (held by process ");
    let is_holder = |pid| refused.stderr_text() == format!("{start}{pid})\n");
    let is_reported = holders.iter().any(is_holder);
    assert!(is_reported, "one of {holders:?}: {refused:?}");
}

#[track_caller]
fn assert_free(env: &TestEnv, name: &str) {
    run_me_only(env, [name, "true"]).assert_all(0, "", "");
}

#[rstest]
fn exit_status_of_script_is_mapped(env: TestEnv, name: String) {
    let line = format!("me-only {name}");
    for (script, status) in [
        ("exit 0", 0),
        // 1 to 4 are statuses of me-only itself.
        ("exit 1", 201),
        ("exit 2", 202),
        ("exit 3", 203),
        ("exit 4", 204),
        ("exit 5", 5),
        ("exit 70", 70),
        ("exit 127", 127),
        ("exit 255", 255),
        ("kill -KILL $$", 128 + 9),
    ] {
        env.run_script(&line, script).assert_all(status, "", "");
    }
}

#[rstest]
fn script_that_cannot_be_executed_is_status_1(env: TestEnv, name: String) {
    env.sh("echo echo overlap >plain").assert_status(0);
    for (script, reason) in [
        ("./missing", "No such file or directory"),
        ("missing", "No such file or directory"),
        ("./plain/below", "Not a directory"),
        (
            "./plain",
            "Permission denied: ./plain is not executable; use: chmod +x ./plain",
        ),
        ("./bin", "Permission denied: ./bin is a directory"),
    ] {
        let message = format!("me-only: failed to execute {script}: {reason}\n");
        run_me_only(&env, [&name, script]).assert_all(1, "", &message);
        assert_free(&env, &name);
    }
}

#[rstest]
fn usage_error_is_status_2(env: TestEnv) {
    let long = "x".repeat(108);
    let invalid = |path| format!("invalid lock path: '{path}' (expected 1 to 107 bytes)");
    for (args, message) in [
        (&[][..], "missing LOCK_PATH"),
        (&["lock"], "missing SCRIPT_PATH"),
        (&["-x", "lock", "echo", "ran"], "invalid option -- 'x'"),
        (&["", "echo", "ran"], &invalid("")),
        (&[&long, "echo", "ran"], &invalid(&long)),
    ] {
        let usage = "Usage: me-only LOCK_PATH SCRIPT_PATH [ARGUMENT]...";
        let message = format!("me-only: {message}\n{usage}\n");
        run_me_only(&env, args).assert_all(2, "", &message);
    }
}

#[rstest]
fn socket_that_cannot_be_created_is_status_3(env: TestEnv, name: String) {
    let assert_failed = |outcome: Outcome, reason: &str| {
        outcome.assert_all(3, "", &format!("me-only: cannot create socket: {reason}\n"));
    };
    // The first of two sockets takes the last descriptor, or no descriptor above 2 is left for it.
    for limit in ["ulimit -n 4; exec", "exec <&-; ulimit -n 3; exec"] {
        let outcome = env.sh(format!("{limit} me-only {name} echo ran"));
        assert_failed(outcome, "Too many open files");
    }
    let line = format!("me-only {name} echo ran");
    if let Some(me_only) = env.injected("inject=socket:error=ENOBUFS", &line) {
        assert_failed(env.run_command(me_only), "No buffer space available");
    }
}

#[rstest]
fn failed_bind_is_status_4_for_any_reason(env: TestEnv, name: String) {
    let line = format!("me-only {name} echo ran");
    for call in [1, 2] {
        // Without strace, bind(2) fails only if the name is in use.
        let inject = format!("inject=bind:error=EACCES:when={call}");
        if let Some(me_only) = env.injected(&inject, &line) {
            let message =
                format!("me-only: cannot bind socket address {name}: Permission denied\n");
            env.run_command(me_only).assert_all(4, "", &message);
        }
    }
}

#[rstest]
fn name_is_bound_before_script_is_looked_up(env: TestEnv, name: String) {
    let (holder, _) = hold_name(&env, &name);
    let refused = run_me_only(&env, [&name, "./missing"]).assert_status(4);
    let message = refused.stderr_text();
    assert!(message.contains("not the only instance"), "{message}");
    holder.release();
    run_me_only(&env, [&name, "./missing"]).assert_status(1);
}

#[rstest]
fn refusal_in_script_is_status_204(env: TestEnv, name: String) {
    let outcome = run_me_only(&env, [&name, "me-only", &name, "echo", "overlap"]);
    outcome.assert_status(204).assert_stdout("");
}

#[rstest]
fn script_gets_arguments_unchanged(env: TestEnv, name: String) {
    env.install_script("script", "#!/bin/sh\nprintf '<%s>' \"$@\"\n");
    let args = [&name, "./script", "1", "", "-h", "--", "a  b", "*"];
    run_me_only(&env, args).assert_all(0, "<1><><-h><--><a  b><*>", "");
}

#[rstest]
fn script_is_searched_in_current_directory_then_path(env: TestEnv, name: String) {
    env.install_script("bin/script", "#!/bin/sh\necho in PATH\n");
    run_me_only(&env, [&name, "script"]).assert_stdout("in PATH\n");
    env.install_script("script", "#!/bin/sh\necho here\n");
    run_me_only(&env, [&name, "script"]).assert_stdout("here\n");
}

/// The examples in the manual of the original, which differ in how they check the status.
#[rstest]
fn manual_examples_continue_only_on_success(env: TestEnv, name: String) {
    env.install_script("good", "#!/bin/sh\necho \"$*\"\n");
    env.install_script("bad", "#!/bin/sh\nexit 4\n");
    let run = |script: &str| {
        let call = format!("me-only {name} {} 1 2 3", env.file(script).display());
        [
            format!(r#"{call} || {{ echo "ERROR: ..." >&2; exit 1; }}"#),
            format!(
                "{call}\nRC=$?\nif [ $RC -ne 0 ]; then\n  echo \"ERROR: ...\" >&2\n  exit 1\nfi"
            ),
        ]
        .map(|example| env.sh(format!("{example}\necho continued")))
    };
    for outcome in run("good") {
        outcome.assert_all(0, "1 2 3\ncontinued\n", "");
    }
    for outcome in run("bad") {
        outcome.assert_all(1, "", "ERROR: ...\n");
    }
    let (_holder, _) = hold_name(&env, &name);
    for outcome in run("good") {
        let message = outcome.assert_status(1).assert_stdout("").stderr_text();
        assert!(message.ends_with(")\nERROR: ...\n"), "{message}");
    }
}
