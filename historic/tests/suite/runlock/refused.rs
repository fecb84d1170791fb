//! Words, files and system calls that keep `runlock` from having a lock at all, each with its message and its status.

use super::RunlockEnv;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use test_support::procfs::status_field;
use test_support::{TestEnv, wait_until};

#[test]
fn wrong_words_are_a_status_of_their_own_and_make_no_file() {
    let env = TestEnv::new();
    for (words, problem) in [
        (&[][..], "missing LOCKFILE"),
        (&["l"], "missing COMMAND"),
        (&["", "true"], "LOCKFILE is empty"),
        (&["-n", "l", "true"], "invalid option -- 'n'"),
    ] {
        let mut command = env.command("runlock");
        command.args(words);
        let outcome = env
            .run_command(command)
            .assert_status(127)
            .assert_stdout("");
        let first = format!("runlock: {problem}\n");
        assert!(outcome.stderr_text().starts_with(&first), "{outcome:?}");
    }
    assert!(env.file_names().is_empty());
}

#[test]
fn a_file_that_cannot_be_made_is_an_error_and_not_a_lock() {
    let env = TestEnv::new();
    std::fs::write(env.file("file"), "").expect("a file");
    let long = "x".repeat(251);
    for (file, status, what, reason) in [
        ("no/l", 73, "create", "No such file or directory"),
        ("file/l", 73, "create", "Not a directory"),
        (&long, 66, "open", "File name too long"),
    ] {
        let mut command = env.command("runlock");
        command.args([file, "echo", "ran"]);
        let wanted = format!("runlock: cannot {what} lock file {file}.lock: {reason}\n");
        env.run_command(command)
            .assert_stderr(&wanted)
            .assert_stdout("")
            .assert_status(status);
    }
    if let Some(command) = env.unprivileged("mkdir d; chmod 555 d; exec runlock d/l echo ran") {
        env.run_command(command)
            .assert_stderr("runlock: cannot create lock file d/l.lock: Permission denied\n")
            .assert_status(73);
    }
}

#[test]
fn a_failed_system_call_has_a_status_by_its_reason_and_leaves_nothing() {
    let env = TestEnv::new();
    for (inject, status, message) in [
        (
            "linkat:error=ENOSPC",
            73,
            "cannot create lock file l.lock: No space left on device",
        ),
        (
            "linkat:error=EROFS",
            73,
            "cannot create lock file l.lock: Read-only file system",
        ),
        (
            "write:error=EDQUOT:when=1",
            73,
            "cannot create lock file l.lock: Disk quota exceeded",
        ),
        ("flock:error=ENOLCK", 71, "l.lock: No locks available"),
        (
            "flock:error=EOPNOTSUPP",
            65,
            "l.lock: Operation not supported",
        ),
        (
            "?fork,?clone,?clone3:error=EAGAIN",
            71,
            "fork failed: Resource temporarily unavailable",
        ),
    ] {
        let inject = format!("inject={inject}");
        let Some(command) =
            env.with_fault_injection_into("runlock", "", &inject, &["l", "echo", "ran"])
        else {
            return;
        };
        env.run_command(command)
            .assert_stderr(&format!("runlock: {message}\n"))
            .assert_stdout("")
            .assert_status(status);
        assert!(env.file_names().is_empty(), "{:?}", env.file_names());
    }
}

#[test]
fn what_is_no_regular_file_is_called_what_it_is_and_left_alone() {
    let env = TestEnv::new();
    let refused = |what: &str| {
        let wanted =
            format!("runlock: cannot open lock file l.lock: it is {what}, not a regular file\n");
        env.run_runlock(&["echo", "ran"])
            .assert_stderr(&wanted)
            .assert_stdout("")
            .assert_status(66);
        let there = std::fs::symlink_metadata(env.file("l.lock"));
        assert!(there.is_ok(), "{what}");
    };
    let remove = || env.sh("rm -r l.lock").assert_status(0);
    std::fs::create_dir(env.file("l.lock")).expect("a folder");
    refused("a directory");
    remove();
    symlink("nowhere", env.file("l.lock")).expect("a link");
    refused("a symbolic link");
    assert!(!env.file("nowhere").exists());
    std::fs::write(env.file("nowhere"), "999999999\n").expect("a file");
    refused("a symbolic link");
    remove();
    let socket = UnixListener::bind(env.file("l.lock")).expect("a socket");
    refused("a socket");
    drop(socket);
    remove();
    env.sh("mkfifo l.lock").assert_status(0);
    refused("a FIFO");
}

#[test]
fn who_writes_into_a_fifo_loses_nothing() {
    let env = TestEnv::new();
    // The writer stands in open(2) until there is a reader, and we must not be it.
    let script = "mkfifo l.lock; (echo words >l.lock; echo written) & echo $!
        read x; runlock l true; echo $?; cat l.lock; wait";
    let mut shell = env.command("sh");
    shell.args(["-c", script]);
    let mut shell = env.start(shell);
    let writer: i32 = shell.read_line().parse().expect("a pid");
    wait_until("the writer waits", || {
        status_field(writer, "State").starts_with('S')
    });
    shell.send_line("");
    shell.expect("a FIFO");
    shell.read_line();
    shell.expect_line("66");
    shell.expect("words\n");
}

#[test]
fn a_lock_file_that_may_not_be_read_is_not_guessed_at() {
    let env = TestEnv::new();
    let script = "echo 999999999 >l.lock; chmod 000 l.lock; exec runlock l echo ran";
    if let Some(command) = env.unprivileged(script) {
        env.run_command(command)
            .assert_stderr("runlock: cannot open lock file l.lock: Permission denied\n")
            .assert_stdout("")
            .assert_status(66);
    }
}

#[test]
fn a_file_that_cannot_be_removed_is_told_of_and_the_status_is_the_commands() {
    let env = TestEnv::new();
    let Some(command) = env.unprivileged("mkdir d; runlock d/l sh -c 'chmod 555 d; exit 7'") else {
        return;
    };
    env.run_command(command)
        .assert_stderr("runlock: cannot remove lock file d/l.lock: Permission denied\n")
        .assert_status(7);
    env.sh("chmod 755 d; runlock d/l true 2>&1 | grep -c UNLOCKED")
        .assert_stdout("1\n");
}
