//! `--verbose` reports the holder that blocks the request.

use std::process::Stdio;

use super::{assert_lock_users, start_script};
use test_support::locks::waiter_count;
use test_support::{Outcome, TestEnv, differs_from_util_linux, wait_until};

const WHY: &str = "util-linux does not report the holder";

/// Removes the times, such as `3m 12s`.
fn mask_times(output: &str) -> Vec<String> {
    let is_time = |part: &str| {
        part.split(' ').all(|number| {
            number.ends_with(['s', 'm', 'h', 'd'])
                && number.starts_with(|first: char| first.is_ascii_digit())
        })
    };
    let mask = |line: &str| {
        let parts = line.split(", ").filter(|part| !is_time(part));
        parts.collect::<Vec<_>>().join(", ")
    };
    output.lines().map(mask).collect()
}

/// Asserts what a request reports that fails. On a busy machine, the search for the holder may end
/// before it has seen all processes; then the request is repeated.
#[track_caller]
fn assert_report(env: &TestEnv, run: impl Fn() -> Outcome, expected: &[String]) {
    let report = || mask_times(&run().assert_status(1).assert_stdout("").stderr_text());
    if env.is_reference() {
        assert_eq!(report(), expected);
    } else {
        wait_until(&format!("the report {expected:?}"), || {
            let found = report();
            println!("{found:?}");
            found == expected
        });
    }
}

/// Asserts that a `--verbose` request fails at once, and what is reported about the holder.
#[track_caller]
fn assert_blocked(env: &TestEnv, args: &[&str], report: &str) {
    let run = || env.run(["--verbose", "-n"].iter().chain(args));
    let refusal = "flock: failed to get lock".to_owned();
    assert_report(env, run, &[refusal, format!("flock: {report}")]);
}

/// Asserts what a request reports before it waits for a file that is held, and after that.
#[track_caller]
fn assert_timeout(env: &TestEnv, run: impl Fn() -> Outcome, held: &str) {
    let waiting = format!("flock: waiting for {held}");
    let timeout = "flock: timeout while waiting to get lock".to_owned();
    assert_report(env, run, &[waiting, timeout, format!("flock: {held}")]);
}

#[test]
fn holder_is_reported_once_before_the_wait() {
    let env = TestEnv::new();
    env.install_script("bin/work", "#!/bin/sh\necho $$; read x\nexit 0\n");
    let mut holder = env.start_flock(["f", "work"]);
    let command = holder.read_line();
    let report = format!("flock: waiting for f: held by {command} work");
    let start = || {
        let mut waiter = env.start_flock(["--verbose", "f", "echo", "mine"]);
        (waiter.read_line(), waiter)
    };
    let (mut line, mut waiter) = start();
    // As in `assert_report`.
    wait_until(&report, || {
        let is_complete = mask_times(&line) == [report.clone()];
        if !is_complete {
            println!("{line}");
            (line, waiter) = start();
        }
        is_complete
    });
    assert!(line.ends_with('s'), "{line}");
    wait_until("it waits", || waiter_count(env.file("f")) == 1);
    holder.release();
    assert!(waiter.read_line().starts_with("flock: getting lock took "));
    waiter.expect_line("flock: executing echo");
    waiter.expect_line("mine");
}

#[test]
fn free_lock_is_not_reported_as_a_wait() {
    let env = TestEnv::new();
    for args in [
        &["--verbose", "f", "true"][..],
        &["--verbose", "-w", "9", "f", "true"],
    ] {
        env.run(args).assert_status(0).assert_stderr("");
    }
}

#[test]
fn script_is_named_rather_than_its_commands() {
    differs_from_util_linux(WHY, |env| {
        let script = "mkfifo end; exec 8>>f; flock 8
             sh -c ': >child; read x <end' </dev/null & until [ -e child ]; do :; done; echo held; read x";
        env.install_script("script", &format!("#!/bin/sh\n{script}\n"));
        let script = start_script(env, "exec ./script", "held");
        let held = format!("f: held by {} script, and 1 other", script.pid());
        assert_blocked(env, &["f", "true"], &held);
    });
}

#[test]
fn holder_is_reported_before_and_after_a_timeout() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["-F"], "f");
        for (call, label) in [
            ("flock --verbose -w .01 f true", "f"),
            ("exec 7>>f; flock --verbose -w .01 7; exit", "descriptor 7"),
        ] {
            let held = format!("{label}: held by {} sh", holder.pid());
            assert_timeout(env, || env.sh(call), &held);
        }
    });
}

#[test]
fn only_the_holder_of_a_conflicting_range_is_reported() {
    let env = TestEnv::new();
    let _reader = env.hold(&["-s"], "f");
    let writer = env.hold(&["-F", "--start", "0", "--length", "4"], "f");
    let _other = env.hold(&["-F", "--start", "9", "--length", "4"], "f");
    let held = format!("f: held by {} sh", writer.pid());
    assert_blocked(&env, &["--start", "2", "--length", "3", "f", "true"], &held);
    // This range conflicts with both writers, and the older process is named.
    let held = format!("{held}, and 1 other");
    assert_blocked(&env, &["--start", "2", "f", "true"], &held);
    let outcome = env.run(["--verbose", "-s", "-n", "f", "true"]);
    outcome.assert_status(0).assert_stderr("");
}

#[test]
fn held_file_of_several_is_named() {
    let env = TestEnv::new();
    let holder = env.hold(&["-F"], "g");
    let held = format!("g: held by {} sh", holder.pid());
    assert_blocked(&env, &["--also", "g", "f", "true"], &held);
}

#[test]
fn missing_information_changes_nothing() {
    let env = TestEnv::without_builtin();
    let _holder = env.hold(&[], "f");
    // The table of locks cannot be read.
    let inject = "inject=open,openat:error=EACCES";
    let args = ["--verbose", "-w", ".01", "f", "true"];
    if let Some(mut command) = env.with_fault_injection("/proc/locks", inject, &args) {
        command.stdin(Stdio::null());
        env.run_command(command)
            .assert_status(1)
            .assert_stdout("")
            .assert_stderr(
                "flock: waiting for f: the holder cannot be determined: /proc/locks: Permission denied\n\
                 flock: timeout while waiting to get lock\n\
                 flock: f: the holder cannot be determined: /proc/locks: Permission denied\n",
            );
    }
}

#[test]
fn holder_is_not_looked_up_without_verbose() {
    let env = TestEnv::without_builtin();
    let _holder = env.hold(&[], "f");
    let inject = "inject=open,openat:signal=KILL";
    let args = ["-w", ".01", "f", "true"];
    if let Some(command) = env.with_fault_injection("/proc/locks", inject, &args) {
        env.run_command(command).assert_all(1, "", "");
    }
}

#[test]
fn slot_blocks_only_requests_for_a_slot() {
    let env = TestEnv::new();
    let holder = env.hold(&["-F", "--slots", "1"], "f");
    assert_lock_users(&env, "f", &[("holder SLOT -", holder.pid())]);
    let held = format!("f: held by {} sh", holder.pid());
    assert_blocked(&env, &["--slots", "1", "f", "true"], &held);
    let outcome = env.run(["--verbose", "-n", "f", "true"]);
    outcome.assert_status(0).assert_stderr("");
}

/// A background job inherits the descriptor of its script, and with it the lock that it waits for.
#[test]
fn process_that_waits_for_itself_is_told_so() {
    let env = TestEnv::without_builtin();
    let (start, end) = (
        "flock: f: held by this process itself through descriptor 8 (also by ",
        " bash, an ancestor of this process), so it can never be acquired; close that descriptor first, as with 8>&-",
    );
    // As in `assert_report`.
    wait_until("the report", || {
        let outcome = env.bash("exec 8>>f; flock 8; flock -n --verbose f true; exit");
        let stderr = outcome.assert_status(1).stderr_text();
        println!("{stderr}");
        let lines = mask_times(&stderr);
        lines[1].starts_with(start) && lines[1].ends_with(end)
    });
}

#[test]
fn lock_to_be_converted_is_not_in_the_way() {
    let env = TestEnv::without_builtin();
    let _reader = env.hold(&["--fcntl", "-s", "-F"], "f");
    // An attempt to convert a lock of flock(2) releases it.
    let script = "exec 8<>f 7>&8; flock --fcntl -s 8; flock --fcntl -n --verbose 8; exit";
    let stderr = env.bash(script).assert_status(1).stderr_text();
    assert!(!stderr.contains("itself"), "{stderr}");
}

#[test]
fn lock_acquired_for_the_same_request_is_not_in_the_way() {
    let env = TestEnv::new();
    // Of the two files, the first in the order of locking is locked while the other is waited for.
    for (free, held) in [("f", "g"), ("g", "f")] {
        let holder = env.hold(&["-F"], held);
        let report = format!("{held}: held by {} sh", holder.pid());
        let args = ["--verbose", "-w", ".01", "--also", free, held, "true"];
        assert_timeout(&env, || env.run(args), &report);
        holder.release();
    }
}

#[test]
fn ancestor_that_holds_the_lock_is_called_so() {
    let env = TestEnv::without_builtin();
    let script = "echo $$; exec 8>>f 9>g; flock 8; flock --verbose f true 8>&- 2>&9 & wait";
    // As in `assert_report`.
    wait_until("the report", || {
        let mut shell = env.command("bash");
        shell.args(["-c", script]);
        let mut shell = env.start(shell);
        let pid = shell.read_line();
        wait_until("it waits", || waiter_count(env.file("f")) == 1);
        let report = env.read_file("g");
        println!("{report}");
        mask_times(&report)
            == [format!(
                "flock: waiting for f: held by {pid} bash, an ancestor of this process; if it waits for this process, neither can continue"
            )]
    });
}
