//! Waiters that are stopped (Ctrl-Z).

use libc::{SIGCONT, SIGSTOP};
use rstest::rstest;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::{procfs, wait_until};

use super::{Engine, EngineTest};

const FOREGROUND: &str = "fg; echo status $?";
const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

/// A command that prints the token, and holds the lock until a line or the end of the input is read.
/// The shell does not show this text.
const HOLD: &str = "#!/bin/sh\necho token $FLOCK_TOKEN; read x; exit 0\n";

/// Starts another process that waits.
fn start(test: &EngineTest) -> Process {
    test.env.install_script("bin/hold", HOLD);
    test.start(&[], "exec bin/hold")
}

/// Starts a waiter in a bash at a terminal.
fn start_waiter(test: &EngineTest, options: &str) -> Process {
    let keys = test.system.keys(&test.name()).len();
    test.env.install_script("bin/hold", HOLD);
    let mut bash = test.env.start_bash_at_terminal();
    let url = test.url();
    bash.send_line(&format!("flock --ttl=1h {options} {url} bin/hold"));
    test.wait_for_keys(keys + 1);
    bash
}

fn stop(bash: &mut Process) {
    bash.send(CTRL_Z);
    bash.expect("Stopped");
}

fn stop_waiter(test: &EngineTest, options: &str) -> Process {
    let mut bash = start_waiter(test, options);
    stop(&mut bash);
    bash
}

/// Continues a waiter, and returns when it knows which process holds the lock now.
fn continue_waiter(bash: &mut Process) {
    bash.send_line(FOREGROUND);
    bash.expect("waiting for process ");
}

/// Reads the token that a command has printed.
fn token(process: &mut Process) -> u64 {
    process.expect("token ");
    process.read_line().parse().expect("a number")
}

#[rstest]
fn stopped_waiter_keeps_its_place_and_lets_others_pass(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let mut first = start(&test);
    let mut tokens = vec![token(&mut first)];
    let mut stopped = stop_waiter(&test, "--verbose");
    let mut second = start(&test);
    test.wait_for_keys(3);
    let mut third = start(&test);
    test.wait_for_keys(4);
    first.release();
    tokens.push(token(&mut second));
    continue_waiter(&mut stopped);
    second.release();
    tokens.push(token(&mut stopped));
    stopped.send_line("");
    stopped.expect("status 0\n");
    tokens.push(token(&mut third));
    third.release();
    assert!(tokens.is_sorted_by(|one, other| one < other), "{tokens:?}");
    test.wait_for_keys(0);
    stopped.send_line("exit 3");
    assert_eq!(stopped.wait(), ExitReason::Exited(3));
}

/// At its turn, when no other process waits yet.
#[rstest]
#[case::exclusive("", &[])]
#[case::readers("-s", &["-s"])]
#[case::writer_and_reader("", &["-s"])]
#[case::reader_and_writer("-s", &[])]
#[case::slots("--slots=1", &["--slots=1"])]
fn stopped_waiter_lets_one_pass_that_does_not_wait(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
    #[case] options: &str,
    #[case] others: &[&str],
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let first = test.hold(&[]);
    let mut stopped = stop_waiter(&test, options);
    first.release();
    wait_until("another process acquires the lock", || {
        let args = others.iter().copied().chain(["-n", "--ttl=1h"]);
        let url = test.url();
        let args = Vec::from_iter(args.chain([url.as_str(), "true"]));
        test.env.run(args).status.success()
    });
    stopped.send_line(FOREGROUND);
    token(&mut stopped);
    stopped.send_line("");
    stopped.expect("status 0\n");
    test.wait_for_keys(0);
    stopped.send_line("exit 3");
    assert_eq!(stopped.wait(), ExitReason::Exited(3));
}

/// Nothing but the mark changes: the processes before it go on.
#[rstest]
fn stopped_waiter_lets_one_pass_that_waits_for_a_slot(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let first = test.hold(&["--slots=2"]);
    let mut stopped = start_waiter(&test, "--slots=1");
    let mut other = test.start(&["--slots=2", "--verbose"], "echo passed");
    other.expect("waiting for process ");
    stop(&mut stopped);
    other.expect("passed\n");
    assert_eq!(other.wait(), ExitReason::Exited(0));
    stopped.send_line(FOREGROUND);
    first.release();
    token(&mut stopped);
    stopped.send_line("");
    stopped.expect("status 0\n");
    stopped.send_line("exit 3");
    assert_eq!(stopped.wait(), ExitReason::Exited(3));
}

/// `flock` cannot tell its helper of every signal.
#[rstest]
#[case::exclusive(&[])]
#[case::slots(&["--slots=1"])]
fn waiter_stopped_by_another_signal_lets_others_pass(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
    #[case] options: &[&str],
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let first = test.hold(&[]);
    let mut stopped = test.start(options, "echo $FLOCK_TOKEN");
    test.wait_for_keys(2);
    assert!(send_signal(stopped.pid(), SIGSTOP));
    wait_until("it stops", || procfs::is_stopped(stopped.pid()));
    let mut second = test.start(options, "echo $FLOCK_TOKEN; read x");
    test.wait_for_keys(3);
    first.release();
    let token = |process: &mut Process| process.read_line().parse::<u64>().expect("a number");
    let passed = token(&mut second);
    send_signal(stopped.pid(), SIGCONT);
    second.close_stdin();
    assert!(passed < token(&mut stopped));
    assert_eq!(stopped.wait(), ExitReason::Exited(0));
    test.wait_for_keys(0);
}

/// It keeps the locks that it has.
#[rstest]
fn stopped_waiter_for_several_locks_lets_others_pass(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    // The locks are acquired in the order of their names.
    let first = test.hold(&[]);
    let before = test
        .system
        .url(&test.system.hosts(), &format!("-{}", test.name()));
    let mut stopped = stop_waiter(&test, &format!("--verbose --also {before}"));
    let mut second = start(&test);
    test.wait_for_keys(3);
    first.release();
    token(&mut second);
    test.env.run(["-n", &before, "true"]).assert_all(1, "", "");
    continue_waiter(&mut stopped);
    let mut third = start(&test);
    test.wait_for_keys(3);
    second.release();
    stopped.expect("token ");
    stopped.send_line("");
    stopped.expect("status 0\n");
    token(&mut third);
    third.release();
    stopped.send_line("exit 3");
    assert_eq!(stopped.wait(), ExitReason::Exited(3));
}

#[rstest]
fn several_stopped_waiters_keep_their_order(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let first = test.hold(&[]);
    let mut stopped = [(); 3].map(|()| stop_waiter(&test, "--verbose"));
    let mut last = start(&test);
    test.wait_for_keys(5);
    first.release();
    let mut tokens = vec![token(&mut last)];
    // Those that are behind do not get it before the first one, whenever they are continued.
    for bash in stopped.iter_mut().rev() {
        continue_waiter(bash);
    }
    last.release();
    for bash in &mut stopped {
        tokens.push(token(bash));
        bash.send_line("");
        bash.expect("status 0\n");
        bash.send_line("exit 3");
        assert_eq!(bash.wait(), ExitReason::Exited(3));
    }
    assert!(tokens.is_sorted_by(|one, other| one < other), "{tokens:?}");
    test.wait_for_keys(0);
}

#[rstest]
fn stopped_waiter_can_be_ended(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
    #[values("kill %1; fg", "kill -9 %1")] command: &str,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let first = test.hold(&[]);
    let mut stopped = stop_waiter(&test, "");
    stopped.send_line(command);
    test.wait_for_keys(1);
    first.release();
    test.wait_for_keys(0);
    stopped.send_line("exit 3; exit 3");
    assert_eq!(stopped.wait(), ExitReason::Exited(3));
}

/// The limit goes on while it is stopped.
#[rstest]
fn wait_of_a_stopped_process_ends(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let first = test.hold(&[]);
    let mut stopped = stop_waiter(&test, "-w 3");
    test.wait_for_keys(1);
    stopped.send_line(FOREGROUND);
    stopped.expect("status 1\n");
    first.release();
    stopped.send_line("exit 3");
    assert_eq!(stopped.wait(), ExitReason::Exited(3));
}

#[rstest]
fn waiter_that_is_continued_can_be_interrupted(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let first = test.hold(&[]);
    let mut stopped = stop_waiter(&test, "");
    stopped.send_line(FOREGROUND);
    let is_flock = |pid: &i32| procfs::status_field(*pid, "Name") == "flock";
    wait_until("it goes on in the foreground", || {
        let pids = procfs::processes_in(test.env.path());
        !pids.into_iter().filter(is_flock).any(procfs::is_stopped)
    });
    stopped.send(CTRL_C);
    test.wait_for_keys(1);
    first.release();
    stopped.send_line("exit 3");
    assert_eq!(stopped.wait(), ExitReason::Exited(3));
}
