//! How long and how `ulock` waits, and what it leaves behind when it is killed meanwhile.

use libc::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use rstest::rstest;
use test_support::pre_exec::{CommandPreExecExt, signal_set};
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{children_of, is_running, status_field, voluntary_switches};
use test_support::{TestEnv, can_unshare, wait_until};

use super::{assert_files, start_reader, start_waiting, start_writer};
use crate::{CommandLineEnv, env};

/// Asserts that a waiter does not wake up while nothing happens to the file it waits for. The
/// timeout of another process is the clock.
#[track_caller]
fn assert_sleeps(env: &TestEnv, waiter: &Process) {
    let wait = || env.run_line("ulock --timeout=0.2 lock").assert_status(1);
    wait();
    let before = voluntary_switches(waiter.pid());
    wait();
    let after = voluntary_switches(waiter.pid());
    assert_eq!(after, before, "it woke up for nothing");
}

#[rstest]
fn timeout_is_silent_and_status_1(env: TestEnv) {
    for timeout in ["--timeout=0", "--timeout=0.000001", "--timeout=0.05"] {
        for args in ["lock", "-w lock counter", "-r lock counter echo never"] {
            env.sh(format!(": >lock; ulock {timeout} {args}"))
                .assert_all(1, "", "");
            assert_files(&env, &["lock"]);
        }
        env.sh(format!("rm lock; ulock {timeout} lock && rm lock"))
            .assert_status(0);
    }
}

#[rstest]
fn writer_removes_lock_at_timeout(env: TestEnv) {
    let reader = start_reader(&env, "");
    for timeout in ["--timeout=0", "--timeout=0.05"] {
        env.run_line(&format!("ulock -w {timeout} lock counter"))
            .assert_all(1, "", "");
        assert!(!env.file("lock").exists());
    }
    reader.release();
    assert_files(&env, &["counter"]);
}

#[rstest]
fn timeout_covers_lock_and_counter(env: TestEnv) {
    let _reader = start_reader(&env, "");
    env.sh(": >lock").assert_status(0);
    let mut writer = start_writer(&env, "--timeout=0.3");
    // The writer gets LOCK after 0.1 s, and may wait for the reader for the rest of its time.
    env.sh("ulock --timeout=0.1 lock; rm lock").assert_status(0);
    assert_eq!(writer.wait(), ExitReason::Exited(1));
    assert!(!env.file("lock").exists());
}

#[rstest]
#[case::lock("ulock lock")]
#[case::timeout("ulock --timeout=1000 lock")]
#[case::writer("ulock -w lock counter")]
#[case::reader("ulock -r lock counter true")]
fn waiter_sleeps_until_lock_is_removed(env: TestEnv, #[case] line: &str) {
    env.sh("ulock lock").assert_status(0);
    let mut waiter = start_waiting(&env, env.command_line(line));
    assert_sleeps(&env, &waiter);
    env.sh("rm lock").assert_status(0);
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[rstest]
fn lock_that_is_renamed_is_free(env: TestEnv) {
    env.sh("ulock lock").assert_status(0);
    let mut waiter = start_waiting(&env, env.command_line("ulock lock"));
    env.sh("mv lock moved").assert_status(0);
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[rstest]
fn writer_sleeps_until_last_reader_exits(env: TestEnv) {
    let (first, second) = (start_reader(&env, ""), start_reader(&env, ""));
    let mut writer = start_writer(&env, "");
    assert!(env.file("lock").exists(), "it excludes new readers");
    env.run_line("ulock -r --timeout=0 lock counter true")
        .assert_status(1);
    first.release();
    assert_sleeps(&env, &writer);
    second.release();
    assert_eq!(writer.wait(), ExitReason::Exited(0));
    assert_files(&env, &["counter", "lock"]);
}

#[rstest]
fn waiters_that_lose_continue_to_wait(env: TestEnv) {
    env.sh("ulock lock").assert_status(0);
    let start = |_| start_waiting(&env, env.command_line("ulock lock"));
    let mut waiters: Vec<_> = (0..4).map(start).collect();
    for _ in 0..4 {
        env.sh("rm lock").assert_status(0);
        let has_lock = |waiter: &Process| !is_running(waiter.pid());
        wait_until("one of them has it", || waiters.iter().any(has_lock));
        let (mut winners, losers): (Vec<_>, Vec<_>) = waiters.into_iter().partition(has_lock);
        assert_eq!(winners.len(), 1);
        assert_eq!(winners[0].wait(), ExitReason::Exited(0));
        waiters = losers;
    }
}

#[rstest]
#[case::no_inotify("inject=inotify_init1:error=EMFILE")]
#[case::no_watch("inject=inotify_add_watch:error=ENOSPC")]
#[case::no_signalfd("inject=signalfd4:error=EMFILE")]
#[case::unknown_file_system("inject=statfs,fstatfs,?statfs64,?fstatfs64:error=ENOSYS")]
fn waiter_without_notification_polls(env: TestEnv, #[case] inject: &str) {
    let Some(waiter) = env.injected(inject, "ulock -w lock counter") else {
        return;
    };
    env.sh("ulock -r lock counter : ; ulock lock; ln counter mine")
        .assert_status(0);
    let mut waiter = env.start(waiter);
    env.sh(
        "ulock --timeout=0.1 lock; rm lock; until [ -e lock ]; do :; done
            ulock --timeout=0.1 lock; rm mine",
    )
    .assert_status(0);
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

/// Signals that kill a process by default.
const SIGNALS: [i32; 7] = [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGALRM, 40];

/// Starts a waiter that leaves no core file.
#[track_caller]
fn start_waiting_without_core(env: &TestEnv, args: &str) -> Process {
    start_waiting(
        env,
        env.script("", &format!("ulimit -c 0; exec ulock {args}")),
    )
}

#[rstest]
fn writer_killed_while_waiting_for_readers_removes_lock(env: TestEnv) {
    let _reader = start_reader(&env, "");
    for signal in SIGNALS {
        let mut writer = start_waiting_without_core(&env, "-w lock counter");
        assert!(env.file("lock").exists());
        writer.signal(signal);
        assert_eq!(writer.wait(), ExitReason::Signaled(signal));
        assert!(!env.file("lock").exists());
    }
}

#[rstest]
fn killed_waiter_leaves_no_file(env: TestEnv) {
    env.sh("ulock lock").assert_status(0);
    for signal in SIGNALS {
        for args in ["lock", "-w lock counter", "-r lock counter true"] {
            let mut waiter = start_waiting_without_core(&env, args);
            waiter.signal(signal);
            assert_eq!(waiter.wait(), ExitReason::Signaled(signal), "{args}");
            assert_files(&env, &["lock"]);
        }
    }
}

#[rstest]
fn ignored_and_blocked_signals_do_not_end_wait(env: TestEnv) {
    env.sh("ulock lock").assert_status(0);
    let mut command = env.command_line("ulock lock");
    command.ignore_signals([SIGHUP]);
    command.block_signals(signal_set([SIGUSR2]));
    let mut waiter = start_waiting(&env, command);
    for signal in [SIGHUP, SIGUSR2, SIGHUP] {
        waiter.signal(signal);
    }
    assert_sleeps(&env, &waiter);
    env.sh("rm lock").assert_status(0);
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[rstest]
#[case::lock_created("inject=linkat:signal=TERM:when=1", "")]
#[case::lock_removed("inject=unlinkat,unlink:signal=TERM:when=1", "")]
#[case::command_exited("inject=waitid:signal=TERM", "ran\n")]
fn signal_around_command_leaves_neither_lock_nor_link(
    env: TestEnv,
    #[case] inject: &str,
    #[case] stdout: &str,
) {
    if let Some(ulock) = env.injected(inject, "ulock -r lock counter echo ran") {
        env.run_command(ulock).assert_all(128 + SIGTERM, stdout, "");
        let mut names = env.file_names();
        names.retain(|name| name != "counter");
        assert!(names.is_empty(), "{names:?}");
    }
}

#[rstest]
fn signals_are_forwarded_to_command_of_reader(env: TestEnv) {
    let script = "trap 'echo trapped; exit 0' TERM; echo ready; while :; do read x; done";
    let mut reader = env.start(env.with_args("ulock -r lock counter", [script]));
    reader.expect_line("ready");
    reader.signal(SIGTERM);
    reader.expect_line("trapped");
    assert_eq!(reader.wait(), ExitReason::Exited(0));
    assert_files(&env, &["counter"]);
}

#[rstest]
fn signal_ends_a_waiting_process_1(env: TestEnv) {
    let unshare = "-rpf --kill-child";
    if !can_unshare(&env, unshare) {
        return;
    }
    env.sh(": >lock").assert_status(0);
    let mut waiter = env.start_line(&format!("unshare {unshare} ulock lock"));
    let (unshare, mut init) = (waiter.pid(), 0);
    waiter.wait_alive_until("ulock waits", || {
        init = children_of(unshare).first().copied().unwrap_or(0);
        status_field(init, "Name") == "ulock" && status_field(init, "SigBlk") != "0000000000000000"
    });
    send_signal(init, SIGTERM);
    assert_eq!(waiter.wait(), ExitReason::Exited(128 + SIGTERM));
    assert_files(&env, &["lock"]);
}
