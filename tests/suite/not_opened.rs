//! Paths and locks that are refused, each with its reason and its status, and what may not be made.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use test_support::{Outcome, TestEnv, differs_from_util_linux, is_installed};

/// Injects into the opening of `l`.
const OPENING: &str = "inject=?open,openat:error=";

#[track_caller]
fn assert_cannot_open(outcome: Outcome, path: &str, reason: &str) {
    outcome
        .assert_status(66)
        .assert_stdout("")
        .assert_stderr(&format!("flock: cannot open lock file {path}: {reason}\n"));
}

#[test]
fn a_path_that_leads_nowhere_cannot_be_opened() {
    let env = TestEnv::new();
    symlink("loop", env.file("loop")).expect("a link");
    std::fs::write(env.file("l"), "").expect("l");
    let long = "x".repeat(256);
    for (path, reason) in [
        ("no/l", "No such file or directory"),
        ("l/l", "Not a directory"),
        ("l/", "Not a directory"),
        ("loop", "Too many levels of symbolic links"),
        (&long, "File name too long"),
    ] {
        assert_cannot_open(env.run([path, "echo", "ran"]), path, reason);
    }
    assert_eq!(env.file_names(), ["l", "loop"]);
}

#[test]
fn a_file_that_may_not_be_read_cannot_be_opened() {
    let env = TestEnv::new();
    for mode in ["222", "000"] {
        let script = format!("rm -f l; : >l; chmod {mode} l; exec flock l echo ran");
        let Some(command) = env.unprivileged(&script) else {
            return;
        };
        assert_cannot_open(env.run_command(command), "l", "Permission denied");
    }
}

#[test]
fn a_file_that_may_not_be_made_cannot_be_opened() {
    let env = TestEnv::new();
    let Some(command) = env.unprivileged("mkdir d; chmod 555 d; exec flock d/l echo ran") else {
        return;
    };
    assert_cannot_open(env.run_command(command), "d/l", "Permission denied");
}

#[test]
fn a_fifo_or_a_socket_is_refused_at_once_and_called_what_it_is() {
    let refused = |outcome: Outcome, path: &str, kinds: &[&str]| {
        let outcome = outcome.assert_status(66).assert_stdout("");
        let said = outcome.stderr_text();
        assert!(
            said.starts_with(&format!("flock: cannot open lock file {path}: ")),
            "{said}"
        );
        let said = said.to_lowercase();
        assert!(kinds.iter().any(|kind| said.contains(kind)), "{said}");
    };
    differs_from_util_linux(
        "the reference waits for a writer, or locks what vanishes with its readers",
        |env| {
            // First with both ends open already, where nobody would have to wait.
            refused(
                env.sh("mkfifo l; exec 8<>l; exec flock l echo ran"),
                "l",
                &["fifo", "named pipe"],
            );
            refused(env.run(["l", "echo", "ran"]), "l", &["fifo", "named pipe"]);
        },
    );
    differs_from_util_linux("`No such device or address` is no help", |env| {
        let _socket = UnixListener::bind(env.file("l")).expect("a socket");
        refused(env.run(["l", "echo", "ran"]), "l", &["socket"]);
    });
}

#[test]
fn a_failed_opening_has_a_status_by_its_reason() {
    let env = TestEnv::new();
    for (error, status, reason) in [
        ("EMFILE", 71, "Too many open files"),
        ("ENFILE", 71, "Too many open files in system"),
        ("ENOMEM", 71, "Cannot allocate memory"),
        ("ENOSPC", 73, "No space left on device"),
        ("EROFS", 73, "Read-only file system"),
        ("EPERM", 66, "Operation not permitted"),
        ("ENXIO", 66, "No such device or address"),
    ] {
        let Some(command) =
            env.with_fault_injection("l", &format!("{OPENING}{error}"), &["l", "echo", "ran"])
        else {
            return;
        };
        env.run_command(command)
            .assert_status(status)
            .assert_stdout("")
            .assert_stderr(&format!("flock: cannot open lock file l: {reason}\n"));
    }
}

#[test]
fn a_read_only_or_full_file_system_is_a_file_that_cannot_be_created() {
    let env = TestEnv::new();
    for (options, reason) in [
        ("ro", "Read-only file system"),
        ("nr_inodes=1", "No space left on device"),
    ] {
        let mount = format!(
            "mkdir -p m; mount -t tmpfs -o {options} none m 2>&- || exit 99; exec flock m/l echo ran"
        );
        let mut command = env.command("unshare");
        command.args(["-rm", "sh", "-c", &mount]);
        if !is_installed("unshare") {
            return;
        }
        let outcome = env.run_command(command);
        if outcome.code() == 99 || outcome.stderr_text().starts_with("unshare: ") {
            // Mounting takes a user namespace, which some systems keep from users.
            return;
        }
        outcome
            .assert_status(73)
            .assert_stdout("")
            .assert_stderr(&format!("flock: cannot open lock file m/l: {reason}\n"));
    }
}

#[test]
fn a_lock_call_that_fails_for_good_is_a_status_of_its_own() {
    let env = TestEnv::new();
    for (options, inject, status, reason) in [
        ("-x", "flock:error=EBADF", 65, "Bad file descriptor"),
        ("-s", "flock:error=EBADF:when=1", 65, "Bad file descriptor"),
        (
            "-x",
            "flock:error=EOPNOTSUPP",
            65,
            "Operation not supported",
        ),
        ("-x", "flock:error=ENOLCK", 71, "No locks available"),
        ("-x", "flock:error=ENOMEM", 71, "Cannot allocate memory"),
    ] {
        let Some(command) = env.with_fault_injection(
            "l",
            &format!("inject={inject}"),
            &[options, "l", "echo", "ran"],
        ) else {
            return;
        };
        env.run_command(command)
            .assert_status(status)
            .assert_stdout("")
            .assert_stderr(&format!("flock: l: {reason}\n"));
    }
}

#[test]
fn a_path_that_can_no_longer_be_looked_at_is_an_error_and_no_endless_search() {
    differs_from_util_linux("the reference does not look", |env| {
        std::fs::write(env.file("l"), "").expect("a file");
        let stat = "inject=?stat,?newfstatat,?statx:error=EACCES";
        let Some(command) = env.with_fault_injection("l", stat, &["-n", "l", "echo", "ran"]) else {
            // Nothing to see here, and the reference differs all the same.
            assert!(!env.is_reference());
            return;
        };
        let denied = "flock: cannot open lock file l: Permission denied\n";
        env.run_command(command)
            .assert_status(66)
            .assert_stderr(denied);
    });
}

#[test]
fn for_a_command_that_is_missing_no_file_is_made() {
    for command in ["nosuch", "./nosuch", "/no/such", "-n"] {
        differs_from_util_linux("a typing error leaves no file", |env| {
            env.run(["new", command])
                .assert_status(69)
                .assert_stderr(&format!(
                    "flock: failed to execute {command}: No such file or directory\n"
                ));
            assert!(env.file_names().is_empty(), "{:?}", env.file_names());
        });
    }
}

#[test]
fn a_conflict_comes_before_a_missing_command() {
    let env = TestEnv::new();
    env.run(["l", "flock", "-n", "-E", "9", "l", "nosuch"])
        .assert_status(9)
        .assert_stderr("");
}

#[test]
fn without_a_free_descriptor_no_file_can_be_opened() {
    let env = TestEnv::new();
    let outcome = env.sh("ulimit -n 3; exec flock l echo ran");
    if outcome.code() == 127 {
        // A dynamic loader needs a descriptor as well; only a static program gets as far as this.
        return;
    }
    outcome
        .assert_status(71)
        .assert_stdout("")
        .assert_stderr("flock: cannot open lock file l: Too many open files\n");
}
