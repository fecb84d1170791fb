//! Which descriptors can have a lock elsewhere, with which options, and what is left if that fails.

use std::fs::File;

use rstest::rstest;
use rustix::fs::{Mode, OFlags};
use test_support::can_unshare;
use test_support::locks::assert_unlocked;
use test_support::pre_exec::CommandPreExecExt as _;

use super::{GRANTS, HandleTest};

#[rstest]
#[case::appending(">>handle")]
#[case::writing(">handle")]
#[case::reading("<handle")]
#[case::both("<>handle")]
fn descriptor_may_be_opened_in_any_way(#[case] redirection: &str) {
    let test = HandleTest::excluding();
    let script = format!(
        ": >>handle; exec 8{redirection}; flock 8 test://a && flock 8 test://a && (exec 8>&-) &&
        cat log && flock -u 8 && tail -n1 log && flock -s 8 test://a"
    );
    let expected = "acquire exclusive test://a\nrelease exclusive test://a\n";
    test.sh(script).assert_all(0, expected, "");
}

#[test]
fn any_number_may_have_a_lock() {
    let test = HandleTest::excluding();
    let script = "exec <handle; flock 0 test://a <&0; echo $?; flock -u 0
        (flock 1 test://a; echo $? >&2; flock -u 1) >>handle
        bash -c 'exec 300>>handle; flock 0300 test://a; echo $?'; cat log";
    let lines = "acquire exclusive test://a\nrelease exclusive test://a\n";
    std::fs::write(test.file("handle"), "").expect("the file");
    let outcome = test.sh(script);
    let expected = format!("0\n0\n{lines}{lines}acquire exclusive test://a\n");
    let stdout = outcome.stdout_text();
    assert!(stdout.starts_with(&expected), "{stdout}");
    outcome.assert_stderr("0\n").assert_status(0);
}

#[rstest]
#[case::directory("exec 8<.", "it is not open on a regular file")]
#[case::fifo("mkfifo fifo; exec 8<>fifo", "it is not open on a regular file")]
#[case::device("exec 8<>/dev/null", "it is not open on a regular file")]
#[case::proc("exec 8</proc/uptime", "its file is not on a local file system")]
#[case::script(
    "echo : >script; chmod +x script; exec 8<script",
    "it is open for reading on an executable file"
)]
#[case::locked(
    "exec 8>>handle; flock --fcntl 8",
    "another program has locked the whole file with fcntl(2)"
)]
fn unsuitable_descriptor_is_refused(#[case] setup: &str, #[case] reason: &str) {
    let test = HandleTest::new(GRANTS);
    let hint = "open a local file for writing: exec 8>>FILE";
    let message = format!("flock: descriptor 8 cannot have a lock elsewhere: {reason}; {hint}\n");
    test.sh(format!("{setup}; flock 8 test://n"))
        .assert_all(65, "", &message);
    assert!(!test.file("request").exists(), "a helper was started");
}

#[test]
fn file_that_cannot_be_written_is_refused() {
    let test = HandleTest::new(GRANTS);
    let script = ": >handle; chmod a-w handle; exec 8<handle; flock 8 test://n";
    let Some(command) = test.unprivileged(script) else {
        return;
    };
    let outcome = test.run_command(command).assert_status(65);
    let stderr = outcome.stderr_text();
    let reason = ": its file cannot be opened for writing (Permission denied); ";
    assert!(stderr.contains(reason), "{stderr}");
    assert!(!test.file("request").exists(), "a helper was started");
}

/// The wait for the lock would be in vain.
#[test]
fn descriptor_without_access_is_refused() {
    let test = HandleTest::new(GRANTS);
    let path = test.file("handle");
    std::fs::write(&path, "").expect("the file");
    let file = rustix::fs::open(path, OFlags::PATH, Mode::empty()).expect("the file");
    let file = File::from(file);
    let mut command = test.sh_command("flock 8 test://n");
    command.with_fd(8, &file);
    let outcome = test.run_command(command).assert_status(65);
    let stderr = outcome.stderr_text();
    assert!(
        stderr.contains(": it is open without access to its file; "),
        "{stderr}"
    );
    assert!(!test.file("request").exists(), "a helper was started");
}

/// The marks are not visible, and a release must not be reported that has not happened.
#[test]
fn descriptor_is_refused_without_proc() {
    let test = HandleTest::without_builtin(GRANTS);
    if !can_unshare(&test, "-rm") {
        return;
    }
    let script = "exec 7>>witness 8>>handle 9>>other; flock 7; flock 8 test://n || exit
        mount -t tmpfs none /proc || exit; flock -u 8; echo $?; flock -u 8 test://n; echo $?
        flock 9 test://n; echo $?; flock -u 9; echo $?; cat checked";
    let outcome = test.sh(format!("exec unshare -rm sh -c '{script}'"));
    let outcome = outcome.assert_stdout("65\n65\n65\n0\n");
    let stderr = outcome.stderr_text();
    let message = |number| {
        format!("flock: the locks of descriptor {number} are not known: /proc does not show them\n")
    };
    let expected = [message(8), message(8), message(9)].concat();
    assert!(stderr.starts_with(&expected), "{stderr}");
    test.assert_released_last();
}

#[test]
fn closed_descriptor_is_refused() {
    let test = HandleTest::new(GRANTS);
    let message = "flock: 8: Bad file descriptor\n";
    for options in ["", "-s", "-u"] {
        test.sh(format!("flock {options} 8 test://n; exit $?"))
            .assert_all(65, "", message);
    }
    assert!(!test.file("request").exists(), "a helper was started");
}

#[test]
fn descriptor_that_is_not_passed_on_is_explained() {
    let test = HandleTest::without_builtin(GRANTS);
    let outcome = test.sh("exec 8>>handle; (exec 8>&-; exec flock 8 test://n); exit $?");
    let stderr = outcome.assert_status(65).stderr_text();
    let hint = "has it open but did not pass it on";
    assert!(stderr.contains(hint), "{stderr}");
}

#[rstest]
#[case("-o")]
#[case("-F")]
#[case("--also=other")]
#[case("--unlink")]
#[case("--fcntl")]
#[case("--length=1")]
#[case("--replace")]
#[case("--ttl=1s")]
fn option_that_makes_no_sense_is_refused(#[case] option: &str) {
    let test = HandleTest::new(GRANTS);
    let outcome = test.sh(format!("exec 8>>handle; flock {option} 8 test://n"));
    let stderr = outcome.assert_status(64).stderr_text();
    assert_eq!(stderr.lines().count(), 2, "{stderr}");
    assert!(!test.file("request").exists(), "a helper was started");
}

/// A command has a lock elsewhere of its own, or the descriptor's.
#[rstest]
#[case("--fd 8 test://n true")]
#[case("--fd 8 test://n -c true")]
#[case("8 test://n true")]
#[case("8 test://n -c true")]
fn command_beside_a_descriptor_is_refused(#[case] args: &str) {
    let test = HandleTest::new(GRANTS);
    let outcome = test.sh(format!("exec 8>>handle; flock {args}"));
    let stderr = outcome.assert_status(64).stderr_text();
    let forms = "flock NUMBER SCHEME://... or flock SCHEME://... COMMAND";
    assert!(stderr.contains(forms), "{stderr}");
    assert!(!test.file("request").exists() && !test.file("8").exists());
}

#[rstest]
#[case(&["-s"], "mode shared\nwait forever\nttl 30000\n")]
#[case(&["-n", "--ttl=20s"], "mode exclusive\nwait 0\nttl 20000\n")]
#[case(&["--slots=3", "-w1.5"], "mode exclusive\nslots 3\nwait 1500\nttl 30000\n")]
#[case(&["--fair", "--grace=2s"], "mode exclusive\nwait forever\nttl 30000\n")]
fn helper_is_told_how_to_lock(#[case] options: &[&str], #[case] expected: &str) {
    let test = HandleTest::new(GRANTS);
    let options = options.join(" ");
    test.sh(format!("exec 8>>handle; flock {options} 8 test://h/n"))
        .assert_all(0, "", "");
    let request = test.read_file("request");
    let (start, _) = request.split_once("pid ").expect("a PID");
    assert_eq!(start, format!("flock 1\nurl test://h/n\n{expected}"));
}

/// Others are shown the script, not `flock`, which exits.
#[test]
fn script_is_the_holder() {
    let test = HandleTest::without_builtin(GRANTS);
    let script = "exec 8>>handle; flock 8 test://n; echo $$; :";
    let outcome = test.sh(script).assert_status(0);
    let request = test.read_file("request");
    let pid = format!("pid {}", outcome.stdout_text());
    assert!(request.contains(&pid), "{request}");
    assert!(
        request.ends_with(&format!("command /bin/sh -c {script}\n")),
        "{request}"
    );
}

#[rstest]
#[case("-n", 1)]
#[case("-w0.01", 1)]
#[case("-n -E9", 9)]
fn refusal_leaves_nothing(#[case] options: &str, #[case] status: i32) {
    let test = HandleTest::new("echo refused");
    let script = format!("exec 8>>handle; flock {options} 8 test://n; echo $?; read x");
    let mut script = test.start_script(&script);
    script.expect_line(&status.to_string());
    assert!(test.guards().of("").is_empty());
    assert_unlocked(test.file("handle"));
}

#[rstest]
#[case::exit(
    "exit 0",
    69,
    "flock: test://n: the helper has exited without an answer\n"
)]
#[case::error("echo error 66 no route", 66, "flock: test://n: no route\n")]
#[case::late(
    "echo granted 7 $(in_ms 900); wait_for_release",
    75,
    "flock: test://n: the lock was granted too late: its lease had nearly run out\n"
)]
fn failure_leaves_nothing(#[case] helper: &str, #[case] status: i32, #[case] message: &str) {
    let test = HandleTest::new(helper);
    let outcome = test.sh("exec 8>>handle; flock 8 test://n");
    let outcome = outcome.assert_stdout("").assert_status(status);
    let stderr = outcome.stderr_text();
    assert!(stderr.starts_with(message), "{stderr}");
    test.guards().assert_nothing_left();
}

#[test]
fn failed_output_releases_the_lock() {
    let test = HandleTest::new(GRANTS);
    let script = "exec 8>>handle; flock --verbose 8 test://n >/dev/full; echo $?; read x";
    let mut script = test.start_script(script);
    let output = script.expect("\n1\n");
    assert!(output.contains("No space left on device"), "{output}");
    test.assert_released_last();
    test.guards().assert_nothing_left();
}

#[test]
fn verbose_reports_the_wait() {
    let test = HandleTest::new(&format!("echo waits db1 process 42\n{GRANTS}"));
    let outcome = test.sh("exec 8>>handle; flock --verbose 8 test://n");
    let stdout = outcome.stdout_text();
    assert!(
        stdout.starts_with("flock: getting lock took ") && stdout.ends_with(" seconds\n"),
        "{stdout}"
    );
    outcome
        .assert_stderr("flock: waiting for db1 process 42\n")
        .assert_status(0);
}

#[test]
fn token_is_printed_alone() {
    let test = HandleTest::new(&format!("echo waits db1 process 42\n{GRANTS}"));
    test.sh("exec 8>>handle; flock --verbose --print-token 8 test://n")
        .assert_all(0, "7\n", "flock: waiting for db1 process 42\n");
}
