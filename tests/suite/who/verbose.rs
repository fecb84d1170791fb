//! `--verbose` says who is in the way.

use super::{WHY, lock_users, start_script};
use test_support::locks::waiter_count;
use test_support::{TestEnv, differs_from_util_linux, wait_until};

/// A line without the time in it: `3m 12s`, and so on.
fn timeless(line: &str) -> String {
    let parts = line.split(", ").filter(|part| {
        !part.split(' ').all(|word| {
            word.ends_with(['s', 'm', 'h', 'd'])
                && word.starts_with(|first: char| first.is_ascii_digit())
        })
    });
    parts.collect::<Vec<_>>().join(", ")
}

#[test]
fn who_is_in_the_way_is_said_once_before_the_wait() {
    differs_from_util_linux(WHY, |env| {
        env.install_script("bin/work", "#!/bin/sh\necho works; read x\nexit 0\n");
        let mut holder = env.start_flock(["f", "work"]);
        holder.expect_line("works");
        let command = env.run(["--who", "--pids", "f"]).stdout_text();
        let command = command.lines().find(|pid| *pid != holder.pid().to_string());
        let held = format!("held by {} work", command.expect("a number"));
        let mut waiter = env.start_flock(["--verbose", "f", "echo", "mine"]);
        let line = waiter.read_line();
        assert_eq!(timeless(&line), format!("flock: waiting for f: {held}"));
        assert!(line.ends_with('s'), "{line}");
        wait_until("it waits", || waiter_count(env.file("f")) == 1);
        holder.release();
        assert!(waiter.read_line().starts_with("flock: getting lock took "));
        waiter.expect_line("flock: executing echo");
        waiter.expect_line("mine");
    });
}

#[test]
fn a_lock_that_is_free_is_not_waited_for() {
    let env = TestEnv::new();
    for words in [
        &["--verbose", "f", "true"][..],
        &["--verbose", "-w", "9", "f", "true"],
    ] {
        env.run(words).assert_stderr("").assert_status(0);
    }
}

#[test]
fn a_script_is_named_rather_than_what_it_has_started() {
    differs_from_util_linux(WHY, |env| {
        let script = "mkfifo end; exec 8>>f; flock 8
             sh -c ': >child; read x <end' </dev/null & until [ -e child ]; do :; done; echo held; read x";
        env.install_script("script", &format!("#!/bin/sh\n{script}\n"));
        let script = start_script(env, "exec ./script", "held");
        let outcome = env.run(["--verbose", "-n", "f", "true"]).assert_status(1);
        let err = outcome.stderr_text();
        let lines: Vec<String> = err.lines().map(timeless).collect();
        let held = format!("flock: f: held by {} script, and 1 other", script.pid());
        assert_eq!(lines, ["flock: failed to get lock".to_owned(), held]);
    });
}

#[test]
fn a_wait_that_was_too_long_says_so_twice() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["-F"], "f");
        let held = format!("held by {} sh", holder.pid());
        for (call, label) in [
            ("flock --verbose -w .01 f true", "f"),
            ("exec 7>>f; flock --verbose -w .01 7; exit", "descriptor 7"),
        ] {
            let outcome = env.sh(call).assert_stdout("").assert_status(1);
            let err = outcome.stderr_text();
            let lines: Vec<String> = err.lines().map(timeless).collect();
            let wanted = [
                format!("flock: waiting for {label}: {held}"),
                "flock: timeout while waiting to get lock".to_owned(),
                format!("flock: {label}: {held}"),
            ];
            assert_eq!(lines, wanted, "{call}");
        }
    });
}

#[test]
fn only_those_are_named_who_are_in_the_way_of_this_lock() {
    differs_from_util_linux(WHY, |env| {
        let _reader = env.hold(&["-s"], "f");
        let writer = env.hold(&["-F", "--start", "0", "--length", "4"], "f");
        let _other = env.hold(&["-F", "--start", "9", "--length", "4"], "f");
        let err = env
            .run(["--verbose", "-n", "--start", "2", "f", "true"])
            .stderr_text();
        let line = err.lines().nth(1).expect("a line");
        assert!(
            line.starts_with(&format!("flock: f: held by {} sh", writer.pid())),
            "{err}"
        );
        let err = env
            .run([
                "--verbose",
                "-n",
                "--start",
                "2",
                "--length",
                "3",
                "f",
                "true",
            ])
            .stderr_text();
        let line = err.lines().nth(1).expect("a line");
        assert_eq!(
            timeless(line),
            format!("flock: f: held by {} sh", writer.pid())
        );
        env.run(["--verbose", "-s", "-n", "f", "true"])
            .assert_stderr("")
            .assert_status(0);
    });
}

#[test]
fn of_several_files_it_is_said_which() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["-F"], "g");
        let err = env
            .run(["--verbose", "-n", "--also", "g", "f", "true"])
            .stderr_text();
        let lines: Vec<String> = err.lines().map(timeless).collect();
        let held = format!("flock: g: held by {} sh", holder.pid());
        assert_eq!(lines, ["flock: failed to get lock".to_owned(), held]);
    });
}

#[test]
fn that_nobody_is_seen_is_said_and_changes_nothing() {
    let env = TestEnv::without_builtin();
    let _holder = env.hold(&[], "f");
    // The table of locks cannot be read.
    let inject = "inject=open,openat:error=EACCES";
    let words = ["--verbose", "-w", ".01", "f", "true"];
    if let Some(mut command) = env.with_fault_injection("/proc/locks", inject, &words) {
        command.stdin(std::process::Stdio::null());
        env.run_command(command)
            .assert_stderr(
                "flock: waiting for f: no holder found\n\
                 flock: timeout while waiting to get lock\n\
                 flock: f: no holder found\n",
            )
            .assert_status(1);
    }
}

#[test]
fn without_verbose_nobody_looks() {
    let env = TestEnv::without_builtin();
    let _holder = env.hold(&[], "f");
    let words = ["-w", ".01", "f", "true"];
    if let Some(command) =
        env.with_fault_injection("/proc/locks", "inject=open,openat:signal=KILL", &words)
    {
        env.run_command(command).assert_stderr("").assert_status(1);
    }
}

#[test]
fn a_slot_is_in_the_way_of_those_who_want_one_and_of_nobody_else() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["-F", "--slots", "1"], "f");
        assert_eq!(
            lock_users(env, &["f"]),
            [("holder SLOT -".to_owned(), holder.pid().into())]
        );
        let refused = || {
            env.run(["--verbose", "-n", "--slots", "1", "f", "true"])
                .assert_status(1)
                .stderr_text()
        };
        let line = |err: &str| err.lines().nth(1).map(timeless);
        let held = format!("flock: f: held by {} sh", holder.pid());
        assert_eq!(line(&refused()), Some(held));
        env.run(["--verbose", "-n", "f", "true"])
            .assert_stderr("")
            .assert_status(0);
    });
}
