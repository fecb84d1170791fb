//! `ulock`, whose locks are hard links: what its forms do, its exit status, and the files it
//! creates.

mod original;
mod refused;
mod stale;
mod storm;
mod waiting;

use std::process::Command;

use rstest::rstest;
use test_support::pre_exec::{CommandPreExecExt, signal_set};
use test_support::process::Process;
use test_support::procfs::status_field;
use test_support::{TestEnv, can_unshare, os_string, wait_until};

use crate::{CommandLineEnv, assert_inherits_state, env};

/// Starts a command that executes `ulock`, and returns when it waits in the kernel for a file to
/// change.
#[track_caller]
fn start_waiting(env: &TestEnv, command: Command) -> Process {
    let ulock = env.start(command);
    let pid = ulock.pid();
    wait_until("it waits in the kernel", || sleeps_with_inotify(pid));
    ulock
}

#[track_caller]
fn start_writer(env: &TestEnv, options: &str) -> Process {
    let line = format!("ulock -w {options} lock counter");
    start_waiting(env, env.command_line(&line))
}

/// Starts a reader, which reads until [`Process::release`].
#[track_caller]
fn start_reader(env: &TestEnv, options: &str) -> Process {
    let line = format!("ulock -r {options} lock counter");
    let mut reader = env.start(env.with_args(&line, ["echo reads; read x; exit 0"]));
    reader.expect_line("reads");
    reader
}

#[track_caller]
fn assert_files(env: &TestEnv, names: &[&str]) {
    assert_eq!(env.file_names(), names);
}

/// Whether a process watches a file and sleeps.
fn sleeps_with_inotify(pid: i32) -> bool {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fdinfo"));
    let mut descriptors = descriptors.into_iter().flatten().flatten();
    let watches = descriptors.any(|fd| {
        std::fs::read_to_string(fd.path()).is_ok_and(|info| info.contains("inotify wd:"))
    });
    watches && status_field(pid, "State").starts_with('S')
}

/// The example of an exclusive section in the manual.
#[test]
fn exclusive_example_is_exclusive() {
    TestEnv::new()
        .sh(r#"
            cat >other.sh <<\END
            if ulock --timeout=0 lock; then echo in; rm -f lock; else echo out; fi
END
            if ulock lock; then
                sh other.sh
                rm -f lock
            fi
            sh other.sh"#)
        .assert_all(0, "out\nin\n", "");
}

/// The example of a writer and a reader in the manual.
#[rstest]
fn writer_and_reader_examples_exclude_each_other(env: TestEnv) {
    env.sh(r#"
        echo old >master
        cat >writelock.sh <<\END
        if ulock -w lock counter; then
            echo new >master.new
            ulock -r --timeout=0 lock counter cat master || echo no reader
            mv master.new master
            rm -f lock
        fi
END
        ulock -r lock counter cat master
        sh writelock.sh
        ulock -r lock counter cat master"#)
        .assert_all(0, "old\nno reader\nnew\n", "");
    assert_files(&env, &["counter", "master", "writelock.sh"]);
}

#[rstest]
fn readers_share_and_writers_exclude(env: TestEnv) {
    env.sh(
        "ulock -r lock counter 'ulock -r --timeout=0 lock counter echo both'
        ulock -r lock counter 'ulock -w --timeout=0 lock counter; echo $?'
        ulock -w lock counter; ulock -w --timeout=0 lock counter; echo $?
        ulock --timeout=0 -r lock counter echo never; echo $?
        rm lock; ulock -w lock && stat -c %h lock counter",
    )
    .assert_all(0, "both\n1\n1\n1\n1\n1\n", "");
    assert_files(&env, &["counter", "lock"]);
}

#[rstest]
fn writer_without_counter_ignores_readers(env: TestEnv) {
    env.sh("ulock -r lock counter 'ulock -w --timeout=0 lock; echo $?'")
        .assert_stdout("0\n");
    assert_files(&env, &["counter", "lock"]);
}

#[rstest]
fn arguments_of_command_are_joined_to_shell_line(env: TestEnv) {
    for (args, stdout) in [
        (&["echo a; echo b"][..], "a\nb\n"),
        (&["echo", "a  b", "&&", "echo", "c"], "a b\nc\n"),
        (&["echo", "-r", "--timeout", "-w"], "-r --timeout -w\n"),
    ] {
        env.run_command(env.with_args("ulock -r lock counter", args))
            .assert_all(0, stdout, "");
    }
    env.sh("mkdir d; echo found >d/f; ulock -r lock counter grep -r -w found d")
        .assert_stdout("d/f:found\n");
    // The shell is /bin/sh, not $SHELL.
    env.sh("SHELL=/bin/false ulock -r lock counter echo run")
        .assert_stdout("run\n");
}

#[rstest]
fn timeout_may_follow_command(env: TestEnv) {
    env.sh("ulock -r lock counter 'echo begin; echo end' --timeout=60")
        .assert_all(0, "begin\nend\n", "");
    env.sh("ulock lock; ulock -r lock counter 'echo never' --timeout=0")
        .assert_all(1, "", "");
    env.sh("rm lock; ulock -r lock counter echo -- --timeout=0")
        .assert_all(0, "-- --timeout=0\n", "");
}

#[test]
fn failed_command_leaves_link_and_is_reported() {
    for (script, status) in [
        ("false", 1),
        ("exit 42", 42),
        ("no-such-command 2>/dev/null", 127),
        ("kill -9 $$", 137),
        ("kill -15 $$", 143),
    ] {
        let env = TestEnv::new();
        let command = env.with_args("ulock -r lock counter", [script]);
        let outcome = env.run_command(command).assert_status(status);
        let names = env.file_names();
        let link = names[0].to_str().expect("a name");
        assert_eq!(names[1..], ["counter"], "{link}");
        outcome.assert_stdout("").assert_stderr(&format!(
            "Error(282)[ulock] : command '{script}' failed, file './{link}' is left.\n"
        ));
        // The link excludes writers until it is removed.
        env.sh(format!(
            "[ counter -ef {link} ] || exit 9; ulock -w --timeout=0 lock counter; echo $?
             rm {link}; ulock -w --timeout=0 lock counter"
        ))
        .assert_all(0, "1\n", "");
    }
}

#[rstest]
fn remaining_links_are_not_reused(env: TestEnv) {
    // The names of links contain the pid of `ulock`, which is that of this shell.
    env.sh("ulock -r lock counter false; for n in 0 1 2; do
                cp -l counter .fdlock.$(uname -n).$$.$n; done
            exec ulock -r lock counter 'stat -c %h counter; exit 0'")
        .assert_stdout("6\n")
        .assert_status(0);
    env.sh("stat -c %h counter").assert_stdout("5\n");
}

#[rstest]
fn command_inherits_state_of_caller(env: TestEnv) {
    assert_inherits_state(&env, "ulock -r lock counter exec", |command| {
        command
            .block_signals(signal_set([libc::SIGINT, libc::SIGUSR1, 40]))
            .ignore_signals([libc::SIGHUP, libc::SIGTERM, 41]);
    });
}

#[rstest]
fn files_are_created_in_directory_of_lock_and_counter(env: TestEnv) {
    // A hard link cannot lead to another file system.
    let Ok(other_dir) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    let other_dir = other_dir.path().display();
    for (lock, counter) in [
        (format!("{other_dir}/lock"), format!("{other_dir}/counter")),
        (format!("{other_dir}/lock"), "counter".to_owned()),
        ("lock".to_owned(), format!("{other_dir}/counter2")),
    ] {
        env.sh(format!(
            "ulock {lock} && rm {lock} && ulock -w {lock} {counter} && rm {lock} &&
             ulock -r {lock} {counter} stat -c %h {counter}"
        ))
        .assert_all(0, "2\n", "");
    }
    env.sh(format!("ls -A {other_dir}"))
        .assert_stdout("counter\ncounter2\n");
    assert_files(&env, &["counter"]);
}

#[rstest]
fn host_name_may_contain_slash(env: TestEnv) {
    if !can_unshare(&env, "-ru") {
        return;
    }
    let script = "echo a/b >/proc/sys/kernel/hostname; ulock -r lock counter 'ls .fdlock.*'";
    env.sh(format!(
        "unshare -ru sh -c \"{script}\" | sed 's/[0-9]*[.]0$/PID.0/'"
    ))
    .assert_all(0, ".fdlock.a_b.PID.0\n", "");
}

#[rstest]
fn files_are_created_with_0666_and_umask(env: TestEnv) {
    for (umask, mode) in [("027", "640"), ("0", "666")] {
        env.sh(format!(
            "umask {umask}; ulock -w lock counter; stat -c %a lock counter; rm lock counter"
        ))
        .assert_stdout(&format!("{mode}\n{mode}\n"));
    }
}

#[rstest]
fn arguments_may_be_non_utf8(env: TestEnv) {
    let command = env.with_args("ulock -r lock counter false", [os_string(b"\xff")]);
    let outcome = env.run_command(command).assert_status(1);
    let message = b"Error(282)[ulock] : command 'false \xff' failed, file './";
    assert!(outcome.stderr.starts_with(message), "{outcome:?}");
    let outcome = env.run_command(env.with_args("ulock", [os_string(b"\xfe/lock")]));
    let message = b"ulock: cannot create lock file \xfe/lock: No such file or directory\n";
    assert_eq!(outcome.assert_status(1).stderr, message);
}
