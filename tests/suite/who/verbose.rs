//! `--verbose` says who is in the way.

use super::{WHY, parties, talking};
use test_support::locks::waiters;
use test_support::{Lab, departure, wait_until};

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
    departure(WHY, |lab| {
        lab.program("bin/work", "#!/bin/sh\necho works; read x\nexit 0\n");
        let mut holder = lab.start_flock(["f", "work"]);
        holder.hears("works");
        let command = lab.run(["--who", "--pids", "f"]).out();
        let command = command.lines().find(|pid| *pid != holder.pid().to_string());
        let held = format!("held by {} work", command.expect("a number"));
        let mut waiter = lab.start_flock(["--verbose", "f", "echo", "mine"]);
        let line = waiter.line();
        assert_eq!(timeless(&line), format!("flock: waiting for f: {held}"));
        assert!(line.ends_with('s'), "{line}");
        wait_until("it waits", || waiters(lab.file("f")) == 1);
        holder.let_go();
        assert!(waiter.line().starts_with("flock: getting lock took "));
        waiter.hears("flock: executing echo");
        waiter.hears("mine");
    });
}

#[test]
fn a_lock_that_is_free_is_not_waited_for() {
    let lab = Lab::new();
    for words in [
        &["--verbose", "f", "true"][..],
        &["--verbose", "-w", "9", "f", "true"],
    ] {
        lab.run(words).expect_err("").expect_code(0);
    }
}

#[test]
fn a_script_is_named_rather_than_what_it_has_started() {
    departure(WHY, |lab| {
        let script = "mkfifo end; exec 8>>f; flock 8
             sh -c ': >child; read x <end' </dev/null & until [ -e child ]; do :; done; echo held; read x";
        lab.program("script", &format!("#!/bin/sh\n{script}\n"));
        let script = talking(lab, "exec ./script", "held");
        let outcome = lab.run(["--verbose", "-n", "f", "true"]).expect_code(1);
        let err = outcome.err();
        let lines: Vec<String> = err.lines().map(timeless).collect();
        let held = format!("flock: f: held by {} script, and 1 other", script.pid());
        assert_eq!(lines, ["flock: failed to get lock".to_owned(), held]);
    });
}

#[test]
fn a_wait_that_was_too_long_says_so_twice() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["-F"], "f");
        let held = format!("held by {} sh", holder.pid());
        for (call, label) in [
            ("flock --verbose -w .01 f true", "f"),
            ("exec 7>>f; flock --verbose -w .01 7; exit", "descriptor 7"),
        ] {
            let outcome = lab.sh(call).expect_out("").expect_code(1);
            let err = outcome.err();
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
    departure(WHY, |lab| {
        let _reader = lab.hold(&["-s"], "f");
        let writer = lab.hold(&["-F", "--start", "0", "--length", "4"], "f");
        let _other = lab.hold(&["-F", "--start", "9", "--length", "4"], "f");
        let err = lab
            .run(["--verbose", "-n", "--start", "2", "f", "true"])
            .err();
        let line = err.lines().nth(1).expect("a line");
        assert!(
            line.starts_with(&format!("flock: f: held by {} sh", writer.pid())),
            "{err}"
        );
        let err = lab
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
            .err();
        let line = err.lines().nth(1).expect("a line");
        assert_eq!(
            timeless(line),
            format!("flock: f: held by {} sh", writer.pid())
        );
        lab.run(["--verbose", "-s", "-n", "f", "true"])
            .expect_err("")
            .expect_code(0);
    });
}

#[test]
fn of_several_files_it_is_said_which() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["-F"], "g");
        let err = lab
            .run(["--verbose", "-n", "--also", "g", "f", "true"])
            .err();
        let lines: Vec<String> = err.lines().map(timeless).collect();
        let held = format!("flock: g: held by {} sh", holder.pid());
        assert_eq!(lines, ["flock: failed to get lock".to_owned(), held]);
    });
}

#[test]
fn that_nobody_is_seen_is_said_and_changes_nothing() {
    let lab = Lab::direct();
    let _holder = lab.hold(&[], "f");
    // The table of locks cannot be read.
    let inject = "inject=open,openat:error=EACCES";
    let words = ["--verbose", "-w", ".01", "f", "true"];
    if let Some(mut command) = lab.injected("/proc/locks", inject, &words) {
        command.stdin(std::process::Stdio::null());
        lab.finish(command)
            .expect_err(
                "flock: waiting for f: nobody is seen to hold it\n\
                 flock: timeout while waiting to get lock\n\
                 flock: f: nobody is seen to hold it\n",
            )
            .expect_code(1);
    }
}

#[test]
fn without_verbose_nobody_looks() {
    let lab = Lab::direct();
    let _holder = lab.hold(&[], "f");
    let words = ["-w", ".01", "f", "true"];
    if let Some(command) = lab.injected("/proc/locks", "inject=open,openat:signal=KILL", &words) {
        lab.finish(command).expect_err("").expect_code(1);
    }
}

#[test]
fn a_slot_is_in_the_way_of_those_who_want_one_and_of_nobody_else() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["-F", "--slots", "1"], "f");
        assert_eq!(
            parties(lab, &["f"]),
            [("holder SLOT -".to_owned(), holder.pid().into())]
        );
        let refused = || {
            lab.run(["--verbose", "-n", "--slots", "1", "f", "true"])
                .expect_code(1)
                .err()
        };
        let line = |err: &str| err.lines().nth(1).map(timeless);
        let held = format!("flock: f: held by {} sh", holder.pid());
        assert_eq!(line(&refused()), Some(held));
        lab.run(["--verbose", "-n", "f", "true"])
            .expect_err("")
            .expect_code(0);
    });
}
