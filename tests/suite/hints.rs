//! Messages say what is wrong with a command that cannot be executed, or what was probably meant,
//! and why a descriptor is not open.

use std::os::unix::fs::symlink;

use rstest::rstest;
use test_support::{TestEnv, differs_from_util_linux, os_string};

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
fn the_name_of_a_missing_shell_is_not_explained() {
    let env = TestEnv::new();
    let mut command = env.flock(["l", "-c", "true"]);
    command.env("SHELL", "no shell");
    let message = format!("flock: failed to execute no shell: {NOT_FOUND}\n");
    env.run_command(command).assert_all(69, "", &message);
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
#[case::option("-n", "options go before the URL: flock -n ... SCHEME://... COMMAND")]
#[case::line(
    "ls;ls",
    "to run a shell command line, use: flock SCHEME://... -c 'LINE'"
)]
#[case::descriptor("8", "the descriptor goes before the URL: flock 8 SCHEME://...")]
fn what_was_meant_is_shown_for_a_lock_elsewhere(#[case] command: &str, #[case] hint: &str) {
    let env = TestEnv::with_lock_helper("echo granted 7 $(in_ms 60000)\nwait_for_release");
    let message = format!("flock: failed to execute {command}: {NOT_FOUND}: {hint}\n");
    env.run(["test://n", command]).assert_all(69, "", &message);
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

/// Asserts the hint in the message of a `flock 8` whose parent has this name. The script calls
/// `flock` for `CALL`. PID stands for the parent.
#[track_caller]
fn assert_parent_hint(name: &str, call: &str, hint: &str) {
    differs_from_util_linux(REASON, |env| {
        symlink("/bin/sh", env.file(name)).expect("a link");
        let outcome = env.sh(format!("./{name} -c 'exec 8<>l; echo $$; {call}; exit $?'"));
        let pid = outcome.stdout_text();
        let hint = hint.replace("PID", &format!("PID {}", pid.trim()));
        let message = format!("flock: 8: Bad file descriptor: {hint}\n");
        outcome.assert_all(65, &pid, &message);
    });
}

#[rstest]
fn the_parent_that_keeps_a_descriptor_is_named(#[values("worker", "ruby", "bash")] name: &str) {
    let hint = format!("{name} (PID) has it open but did not pass it on");
    assert_parent_hint(name, "(exec 8>&-; exec flock 8)", &hint);
}

#[rstest]
fn a_korn_shell_is_shown_how_to_pass_a_descriptor(
    #[values("ksh", "ksh93", "mksh", "lksh", "oksh")] name: &str,
) {
    let hint = format!("{name} (PID) has it open but did not pass it on; use: flock 8 8>&8");
    assert_parent_hint(name, "(exec 8>&-; exec flock 8)", &hint);
}

#[rstest]
fn python_is_shown_how_to_pass_a_descriptor(
    #[values("python", "python3", "python3.11")] name: &str,
) {
    let hint =
        format!("{name} (PID) has it open but did not pass it on; pass it with pass_fds=[8]");
    assert_parent_hint(name, "(exec 8>&-; exec flock 8)", &hint);
}

#[test]
fn sudo_is_known_to_close_descriptors() {
    let hint = "sudo closes descriptors above 2; call flock outside of sudo, or use sudo -C 9, if \
                its configuration permits that";
    assert_parent_hint("sudo", "exec 8>&-; flock 8", hint);
}

#[test]
fn a_carriage_return_at_the_end_of_a_line_is_explained() {
    differs_from_util_linux(REASON, |env| {
        let outcome = env.sh("printf 'flock -n l true\\r\\n' >s; sh s");
        let hint = "the name ends with a carriage return";
        let stderr = outcome.assert_status(69).stderr_text();
        assert!(stderr.contains(hint), "{stderr}");
    });
}

#[test]
fn a_hint_contains_arguments_that_are_not_utf_8() {
    differs_from_util_linux(REASON, |env| {
        let args = [os_string(b"l"), os_string(b"A=\xff")];
        let stderr = env.run(args).assert_status(69).stderr;
        let hint = b" env A=\xff COMMAND\n";
        assert!(stderr.ends_with(hint), "{}", stderr.escape_ascii());
    });
}
