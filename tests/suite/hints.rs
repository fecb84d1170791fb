//! Messages about a command that cannot be executed say what is wrong with it, or what was probably
//! meant.

use rstest::rstest;
use test_support::{TestEnv, differs_from_util_linux};

const REASON: &str = "it only reports the system's reason";

const NOT_FOUND: &str = "No such file or directory";

/// Asserts the message of calls with this lock file and command.
#[track_caller]
fn assert_hint(setup: &str, command: &[&str], reason: &str, hint: &str) {
    differs_from_util_linux(REASON, |env| {
        env.sh(setup).assert_status(0);
        // The first one examines the command without executing it, because there is no lock file.
        for options in [&["l"][..], &["l"], &["-F", "l"], &["-o", "l"]] {
            let message = format!(
                "flock: failed to execute {}: {reason}: {hint}\n",
                command[0]
            );
            env.run(options.iter().chain(command))
                .assert_all(69, "", &message);
            env.sh(": >l").assert_status(0);
        }
    });
}

#[rstest]
#[case::option(&["--nonblock", "echo"], "options go before the lock file: flock --nonblock ... FILE COMMAND")]
#[case::option_with_a_value(&["-w", "5", "echo"], "options go before the lock file: flock -w ... FILE COMMAND")]
#[case::two_dashes(&["--", "echo"], "-- goes before the lock file, and is rarely needed")]
#[case::line_in_the_option(&["-cecho ran"], "-c and its value must be two arguments: flock FILE -c 'LINE'")]
#[case::line(&["cd / && ls"], "to run a shell command line, use: flock FILE -c 'LINE'")]
#[case::line_without_blanks(&["ls;ls"], "to run a shell command line, use: flock FILE -c 'LINE'")]
#[case::builtin(&["cd", "/"], "it is part of the shell, not a program; use: flock FILE -c 'cd ...'")]
#[case::keyword(&["while", "x"], "it is part of the shell, not a program; use: flock FILE -c 'while ...'")]
#[case::assignment(&["A=1", "echo"], "to set a variable, use: flock FILE env A=1 COMMAND")]
#[case::empty(&["", "echo"], "the name of the command is empty; is a variable unset?")]
fn what_was_meant_is_shown(#[case] command: &[&str], #[case] hint: &str) {
    assert_hint("", command, NOT_FOUND, hint);
}

#[test]
fn a_long_line_is_recognized() {
    let line = format!("echo {}", "x".repeat(300));
    let hint = "to run a shell command line, use: flock FILE -c 'LINE'";
    assert_hint("", &[&line], "File name too long", hint);
}

#[test]
fn what_was_meant_is_shown_for_a_descriptor() {
    let env = TestEnv::new();
    if !env.supports_option("--fd") {
        return;
    }
    for (args, hint) in [
        (
            "cd /",
            "it is part of the shell, not a program; use: flock --fd 8 -c 'cd ...'",
        ),
        (
            "-- -n echo",
            "options go before the command: flock -n ... --fd 8 COMMAND",
        ),
    ] {
        let name = args.trim_start_matches("-- ").split(' ').next();
        let name = name.expect("a name");
        let message = format!("flock: failed to execute {name}: {NOT_FOUND}: {hint}\n");
        let outcome = env.sh(format!("exec 8>l; flock --fd 8 {args}"));
        assert!(
            env.is_reference() || outcome.stderr_text() == message,
            "{outcome:?}"
        );
        outcome.assert_status(69);
    }
}

#[rstest]
#[case::carriage_return(
    r"#!/bin/sh\r\necho ran\r\n",
    r"the first line of ./job ends with a carriage return (CRLF); use: sed -i 's/\r$//' ./job"
)]
#[case::missing_interpreter(
    r"#! /no/such -x\n",
    "the first line of ./job names a missing interpreter: /no/such"
)]
fn a_missing_interpreter_is_named(#[case] script: &str, #[case] hint: &str) {
    differs_from_util_linux(REASON, |env| {
        env.sh(format!("printf '{}' >job; chmod +x job", script))
            .assert_status(0);
        for mode in ["-x", "-F"] {
            let message = format!("flock: failed to execute ./job: {NOT_FOUND}: {hint}\n");
            env.run([mode, "l", "./job"]).assert_all(69, "", &message);
        }
    });
}

#[test]
fn a_missing_interpreter_is_found_in_path() {
    differs_from_util_linux(REASON, |env| {
        env.install_script("bin/job", "#!/no/such\n");
        let path = env.file("bin/job");
        let hint = format!(
            "the first line of {} names a missing interpreter: /no/such",
            path.display()
        );
        let message = format!("flock: failed to execute job: {NOT_FOUND}: {hint}\n");
        env.run(["l", "job"]).assert_all(69, "", &message);
    });
}

#[rstest]
#[case::file("./data", "./data is not executable; use: chmod +x ./data")]
#[case::directory("./bin", "./bin is a directory")]
#[case::dot(
    ".",
    "it is part of the shell, not a program; use: flock FILE -c '. ...'"
)]
fn a_missing_permission_is_explained(#[case] command: &str, #[case] hint: &str) {
    assert_hint(": >data", &[command], "Permission denied", hint);
}
