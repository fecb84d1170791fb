//! Arguments, files and system calls that prevent `runlock` from getting a lock, each with its
//! message and its status.

use std::os::unix::net::UnixListener;

use rstest::rstest;
use test_support::procfs::status_field;
use test_support::sandbox::can_refuse_calls;
use test_support::{TestEnv, wait_until};

use super::run_injected;
use crate::{CommandLineEnv, env, read_pid};

#[rstest]
fn usage_error_is_status_127_and_creates_no_file(env: TestEnv) {
    for (args, message) in [
        (&[][..], "missing LOCKFILE"),
        (&["l"], "missing COMMAND"),
        (&["", "true"], "LOCKFILE is empty"),
        (&["-n", "l", "true"], "invalid option -- 'n'"),
    ] {
        let usage = "Usage: runlock LOCKFILE COMMAND [ARGUMENT]...";
        let message = format!("runlock: {message}\n{usage}\n");
        env.run_command(env.with_args("runlock", args))
            .assert_all(127, "", &message);
    }
    assert!(env.file_names().is_empty());
}

#[rstest]
fn file_that_cannot_be_created_is_error(env: TestEnv) {
    std::fs::write(env.file("file"), "").expect("a file");
    let long = "x".repeat(251);
    for (path, status, action, reason) in [
        ("no/l", 73, "create", "No such file or directory"),
        ("file/l", 73, "create", "Not a directory"),
        (&long, 66, "open", "File name too long"),
    ] {
        let message = format!("runlock: cannot {action} lock file {path}.lock: {reason}\n");
        env.run_line(&format!("runlock {path} echo ran"))
            .assert_all(status, "", &message);
    }
    if let Some(command) = env.unprivileged("mkdir d; chmod 555 d; exec runlock d/l echo ran") {
        let message = "runlock: cannot create lock file d/l.lock: Permission denied\n";
        env.run_command(command).assert_all(73, "", message);
    }
}

#[rstest]
fn failed_system_call_has_its_status_and_leaves_no_file(env: TestEnv) {
    let create = "cannot create lock file l.lock";
    let fork = "?fork,?clone,?clone3";
    let unavailable = "Resource temporarily unavailable";
    for (call, error, status, action, reason) in [
        ("linkat", "ENOSPC", 73, create, "No space left on device"),
        ("linkat", "EROFS", 73, create, "Read-only file system"),
        ("write", "EDQUOT:when=1", 73, create, "Disk quota exceeded"),
        ("flock", "ENOMEM", 71, "l.lock", "Cannot allocate memory"),
        ("flock", "ESTALE", 65, "l.lock", "Stale file handle"),
        (fork, "EAGAIN", 71, "fork failed", unavailable),
    ] {
        if let Some(outcome) = run_injected(&env, &format!("inject={call}:error={error}")) {
            outcome.assert_all(status, "", &format!("runlock: {action}: {reason}\n"));
            assert!(env.file_names().is_empty(), "{:?}", env.file_names());
        }
    }
}

#[rstest]
fn other_file_types_are_named_and_left_alone(env: TestEnv) {
    for (create, file_type) in [
        ("mkdir l.lock", "a directory"),
        ("echo 999999999 >pid; ln -s pid l.lock", "a symbolic link"),
        ("ln -s missing l.lock", "a symbolic link"),
        ("mkfifo l.lock", "a FIFO"),
        ("", "a socket"),
    ] {
        env.sh(create).assert_status(0);
        let bind = || UnixListener::bind(env.file("l.lock")).expect("a socket");
        let _socket = (file_type == "a socket").then(bind);
        let reason = format!("it is {file_type}, not a regular file");
        let message = format!("runlock: cannot open lock file l.lock: {reason}\n");
        env.run_line("runlock l echo ran")
            .assert_all(66, "", &message);
        // Also fails if the file is missing.
        env.sh("rm -r l.lock").assert_status(0);
    }
    assert_eq!(env.file_names(), ["pid"]);
}

#[rstest]
fn writer_of_fifo_loses_no_data(env: TestEnv) {
    // The writer waits in open(2) for a reader, which `runlock` must not be.
    let script = "mkfifo l.lock; (echo text >l.lock; echo written) & echo $!
        read x; runlock l true; echo $?; cat l.lock; wait";
    let mut shell = env.start_script("", script);
    let writer = read_pid(&mut shell);
    wait_until("the writer waits", || {
        status_field(writer, "State").starts_with('S')
    });
    shell.send_line("");
    shell.expect("a FIFO");
    shell.read_line();
    shell.expect_line("66");
    shell.expect("text\n");
}

#[rstest]
fn unreadable_lock_file_is_error(env: TestEnv) {
    let script = "echo 999999999 >l.lock; chmod 000 l.lock; exec runlock l echo ran";
    if let Some(command) = env.unprivileged(script) {
        let message = "runlock: cannot open lock file l.lock: Permission denied\n";
        env.run_command(command).assert_all(66, "", message);
    }
}

#[rstest]
fn failed_removal_is_reported_with_status_of_command(env: TestEnv) {
    let script = "mkdir d; runlock d/l sh -c 'chmod 555 d; exit 7'";
    if let Some(command) = env.unprivileged(script) {
        let message = "runlock: cannot remove lock file d/l.lock: Permission denied\n";
        env.run_command(command).assert_all(7, "", message);
        env.sh("chmod 755 d; runlock d/l true 2>&1 | grep -c UNLOCKED")
            .assert_stdout("1\n");
    }
}

#[rstest]
fn refused_lock_is_not_success(env: TestEnv) {
    if can_refuse_calls() {
        let message = "runlock: l.lock: Operation not permitted: \
                       a security module or sandbox does not permit the lock\n";
        env.sh("exec test-helper deny flock EPERM runlock l echo ran")
            .assert_all(65, "", message);
        assert!(env.file_names().is_empty());
    }
}
