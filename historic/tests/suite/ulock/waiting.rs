//! How long one waits, how, and what becomes of one who is killed meanwhile.

use super::*;
use test_support::process::ExitReason;

#[test]
fn a_time_limit_ends_a_wait_with_1_and_in_silence() {
    let env = TestEnv::new();
    for limit in ["--timeout=0", "--timeout=0.000001", "--timeout=0.05"] {
        for words in ["lock", "-w lock counter", "-r lock counter echo never"] {
            env.sh(format!(": >lock; ulock {limit} {words}"))
                .assert_stdout("")
                .assert_stderr("")
                .assert_status(1);
            env.assert_files(&["lock"]);
        }
        env.sh(format!("rm lock; ulock {limit} lock && rm lock"))
            .assert_status(0);
    }
}

#[test]
fn a_writer_whose_time_is_up_does_not_keep_the_lock() {
    let env = TestEnv::new();
    let reader = env.start_reader();
    for limit in ["--timeout=0", "--timeout=0.05"] {
        env.sh(format!("ulock -w {limit} lock counter"))
            .assert_stdout("")
            .assert_stderr("")
            .assert_status(1);
        assert!(!env.file("lock").exists());
    }
    reader.release();
    env.assert_files(&["counter"]);
}

#[test]
fn the_time_limit_is_for_the_lock_and_the_counter_together() {
    let env = TestEnv::new();
    let _reader = env.start_reader();
    env.sh(": >lock").assert_status(0);
    // Whoever waits for ever is here, too, so that the first one is not served by a clock of his own.
    let mut writer = env.start_waiting_ulock(&["-w", "--timeout=0.3", "lock", "counter"]);
    env.sh("ulock --timeout=0.1 lock; rm lock").assert_status(0);
    assert_eq!(writer.wait(), ExitReason::Exited(1));
    assert!(!env.file("lock").exists());
}

#[test]
fn a_waiter_sleeps_until_the_lock_is_removed() {
    for words in [
        &["lock"][..],
        &["--timeout=1000", "lock"],
        &["-w", "lock", "counter"],
        &["-r", "lock", "counter", "true"],
    ] {
        let env = TestEnv::new();
        env.sh("ulock lock").assert_status(0);
        let mut waiter = env.start_waiting_ulock(words);
        sleeps(&env, &waiter, "lock");
        env.sh("rm lock").assert_status(0);
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
    }
}

#[test]
fn a_writer_sleeps_until_the_last_reader_has_gone() {
    let env = TestEnv::new();
    let (one, two) = (env.start_reader(), env.start_reader());
    let mut writer = env.start_waiting_ulock(&["-w", "lock", "counter"]);
    assert!(env.file("lock").exists(), "it keeps new readers out");
    env.sh("ulock -r --timeout=0 lock counter true")
        .assert_status(1);
    one.release();
    sleeps(&env, &writer, "lock");
    two.release();
    assert_eq!(writer.wait(), ExitReason::Exited(0));
    env.assert_files(&["counter", "lock"]);
}

/// Asserts that it does not wake up while nothing happens to what it waits for. Somebody else's timeout is the clock.
#[track_caller]
fn sleeps(env: &TestEnv, waiter: &Process, lock: &str) {
    let clock = || {
        env.sh(format!("ulock --timeout=0.2 {lock}"))
            .assert_status(1)
    };
    clock();
    let before = voluntary_switches(waiter.pid());
    clock();
    assert_eq!(
        voluntary_switches(waiter.pid()),
        before,
        "it woke up for nothing"
    );
}

#[test]
fn a_lock_that_is_renamed_away_is_free() {
    let env = TestEnv::new();
    env.sh("ulock lock").assert_status(0);
    let mut waiter = env.start_waiting_ulock(&["lock"]);
    env.sh("mv lock gone").assert_status(0);
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[test]
fn a_waiter_who_is_not_served_goes_on_waiting() {
    let env = TestEnv::new();
    env.sh("ulock lock").assert_status(0);
    let mut waiters: Vec<_> = (0..4).map(|_| env.start_waiting_ulock(&["lock"])).collect();
    for _ in 0..4 {
        env.sh("rm lock").assert_status(0);
        let pids: Vec<_> = waiters.iter().map(Process::pid).collect();
        wait_until("one of them has it", || !pids.iter().all(|pid| runs(*pid)));
        let (mut served, rest): (Vec<_>, Vec<_>) =
            waiters.into_iter().partition(|waiter| !runs(waiter.pid()));
        assert_eq!(served.len(), 1);
        assert_eq!(served[0].wait(), ExitReason::Exited(0));
        waiters = rest;
    }
}

fn runs(pid: i32) -> bool {
    test_support::procfs::is_running(pid)
}

#[test]
fn whoever_cannot_be_woken_looks_again_and_again() {
    let env = TestEnv::new();
    for inject in [
        "inject=inotify_init1:error=EMFILE",
        "inject=inotify_add_watch:error=ENOSPC",
        "inject=signalfd4:error=EMFILE",
        "inject=statfs,fstatfs:error=ENOSYS",
    ] {
        let words = ["-w", "lock", "counter"];
        let Some(waiter) = env.with_fault_injection_into("ulock", "", inject, &words) else {
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
        assert_eq!(waiter.wait(), ExitReason::Exited(0), "{inject}");
        env.sh("rm lock").assert_status(0);
    }
}

const ENDINGS: [i32; 7] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGALRM,
    40,
];

#[test]
fn a_writer_who_is_killed_while_he_waits_for_readers_does_not_keep_the_lock() {
    let env = TestEnv::new();
    let _reader = env.start_reader();
    for signal in ENDINGS {
        let mut shell = env.command("sh");
        shell.args(["-c", "ulimit -c 0; exec ulock -w lock counter"]);
        let mut writer = env.start_waiting(shell);
        assert!(env.file("lock").exists());
        writer.signal(signal);
        assert_eq!(writer.wait(), ExitReason::Signaled(signal));
        assert!(!env.file("lock").exists());
    }
}

#[test]
fn a_waiter_who_is_killed_leaves_nothing() {
    let env = TestEnv::new();
    env.sh("ulock lock").assert_status(0);
    for signal in ENDINGS {
        for words in ["lock", "-w lock counter", "-r lock counter true"] {
            let mut shell = env.command("sh");
            shell.args(["-c", &format!("ulimit -c 0; exec ulock {words}")]);
            let mut waiter = env.start_waiting(shell);
            waiter.signal(signal);
            assert_eq!(waiter.wait(), ExitReason::Signaled(signal), "{words}");
            env.assert_files(&["lock"]);
        }
    }
}

#[test]
fn a_signal_that_is_ignored_ends_no_wait() {
    let env = TestEnv::new();
    env.sh("ulock lock").assert_status(0);
    let mut command = env.command("ulock");
    command.arg("lock").ignore_signals([libc::SIGHUP]);
    command.block_signals(signal_set([libc::SIGUSR2]));
    let mut waiter = env.start_waiting(command);
    for signal in [libc::SIGHUP, libc::SIGUSR2, libc::SIGHUP] {
        waiter.signal(signal);
    }
    sleeps(&env, &waiter, "lock");
    env.sh("rm lock").assert_status(0);
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[test]
fn a_signal_between_the_lock_and_the_command_leaves_neither_lock_nor_link() {
    let env = TestEnv::new();
    for call in [
        "linkat:signal=TERM:when=1",
        "unlinkat,unlink:signal=TERM:when=1",
    ] {
        let words = ["-r", "lock", "counter", "echo", "never"];
        let Some(ulock) =
            env.with_fault_injection_into("ulock", "", &format!("inject={call}"), &words)
        else {
            return;
        };
        env.run_command(ulock)
            .assert_stdout("")
            .assert_status(128 + libc::SIGTERM);
        assert!(
            env.file_names().iter().all(|name| name == "counter"),
            "{:?}",
            env.file_names()
        );
    }
}

#[test]
fn a_signal_after_the_commands_end_leaves_no_link() {
    let env = TestEnv::new();
    let words = ["-r", "lock", "counter", "echo", "done"];
    let inject = "inject=waitid:signal=TERM";
    if let Some(ulock) = env.with_fault_injection_into("ulock", "", inject, &words) {
        env.run_command(ulock)
            .assert_stdout("done\n")
            .assert_status(128 + libc::SIGTERM);
        env.assert_files(&["counter"]);
    }
}

#[test]
fn a_signal_sent_to_a_reader_reaches_his_command() {
    let env = TestEnv::new();
    let script = "trap 'echo heard; exit 0' TERM; echo ready; while :; do read x; done";
    let mut reader = env.command("ulock");
    reader.args(["-r", "lock", "counter", script]);
    let mut reader = env.start(reader);
    reader.expect_line("ready");
    reader.signal(libc::SIGTERM);
    reader.expect_line("heard");
    assert_eq!(reader.wait(), ExitReason::Exited(0));
    env.assert_files(&["counter"]);
}
