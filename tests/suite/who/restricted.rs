//! `--who` and `--verbose` say the same where processes cannot be examined: the reason, and never
//! that there is no holder.

use rstest::rstest;
use rustix::process::geteuid;
use serde_json::json;

use super::{assert_fields, parse_rows, start_holding_script};
use test_support::{Outcome, TestEnv, can_unshare, is_installed};

/// Runs a script as a user with another ID, with the help of a command that executes its arguments.
/// `None` if that is not possible.
#[track_caller]
fn run_as_other_user(env: &TestEnv, wrapper: &str, script: &str) -> Option<Outcome> {
    if !geteuid().is_root() || !is_installed("setpriv") {
        return None;
    }
    let run = |script: &str| {
        env.install_script("script", script);
        env.sh(format!(
            "exec {wrapper} setpriv --reuid=54321 --regid=54321 --clear-groups sh ./script"
        ))
    };
    env.sh("chmod 755 .; chmod 666 f").assert_status(0);
    (run("flock --version").code() == 0).then(|| run(script))
}

/// Repeats a request whose search for the holder was cut short because the machine is busy.
const TRY_VERBOSELY: &str = r#"
    while error=$(flock --verbose -n f true 2>&1); status=$?; [ "${error%in time*}" != "$error" ]
    do :; done
    echo "$error" >&2; exit $status"#;

#[test]
fn verbose_gives_the_reason_for_an_unknown_holder() {
    let env = TestEnv::new();
    let _script = start_holding_script(&env);
    if let Some(outcome) = run_as_other_user(&env, "", TRY_VERBOSELY) {
        let report = "f: held by a process that only root can see";
        outcome.assert_all(
            1,
            "",
            &format!("flock: failed to get lock\nflock: {report}\n"),
        );
    }
}

#[test]
fn root_is_told_the_capability_that_it_lacks() {
    let env = TestEnv::new();
    let _script = start_holding_script(&env);
    if !geteuid().is_root() {
        return;
    }
    if let Some(command) = env.unprivileged(TRY_VERBOSELY) {
        let stderr = env.run_command(command).assert_status(1).stderr_text();
        assert!(stderr.contains("--cap-add SYS_PTRACE"), "{stderr}");
        assert!(!stderr.contains("root"), "{stderr}");
    }
}

/// With `hidepid`, `/proc` does not even contain the process.
#[test]
fn process_that_proc_omits_is_reported_by_pid() {
    let env = TestEnv::new();
    let holder = env.hold(&["-F"], "f");
    let script = format!("flock --who --json f 2>notes; {TRY_VERBOSELY}");
    env.sh(": >notes; chmod 666 notes");
    let Some(outcome) = run_with_hidepid(&env, &script) else {
        return;
    };
    let row = &parse_rows(&outcome.stdout)[0];
    assert_fields(
        row,
        &json!({"pid": holder.pid(), "verified": false, "name": null, "command": null}),
    );
    let report = format!("f: held by {}, unverified", holder.pid());
    outcome.assert_stderr(&format!("flock: failed to get lock\nflock: {report}\n"));
}

#[test]
fn process_that_proc_omits_is_not_ruled_out() {
    let env = TestEnv::new();
    let _script = start_holding_script(&env);
    if let Some(outcome) = run_with_hidepid(&env, "flock --who --pids f; exit") {
        outcome.assert_all(
            0,
            "",
            "flock: f: held by a process that only root can see\n",
        );
    }
}

#[track_caller]
fn run_with_hidepid(env: &TestEnv, script: &str) -> Option<Outcome> {
    let hide = "#!/bin/sh\nmount -t proc -o hidepid=2 proc /proc && exec \"$@\"\n";
    env.install_script("bin/hide", hide);
    let can_hide = can_unshare(env, "-m") && env.sh("unshare -m hide true").code() == 0;
    can_hide.then(|| run_as_other_user(env, "unshare -m hide", script))?
}

#[test]
fn verbose_reports_missing_proc() {
    let env = TestEnv::new();
    let _script = start_holding_script(&env);
    if can_unshare(&env, "-rm") {
        let outcome = env.sh(format!(
            "exec unshare -rm sh -c 'mount -t tmpfs none /proc; {TRY_VERBOSELY}'"
        ));
        let stderr = outcome.assert_status(1).stderr_text();
        let report = "f: the holder cannot be determined, because /proc is not available: ";
        assert!(stderr.contains(report), "{stderr}");
    }
}

#[test]
fn verbose_reports_an_invisible_pid_namespace() {
    let env = TestEnv::new();
    let _outside = start_holding_script(&env);
    if can_unshare(&env, "-rpf --mount-proc") {
        env.sh(format!(
            "exec unshare -rpf --mount-proc sh -c '{TRY_VERBOSELY}'"
        ))
        .assert_status(1)
        .assert_stderr(
            "flock: failed to get lock\n\
             flock: f: no holder is visible; processes outside this PID namespace are not visible\n",
        );
    }
}

/// The program needs one descriptor for the file, and two to examine a process.
#[rstest]
#[case::none(3, 71)]
#[case::file(4, 71)]
#[case::processes(5, 0)]
fn too_few_descriptors_are_reported(#[case] limit: u32, #[case] status: i32) {
    let env = TestEnv::without_builtin();
    if !is_static_or_loads_with(&env, limit) {
        return;
    }
    let _script = start_holding_script(&env);
    let outcome = env.sh(format!("ulimit -n {limit}; exec flock --who --pids f"));
    let stderr = outcome
        .assert_status(status)
        .assert_stdout("")
        .stderr_text();
    assert!(stderr.ends_with(": Too many open files\n"), "{stderr}");
}

#[test]
fn verbose_reports_too_few_descriptors() {
    let env = TestEnv::without_builtin();
    let _script = start_holding_script(&env);
    // As above, after the lock file has been closed.
    let outcome = env.sh("ulimit -n 5; flock --verbose -n f true; exit");
    outcome.assert_status(1).assert_stderr(
        "flock: failed to get lock\n\
         flock: f: held, but the processes could not be examined: Too many open files\n",
    );
}

/// A dynamic loader needs a descriptor too.
fn is_static_or_loads_with(env: &TestEnv, limit: u32) -> bool {
    env.sh(format!("ulimit -n {limit}; exec flock --version"))
        .code()
        == 0
}

/// The kernel's table knows no lock of another machine, and on FUSE none at all.
#[test]
fn file_server_may_know_of_a_holder() {
    let env = TestEnv::without_builtin();
    env.sh(": >f");
    let opener = super::start_script(&env, "exec 8<f; echo open; read x", "open");
    let inject = "inject=fstatfs,?fstatfs64:error=EIO";
    if let Some(command) = env.with_fault_injection("", inject, &["--who", "f"]) {
        let outcome = env.run_command(command).assert_status(1).assert_stdout("");
        let note = outcome.stderr_text();
        let begin = "flock: f: no holder is visible; locks on this file system (";
        assert!(note.starts_with(begin), "{note}");
        let end = format!(
            ") may be known only to its server; open in {} sh\n",
            opener.pid()
        );
        assert!(note.ends_with(&end), "{note}");
    }
}

/// A script of another user has lent the descriptor, as with sudo(8).
#[test]
fn lender_of_the_descriptor_is_not_ruled_out() {
    let env = TestEnv::without_builtin();
    env.sh(": >f");
    let lend = "#!/bin/sh\nexec 8<f; flock -s 8; \"$@\"; exit\n";
    env.install_script("bin/lend", lend);
    if !geteuid().is_root() || !is_installed("setpriv") {
        return;
    }
    env.sh("chmod 755 .; chmod 666 f");
    let user = "setpriv --reuid=54321 --clear-groups flock";
    if env.sh(format!("{user} --version")).code() == 0 {
        let outcome = env.sh(format!("lend {user} --who --json f"));
        let row = &parse_rows(&outcome.stdout)[0];
        assert_fields(
            row,
            &json!({"role": "holder", "pid": null, "verified": false}),
        );
        outcome.assert_status(0).assert_stderr(
            "flock: f: inherited by this flock from a process that only root can see\n",
        );
    }
}

#[test]
fn lock_that_only_the_asking_process_has_is_noted() {
    let env = TestEnv::without_builtin();
    env.bash("exec 8>>f; flock 8; exec flock --who f")
        .assert_all(
            1,
            "",
            "flock: f: held by this flock itself, which has inherited it; no other holder is visible\n",
        );
}
