//! Section 4, signals: what is sent to `flock` reaches the command, and they end as one.

use test_support::helper::ALL_SIGNALS_RECEIVED;
use test_support::locks::locks_on;
use test_support::pre_exec::CommandPreExecExt;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::is_stopped;
use test_support::{TestEnv, differs_from_util_linux, wait_until};

const ORPHANS: &str = "the reference dies alone, and its command keeps the lock unseen";
const STOPS: &str = "the reference waits on for a command that is stopped";

/// The signals that end a process which does nothing about them, and are sent to do so.
const ENDINGS: [i32; 13] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGXCPU,
];

/// `flock` over a `test-helper` that is ready to catch `count` signals.
#[track_caller]
fn start_catching(env: &TestEnv, count: usize) -> Process {
    let count = count.to_string();
    let mut flock = env.start_flock(["l", "test-helper", "catch-signals", &count]);
    flock.expect("ready");
    flock.read_line();
    flock
}

/// `flock` over a shell script that has said `ready`, and its command's process.
#[track_caller]
fn start_script(env: &TestEnv, script: &str) -> (Process, i32) {
    let script = format!("ulimit -c 0; {script}");
    let mut flock = env.start_flock(["l", "sh", "-c", &script]);
    let command = flock.read_line();
    let command = command.strip_prefix("ready ").expect("it is ready");
    let command = command.parse().expect("its pid");
    (flock, command)
}

/// Sends each signal to a new `flock`, and the command hears it, once.
fn assert_all_received(env: &TestEnv, signals: impl IntoIterator<Item = i32>) {
    for signal in signals {
        let mut flock = start_catching(env, 2);
        flock.signal(signal);
        flock.expect_line(&format!("received {signal} 0 0"));
        // The last number of all comes after everything that is still on its way.
        flock.signal(64);
        flock.expect_line("received 64 0 0");
        assert_eq!(flock.wait(), ExitReason::Exited(ALL_SIGNALS_RECEIVED));
    }
}

#[test]
fn a_signal_sent_to_flock_reaches_the_command_once() {
    differs_from_util_linux(ORPHANS, |env| {
        let harmless = [libc::SIGCONT, libc::SIGURG, libc::SIGWINCH];
        assert_all_received(env, ENDINGS.into_iter().chain(harmless));
    });
}

#[test]
fn a_real_time_signal_sent_to_flock_reaches_the_command_once() {
    differs_from_util_linux(ORPHANS, |env| assert_all_received(env, 34..=63));
}

#[test]
fn a_stop_request_sent_to_flock_reaches_the_command() {
    differs_from_util_linux("the reference stops alone", |env| {
        assert_all_received(env, [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU]);
    });
}

#[test]
fn a_watchdogs_abort_reaches_the_command() {
    differs_from_util_linux(ORPHANS, |env| assert_all_received(env, [libc::SIGABRT]));
}

#[test]
fn a_queued_value_arrives_with_its_signal() {
    differs_from_util_linux(ORPHANS, |env| {
        let mut flock = start_catching(env, 3);
        flock.queue_signal(libc::SIGUSR1, 1234);
        flock.expect_line("received 10 -1 1234");
        flock.queue_signal(40, usize::MAX);
        flock.expect_line(&format!("received 40 -1 {}", usize::MAX));
        flock.queue_signal(64, 0);
        flock.expect_line("received 64 -1 0");
    });
}

#[test]
fn queued_signals_arrive_all_and_in_order() {
    differs_from_util_linux(ORPHANS, |env| {
        let mut flock = start_catching(env, 200);
        for value in 0..200 {
            flock.queue_signal(41, value);
        }
        for value in 0..200 {
            flock.expect_line(&format!("received 41 -1 {value}"));
        }
        assert_eq!(flock.wait(), ExitReason::Exited(ALL_SIGNALS_RECEIVED));
    });
}

#[test]
fn the_callers_own_alarm_reaches_the_command() {
    differs_from_util_linux(ORPHANS, |env| {
        let heard = [50_000, 500_000, 5_000_000, 50_000_000].iter().any(|time| {
            let mut flock = env.flock(["l", "test-helper", "catch-signals", "1"]);
            flock.set_alarm(*time);
            let mut flock = env.start(flock);
            // When it comes before the helper is ready for it, it ends the two of them.
            let ready = flock.read_until("ready").is_ok();
            if ready {
                flock.expect("received 14 ");
                assert_eq!(flock.wait(), ExitReason::Exited(ALL_SIGNALS_RECEIVED));
            }
            ready
        });
        assert!(heard);
    });
}

#[test]
fn a_signal_goes_down_through_nested_locks() {
    differs_from_util_linux(ORPHANS, |env| {
        let mut flock = env.start_flock([
            "a",
            "flock",
            "b",
            "flock",
            "c",
            "test-helper",
            "catch-signals",
            "1",
        ]);
        flock.expect("ready");
        flock.read_line();
        flock.signal(libc::SIGTERM);
        flock.expect_line("received 15 0 0");
        assert_eq!(flock.wait(), ExitReason::Exited(ALL_SIGNALS_RECEIVED));
    });
}

#[test]
fn flock_dies_of_the_signal_that_its_command_died_of() {
    differs_from_util_linux(ORPHANS, |env| {
        for signal in ENDINGS.into_iter().chain([34, 50, 64]) {
            let (mut flock, command) = start_script(env, "echo ready $$; read x");
            flock.signal(signal);
            assert_eq!(flock.wait(), ExitReason::Signaled(signal));
            assert!(!send_signal(command, 0), "{signal}: the command lives on");
            assert!(locks_on(env.file("l")).is_empty(), "{signal}: still locked");
        }
    });
}

#[test]
fn a_shell_sees_128_and_the_number_of_the_signal() {
    differs_from_util_linux(ORPHANS, |env| {
        // The shell's own word about it goes nowhere.
        let script = "exec 2>/dev/null; flock l sh -c 'kill -TERM $PPID; read x; read x'
            echo $?; flock -n l true; echo $?";
        let mut shell = env.command("sh");
        shell.args(["-c", script]);
        let mut shell = env.start(shell);
        shell.expect_line("143");
        shell.expect_line("0");
    });
}

#[test]
fn flock_dies_of_a_signal_to_the_whole_group_though_its_command_dies_first() {
    let env = TestEnv::new();
    for signal in ENDINGS.into_iter().chain([34, 50, 64]) {
        for _ in 0..5 {
            let (mut flock, _) = start_script(&env, "echo ready $$; read x");
            assert!(send_signal(-flock.pid(), signal));
            assert_eq!(flock.wait(), ExitReason::Signaled(signal));
        }
    }
}

#[test]
fn flock_dies_of_a_signal_to_the_whole_group_that_was_stopped() {
    let env = TestEnv::new();
    for _ in 0..20 {
        let (mut flock, command) = start_script(&env, "echo ready $$; read x");
        assert!(send_signal(-flock.pid(), libc::SIGSTOP));
        flock.wait_stopped();
        wait_until("the command stops", || is_stopped(command));
        assert!(send_signal(-flock.pid(), libc::SIGTERM));
        assert!(send_signal(-flock.pid(), libc::SIGCONT));
        assert_eq!(flock.wait(), ExitReason::Signaled(libc::SIGTERM));
    }
}

#[test]
fn a_command_that_is_killed_alone_makes_flock_exit() {
    let env = TestEnv::new();
    for signal in [libc::SIGTERM, libc::SIGKILL, libc::SIGINT, 40] {
        let (mut flock, command) = start_script(&env, "echo ready $$; read x");
        assert!(send_signal(command, signal));
        assert_eq!(flock.wait(), ExitReason::Exited(128 + signal));
    }
}

#[test]
fn a_death_by_another_signal_than_the_one_sent_makes_flock_exit() {
    differs_from_util_linux(ORPHANS, |env| {
        for last in [libc::SIGKILL, libc::SIGUSR2] {
            let (mut flock, command) = start_script(env, "trap '' TERM; echo ready $$; read x");
            flock.signal(libc::SIGTERM);
            assert!(send_signal(command, last));
            assert_eq!(flock.wait(), ExitReason::Exited(128 + last));
        }
    });
}

#[test]
fn a_command_that_ignores_a_signal_keeps_flock_and_the_lock() {
    differs_from_util_linux(ORPHANS, |env| {
        let (mut flock, _) = start_script(env, "trap '' TERM HUP; echo ready $$; read x; exit 5");
        for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGTERM] {
            flock.signal(signal);
            env.run(["-n", "l", "true"]).assert_status(1);
        }
        flock.send_line("enough");
        assert_eq!(flock.wait(), ExitReason::Exited(5));
        env.run(["-n", "l", "true"]).assert_status(0);
    });
}

#[test]
fn a_command_that_handles_a_signal_decides_the_status() {
    differs_from_util_linux(ORPHANS, |env| {
        let mut flock = start_catching(env, 2);
        flock.signal(libc::SIGTERM);
        flock.expect_line("received 15 0 0");
        env.run(["-n", "l", "true"]).assert_status(1);
        flock.signal(libc::SIGINT);
        flock.expect_line("received 2 0 0");
        assert_eq!(flock.wait(), ExitReason::Exited(ALL_SIGNALS_RECEIVED));
        env.run(["-n", "l", "true"]).assert_status(0);
    });
}

#[test]
fn a_signal_at_any_moment_leaves_no_orphan() {
    differs_from_util_linux(ORPHANS, |env| {
        let mut lived_to_run = false;
        for delay in 0..120 {
            let mut flock = env.start_flock(["l", "sh", "-c", "echo ready; read x"]);
            // From before its main to after its command's.
            let until = std::time::Instant::now() + std::time::Duration::from_micros(delay * 25);
            while std::time::Instant::now() < until {
                std::hint::spin_loop();
            }
            flock.signal(libc::SIGTERM);
            assert_eq!(flock.wait(), ExitReason::Signaled(libc::SIGTERM), "{delay}");
            assert!(locks_on(env.file("l")).is_empty(), "{delay}: still locked");
            lived_to_run |= flock.read_until("ready").is_ok();
        }
        assert!(lived_to_run, "the delays are too short to mean anything");
    });
}

#[test]
fn what_the_caller_ignores_ends_neither() {
    let env = TestEnv::new();
    let mut flock = env.flock(["l", "sh", "-c", "echo ready; read x; exit 5"]);
    flock.ignore_signals([libc::SIGHUP, libc::SIGINT, libc::SIGQUIT]);
    let mut flock = env.start(flock);
    flock.expect_line("ready");
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
        flock.signal(signal);
    }
    flock.send_line("on");
    assert_eq!(flock.wait(), ExitReason::Exited(5));
}

#[test]
fn flock_stops_with_its_command_and_continues_it() {
    differs_from_util_linux(STOPS, |env| {
        for signal in ["STOP", "TSTP", "TTIN"] {
            let stop = format!("kill -{signal} $$");
            let script = format!("echo ready $$; {stop}; echo one; {stop}; echo two; exit 7");
            let (mut flock, command) = start_script(env, &script);
            for word in ["one", "two"] {
                flock.wait_stopped();
                assert!(is_stopped(command));
                flock.signal(libc::SIGCONT);
                flock.expect_line(word);
            }
            assert_eq!(flock.wait(), ExitReason::Exited(7));
        }
    });
}

#[test]
fn nested_locks_stop_and_continue_as_one() {
    differs_from_util_linux(STOPS, |env| {
        let script = "kill -STOP $$; echo on; exit 7";
        let mut flock = env.start_flock(["a", "flock", "b", "sh", "-c", script]);
        flock.wait_stopped();
        flock.signal(libc::SIGCONT);
        flock.expect_line("on");
        assert_eq!(flock.wait(), ExitReason::Exited(7));
    });
}

#[test]
fn a_stopped_pair_that_is_terminated_dies_when_it_is_continued() {
    differs_from_util_linux(STOPS, |env| {
        let (mut flock, command) = start_script(env, "echo ready $$; kill -STOP $$; read x");
        flock.wait_stopped();
        flock.signal(libc::SIGTERM);
        flock.signal(libc::SIGCONT);
        assert_eq!(flock.wait(), ExitReason::Signaled(libc::SIGTERM));
        assert!(!send_signal(command, 0), "the command lives on");
    });
}

#[test]
fn a_stopped_pair_that_a_shell_kills_dies_of_it() {
    differs_from_util_linux(STOPS, |env| {
        for _ in 0..20 {
            let (mut flock, _) = start_script(env, "echo ready $$; kill -STOP $$; read x");
            flock.wait_stopped();
            // What a shell's `kill %1` does: the command has both by itself.
            assert!(send_signal(-flock.pid(), libc::SIGTERM));
            assert!(send_signal(-flock.pid(), libc::SIGCONT));
            assert_eq!(flock.wait(), ExitReason::Signaled(libc::SIGTERM));
        }
    });
}

#[test]
fn a_command_that_is_continued_without_flock_ends_it_all_the_same() {
    differs_from_util_linux(STOPS, |env| {
        for option in ["-x", "-o"] {
            let script = "echo ready $$; kill -STOP $$; exit 7";
            let mut flock = env.start_flock([option, "l", "sh", "-c", script]);
            let line = flock.read_line();
            let command = line.strip_prefix("ready ").and_then(|pid| pid.parse().ok());
            flock.wait_stopped();
            assert!(send_signal(command.expect("its pid"), libc::SIGCONT));
            assert_eq!(flock.wait(), ExitReason::Exited(7));
        }
    });
}

#[test]
fn a_command_that_was_stopped_and_continued_alone_ends_as_ever() {
    let env = TestEnv::new();
    let (mut flock, command) = start_script(&env, "echo ready $$; kill -STOP $$; echo on; exit 7");
    wait_until("it stops", || is_stopped(command));
    assert!(send_signal(command, libc::SIGCONT));
    flock.signal(libc::SIGCONT);
    flock.expect_line("on");
    // Whoever stopped with it may have done so after the first of these.
    wait_until("it ends", || {
        flock.signal(libc::SIGCONT);
        locks_on(env.file("l")).is_empty()
    });
    assert_eq!(flock.wait(), ExitReason::Exited(7));
}

#[test]
fn a_flock_that_is_stopped_alone_loses_no_status() {
    let env = TestEnv::new();
    let (mut flock, command) = start_script(&env, "echo ready $$; read x; exit 7");
    flock.signal(libc::SIGSTOP);
    flock.wait_stopped();
    flock.send_line("on");
    wait_until("the command ends", || {
        !test_support::procfs::is_running(command)
    });
    flock.signal(libc::SIGCONT);
    assert_eq!(flock.wait(), ExitReason::Exited(7));
}

#[test]
fn a_command_that_stops_is_no_trouble_where_its_group_is_from_outside_of_the_namespace() {
    let env = TestEnv::new();
    if !test_support::can_unshare(&env, "-rpf --mount-proc") {
        return;
    }
    let script = "until grep -q '^State:.T' /proc/$1/status; do :; done; kill -CONT $1";
    env.install_script("wake", &format!("#!/bin/sh\n{script}\n"));
    let stop = "./wake $$ & kill -STOP $$; wait; exit 5";
    let mut command = env.command("unshare");
    command.args(["-rpf", "--mount-proc", "flock", "l", "sh", "-c", stop]);
    env.run_command(command).assert_stderr("").assert_status(5);
}
