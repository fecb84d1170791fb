//! Section 4: how a command's end is told, what is said before it runs, and what is left of the lock.

use std::os::unix::process::ExitStatusExt;

use test_support::locks::locks_on;
use test_support::process::ExitReason;
use test_support::{TestEnv, differs_from_util_linux};

#[test]
fn an_interrupt_before_the_command_is_started_or_after_it_has_ended_ends_flock() {
    let env = TestEnv::new();
    // Ours looks for what is pending right before the fork, which must not be reached then, and asks for the command's
    // end by waitid.
    let before = "inject=?rt_sigpending:signal=INT:when=1 inject=?fork,?vfork,?clone:error=EAGAIN";
    let after = "inject=?waitid:signal=INT:when=1";
    for (inject, out) in [(before, ""), (after, "ran\n")] {
        let Some(command) = env.with_fault_injection("", inject, &["l", "echo", "ran"]) else {
            return;
        };
        let outcome = env.run_command(command);
        if !env.is_reference() {
            outcome.assert_status(128 + libc::SIGINT).assert_stdout(out);
        }
    }
}

#[test]
fn every_exit_status_is_passed_on() {
    let env = TestEnv::new();
    for way in ["", "-F"] {
        let script = format!(
            "i=0; while [ $i -le 255 ]; do
                flock {way} l sh -c \"exit $i\"; [ $? -eq $i ] || echo \"$i: $?\"
                i=$((i + 1))
            done"
        );
        env.sh(script).assert_stdout("").assert_stderr("");
    }
}

#[test]
fn a_death_by_a_signal_is_a_status_of_128_and_its_number() {
    let env = TestEnv::new();
    for signal in (1..=15).chain(24..=27).chain([29, 30, 31, 34, 50, 64]) {
        let script = format!("ulimit -c 0; kill -{signal} $$");
        let outcome = env.run(["l", "sh", "-c", &script]);
        // An exit, not a death: nobody sent `flock` anything.
        assert_eq!(outcome.status.code(), Some(128 + signal), "{signal}");
        assert_eq!(
            (outcome.stdout_text(), outcome.stderr_text()),
            (String::new(), String::new())
        );
    }
}

#[test]
fn a_command_that_dies_of_a_closed_pipe_tells_so() {
    let env = TestEnv::new();
    env.bash("flock l yes | head -n 1; echo ${PIPESTATUS[0]}")
        .assert_stdout("y\n141\n")
        .assert_stderr("");
    env.bash("trap '' PIPE; flock l yes 2>/dev/null | head -n 1; echo ${PIPESTATUS[0]}")
        .assert_stdout("y\n1\n");
}

#[test]
fn children_that_the_caller_left_behind_are_not_mistaken_for_the_command() {
    let env = TestEnv::new();
    env.sh("mkfifo go");
    for stranger in [
        "true",
        "sh -c 'exit 9'",
        "sh -c 'kill -9 $$'",
        "sh -c 'kill -STOP $$; exit 9'",
        // One that ends while the command runs, and not before.
        "sh -c 'read x <go; exit 9'",
    ] {
        // The command goes on when the stranger is dead or stopped.
        let wake = if stranger.contains("<go") {
            "echo >go"
        } else {
            ""
        };
        let command = format!(
            "{wake}
            until grep -q '^State:.[ZT]' /proc/$s/status 2>/dev/null || [ ! -e /proc/$s ]; do :; done
            echo done; kill -9 $s 2>/dev/null; exit 3"
        );
        let script =
            format!("{stranger} >/dev/null & s=$!; export s; exec flock l sh -c \"$command\"");
        let mut shell = env.command("sh");
        shell.args(["-c", &script]).env("command", command);
        env.run_command(shell)
            .assert_status(3)
            .assert_stdout("done\n")
            .assert_stderr("");
    }
}

#[test]
fn the_lock_is_closed_to_the_command_on_request() {
    let env = TestEnv::new();
    let script = "flock -n l true; echo $?; ls -l /proc/self/fd | grep -c '/l$'";
    for option in ["-o", "--close"] {
        env.run([option, "l", "sh", "-c", script])
            .assert_status(1)
            .assert_stdout("1\n0\n");
    }
    env.run(["l", "sh", "-c", script])
        .assert_status(0)
        .assert_stdout("1\n1\n");
}

#[test]
fn what_a_command_leaves_running_does_not_keep_a_lock_closed_to_it() {
    let env = TestEnv::new();
    env.sh("mkfifo end
            flock -o l sh -c 'read x <end &'
            flock -n l true; echo $?
            echo >end")
        .assert_stdout("0\n");
}

#[test]
fn a_lock_closed_to_the_command_goes_with_flock() {
    let env = TestEnv::new();
    let mut flock = env.hold(&["-o"], "l");
    flock.kill();
    env.run(["-n", "l", "true"]).assert_status(0);
}

#[test]
fn the_command_keeps_the_lock_when_flock_is_killed() {
    let env = TestEnv::new();
    let mut flock = env.hold(&[], "l");
    flock.kill();
    env.run(["-n", "l", "true"]).assert_status(1);
    assert_eq!(locks_on(env.file("l")).len(), 1);
    flock.close_stdin();
    env.run(["l", "true"]).assert_status(0);
}

/// Asserts what `--verbose` says on stdout, the time of the lock apart, around what the command says.
#[track_caller]
fn verbose(said: &str, command: &str, rest: &str) {
    let mut lines = said.splitn(3, '\n');
    let time = lines
        .next()
        .and_then(|line| line.strip_prefix("flock: getting lock took "))
        .and_then(|line| line.strip_suffix(" seconds"))
        .unwrap_or_else(|| panic!("the time first: {said}"));
    let (whole, part) = time.split_once('.').expect("a point");
    assert!(whole.bytes().all(|digit| digit.is_ascii_digit()) && !whole.is_empty());
    assert!(part.bytes().all(|digit| digit.is_ascii_digit()) && part.len() == 6);
    assert_eq!(
        lines.next(),
        Some(&format!("flock: executing {command}")[..])
    );
    assert_eq!(lines.next(), Some(rest));
}

#[test]
fn what_is_run_is_told_before_the_command_speaks() {
    differs_from_util_linux(
        "the reference's lines wait in a buffer, or are lost there by an exec",
        |env| {
            for way in ["-x", "-F", "--no-fork", "-o"] {
                let said = |words: &[&str]| {
                    let words = [&["--verbose", way, "l"], words].concat();
                    env.run(words)
                        .assert_status(0)
                        .assert_stderr("")
                        .stdout_text()
                };
                verbose(&said(&["echo", "hello"]), "echo", "hello\n");
                verbose(&said(&["-c", "echo hello"]), "/bin/sh", "hello\n");
            }
            let file = env.sh("flock --verbose l echo hello >all; cat all");
            verbose(&file.stdout_text(), "echo", "hello\n");
        },
    );
}

#[test]
fn in_place_a_death_by_a_signal_is_that_death() {
    let env = TestEnv::new();
    for signal in [1, 2, 9, 15, 34, 64] {
        let script = format!("kill -{signal} $$");
        let ended = env.run(["-F", "l", "sh", "-c", &script]).status;
        assert_eq!(ended.signal(), Some(signal));
    }
}

#[test]
fn in_place_the_lock_lives_as_long_as_the_command() {
    let env = TestEnv::new();
    let mut command = env.hold(&["-F"], "l");
    env.run(["-n", "l", "true"]).assert_status(1);
    command.close_stdin();
    assert_eq!(command.wait(), ExitReason::Exited(0));
    env.run(["-n", "l", "true"]).assert_status(0);
}
