//! Signals: those that are sent to `flock` reach the command, and both stop, continue and die
//! together.

mod process_one;
mod refused_kill;

use std::time::{Duration, Instant};

use crate::queue::unshared_flock;
use libc::{
    SIGABRT, SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGIO, SIGKILL, SIGPIPE, SIGPROF, SIGPWR, SIGQUIT,
    SIGSTOP, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG, SIGUSR1, SIGUSR2, SIGVTALRM, SIGWINCH,
    SIGXCPU,
};
use rstest::rstest;
use test_support::helper::ALL_SIGNALS_RECEIVED;
use test_support::locks::{assert_unlocked, locks_on};
use test_support::pre_exec::CommandPreExecExt;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{is_running, is_stopped};
use test_support::{TestEnv, can_unshare, differs_from_util_linux, wait_until};

const ORPHANS: &str = "it dies alone, and its command keeps the lock unseen";
const STOPS: &str = "it goes on waiting for a command that is stopped";

/// The signals that kill a process by default, and that are sent for that purpose.
const DEADLY: [i32; 13] = [
    SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGIO, SIGPWR, SIGVTALRM,
    SIGPROF, SIGXCPU,
];

/// Signals that a process ignores by default.
const HARMLESS: [i32; 3] = [SIGCONT, SIGURG, SIGWINCH];

/// Starts `flock` with these arguments before a `test-helper` that catches `count` signals, and
/// waits until the helper is ready.
#[track_caller]
fn start_catching(env: &TestEnv, args: &[&str], count: usize) -> Process {
    let count = count.to_string();
    let helper = ["test-helper", "catch-signals", &count];
    let mut flock = env.start(env.flock(args.iter().chain(&helper)));
    flock.expect("ready");
    flock.read_line();
    flock
}

/// Starts `flock` with a shell script that prints `ready PID` when it is ready, and returns its
/// process and the script's pid.
#[track_caller]
fn start_script(env: &TestEnv, script: &str) -> (Process, i32) {
    let mut flock = env.start_flock(["l", "sh", "-c", &format!("ulimit -c 0; {script}")]);
    let line = flock.read_line();
    let command = line.strip_prefix("ready ").expect("it is ready");
    (flock, command.parse().expect("a pid"))
}

#[rstest]
#[case::deadly_or_harmless(ORPHANS, DEADLY.into_iter().chain(HARMLESS))]
#[case::abort_by_a_watchdog(ORPHANS, [SIGABRT])]
#[case::real_time(ORPHANS, 34..=63)]
#[case::stop("it stops alone", [SIGTSTP, SIGTTIN, SIGTTOU])]
fn command_receives_signals_once(
    #[case] reason: &str,
    #[case] signals: impl IntoIterator<Item = i32> + Clone,
) {
    differs_from_util_linux(reason, |env| {
        for signal in signals.clone() {
            let mut flock = start_catching(env, &["l"], 2);
            flock.signal(signal);
            flock.expect_line(&format!("received {signal} 0 0"));
            // The highest signal is received after all others that are pending.
            flock.signal(64);
            flock.expect_line("received 64 0 0");
            assert_eq!(flock.wait(), ExitReason::Exited(ALL_SIGNALS_RECEIVED));
        }
    });
}

#[test]
fn queued_signals_keep_their_values_and_order() {
    differs_from_util_linux(ORPHANS, |env| {
        let mut flock = start_catching(env, &["l"], 203);
        for (signal, value) in [(SIGUSR1, 1234), (40, usize::MAX)] {
            flock.queue_signal(signal, value);
            flock.expect_line(&format!("received {signal} -1 {value}"));
        }
        for value in 0..200 {
            flock.queue_signal(41, value);
        }
        for value in 0..200 {
            flock.expect_line(&format!("received 41 -1 {value}"));
        }
        flock.queue_signal(64, 0);
        flock.expect_line("received 64 -1 0");
        assert_eq!(flock.wait(), ExitReason::Exited(ALL_SIGNALS_RECEIVED));
    });
}

#[test]
fn command_receives_alarm_set_by_the_caller() {
    differs_from_util_linux(ORPHANS, |env| {
        let received = [50_000, 500_000, 5_000_000, 50_000_000].iter().any(|time| {
            let mut flock = env.flock(["l", "test-helper", "catch-signals", "1"]);
            flock.set_alarm(*time);
            let mut flock = env.start(flock);
            // An alarm that expires before the helper is ready kills both.
            let ready = flock.read_until("ready").is_ok();
            if ready {
                flock.expect("received 14 ");
                assert_eq!(flock.wait(), ExitReason::Exited(ALL_SIGNALS_RECEIVED));
            }
            ready
        });
        assert!(received);
    });
}

#[test]
fn signal_is_forwarded_through_nested_locks() {
    differs_from_util_linux(ORPHANS, |env| {
        let mut flock = start_catching(env, &["a", "flock", "b", "flock", "c"], 1);
        flock.signal(SIGTERM);
        flock.expect_line("received 15 0 0");
        assert_eq!(flock.wait(), ExitReason::Exited(ALL_SIGNALS_RECEIVED));
    });
}

#[test]
fn flock_dies_of_the_signal_that_killed_its_command() {
    differs_from_util_linux(ORPHANS, |env| {
        for signal in DEADLY.into_iter().chain([34, 50, 64]) {
            let (mut flock, command) = start_script(env, "echo ready $$; read x");
            flock.signal(signal);
            assert_eq!(flock.wait(), ExitReason::Signaled(signal));
            assert!(!send_signal(command, 0), "{signal}: the command is alive");
            assert_unlocked(env.file("l"));
        }
    });
}

#[test]
fn shell_sees_128_plus_the_number_of_the_signal() {
    differs_from_util_linux(ORPHANS, |env| {
        // The shell's own message about the death is not of interest.
        let script = "exec 2>/dev/null; flock l sh -c 'kill -TERM $PPID; read x; read x'
            echo $?; flock -n l true; echo $?";
        let mut shell = env.start(env.sh_command(script));
        shell.expect_line("143");
        shell.expect_line("0");
    });
}

#[test]
fn flock_dies_of_a_signal_to_the_group() {
    let env = TestEnv::new();
    // Several times, because either process can be the first to die.
    for signal in DEADLY.into_iter().chain([34, 50, 64]) {
        for _ in 0..5 {
            let (mut flock, _) = start_script(&env, "echo ready $$; read x");
            assert!(send_signal(-flock.pid(), signal));
            assert_eq!(flock.wait(), ExitReason::Signaled(signal));
        }
    }
}

#[test]
fn flock_dies_of_a_signal_to_a_stopped_group() {
    let env = TestEnv::new();
    for _ in 0..20 {
        let (mut flock, command) = start_script(&env, "echo ready $$; read x");
        assert!(send_signal(-flock.pid(), SIGSTOP));
        flock.wait_stopped();
        wait_until("the command stops", || is_stopped(command));
        assert!(send_signal(-flock.pid(), SIGTERM));
        assert!(send_signal(-flock.pid(), SIGCONT));
        assert_eq!(flock.wait(), ExitReason::Signaled(SIGTERM));
    }
}

#[test]
fn flock_exits_if_only_the_command_is_killed() {
    let env = TestEnv::new();
    for signal in [SIGTERM, SIGKILL, SIGINT, 40] {
        let (mut flock, command) = start_script(&env, "echo ready $$; read x");
        assert!(send_signal(command, signal));
        assert_eq!(flock.wait(), ExitReason::Exited(128 + signal));
    }
}

#[test]
fn flock_exits_if_another_signal_kills_the_command() {
    differs_from_util_linux(ORPHANS, |env| {
        for last in [SIGKILL, SIGUSR2] {
            let (mut flock, command) = start_script(env, "trap '' TERM; echo ready $$; read x");
            flock.signal(SIGTERM);
            assert!(send_signal(command, last));
            assert_eq!(flock.wait(), ExitReason::Exited(128 + last));
        }
    });
}

#[test]
fn command_that_ignores_a_signal_keeps_the_lock() {
    differs_from_util_linux(ORPHANS, |env| {
        let (mut flock, _) = start_script(env, "trap '' TERM HUP; echo ready $$; read x; exit 5");
        for signal in [SIGTERM, SIGHUP, SIGTERM] {
            flock.signal(signal);
            env.run(["-n", "l", "true"]).assert_status(1);
        }
        flock.send_line("enough");
        assert_eq!(flock.wait(), ExitReason::Exited(5));
        env.run(["-n", "l", "true"]).assert_status(0);
    });
}

#[test]
fn command_that_handles_a_signal_decides_the_status() {
    differs_from_util_linux(ORPHANS, |env| {
        let mut flock = start_catching(env, &["l"], 2);
        flock.signal(SIGTERM);
        flock.expect_line("received 15 0 0");
        env.run(["-n", "l", "true"]).assert_status(1);
        flock.signal(SIGINT);
        flock.expect_line("received 2 0 0");
        assert_eq!(flock.wait(), ExitReason::Exited(ALL_SIGNALS_RECEIVED));
        env.run(["-n", "l", "true"]).assert_status(0);
    });
}

#[test]
fn signal_at_any_time_leaves_no_orphan() {
    differs_from_util_linux(ORPHANS, |env| {
        let mut command_has_run = false;
        for delay in 0..120 {
            let mut flock = env.start_flock(["l", "sh", "-c", "echo ready; read x"]);
            // From before main of flock to after main of the command.
            let deadline = Instant::now() + Duration::from_micros(delay * 25);
            while Instant::now() < deadline {
                std::hint::spin_loop();
            }
            flock.signal(SIGTERM);
            assert_eq!(flock.wait(), ExitReason::Signaled(SIGTERM), "{delay}");
            assert_unlocked(env.file("l"));
            command_has_run |= flock.read_until("ready").is_ok();
        }
        assert!(command_has_run, "the delays are too short to be of use");
    });
}

#[test]
fn signals_that_the_caller_ignores_kill_neither() {
    let env = TestEnv::new();
    let signals = [SIGHUP, SIGINT, SIGQUIT];
    let mut flock = env.flock(["l", "sh", "-c", "echo ready; read x; exit 5"]);
    flock.ignore_signals(signals);
    let mut flock = env.start(flock);
    flock.expect_line("ready");
    for signal in signals {
        flock.signal(signal);
    }
    flock.send_line("on");
    assert_eq!(flock.wait(), ExitReason::Exited(5));
}

#[test]
fn message_to_a_pipe_without_readers_does_not_kill() {
    differs_from_util_linux("SIGPIPE kills it before the command runs", |env| {
        for (args, status) in [
            ("--verbose l sh -c 'exit 7'", "7\n"),
            ("99", "65\n"),
            ("no/file true", "66\n"),
        ] {
            env.sh(format!(
                "rm -f p; mkfifo p; exec 4<>p 5>p 4<&-; flock {args} >&5 2>&5; echo $?"
            ))
            .assert_stdout(status);
        }
    });
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
                flock.signal(SIGCONT);
                flock.expect_line(word);
            }
            assert_eq!(flock.wait(), ExitReason::Exited(7));
        }
    });
}

#[test]
fn nested_locks_stop_and_continue_together() {
    differs_from_util_linux(STOPS, |env| {
        let script = "kill -STOP $$; echo on; exit 7";
        let mut flock = env.start_flock(["a", "flock", "b", "sh", "-c", script]);
        flock.wait_stopped();
        flock.signal(SIGCONT);
        flock.expect_line("on");
        assert_eq!(flock.wait(), ExitReason::Exited(7));
    });
}

#[test]
fn stopped_flock_dies_of_a_signal_when_continued() {
    differs_from_util_linux(STOPS, |env| {
        // To flock alone, and to its group as by a shell's `kill %1`: the command then gets both
        // signals directly, at a time that varies.
        for to_group in [false].into_iter().chain([true; 20]) {
            let (mut flock, command) = start_script(env, "echo ready $$; kill -STOP $$; read x");
            flock.wait_stopped();
            let target = if to_group { -flock.pid() } else { flock.pid() };
            assert!(send_signal(target, SIGTERM));
            assert!(send_signal(target, SIGCONT));
            assert_eq!(flock.wait(), ExitReason::Signaled(SIGTERM));
            assert!(!send_signal(command, 0), "the command is alive");
        }
    });
}

#[test]
fn stopped_flock_exits_with_a_command_continued_alone() {
    differs_from_util_linux(STOPS, |env| {
        for option in ["-x", "-o"] {
            let script = "echo ready $$; kill -STOP $$; exit 7";
            let mut flock = env.start_flock([option, "l", "sh", "-c", script]);
            flock.expect("ready ");
            let command = flock.read_line().parse().expect("a pid");
            flock.wait_stopped();
            assert!(send_signal(command, SIGCONT));
            assert_eq!(flock.wait(), ExitReason::Exited(7));
        }
    });
}

#[test]
fn command_may_be_stopped_and_continued_alone() {
    let env = TestEnv::new();
    let (mut flock, command) = start_script(&env, "echo ready $$; kill -STOP $$; echo on; exit 7");
    wait_until("it stops", || is_stopped(command));
    assert!(send_signal(command, SIGCONT));
    flock.signal(SIGCONT);
    flock.expect_line("on");
    // flock may have stopped after the first of these signals.
    wait_until("the lock is released", || {
        flock.signal(SIGCONT);
        locks_on(env.file("l")).is_empty()
    });
    assert_eq!(flock.wait(), ExitReason::Exited(7));
}

#[test]
fn flock_stopped_alone_does_not_lose_the_status() {
    let env = TestEnv::new();
    let (mut flock, command) = start_script(&env, "echo ready $$; read x; exit 7");
    flock.signal(SIGSTOP);
    flock.wait_stopped();
    flock.send_line("on");
    wait_until("the command exits", || !is_running(command));
    flock.signal(SIGCONT);
    assert_eq!(flock.wait(), ExitReason::Exited(7));
}

#[test]
fn command_may_stop_in_a_group_of_another_namespace() {
    let env = TestEnv::new();
    if !can_unshare(&env, "-rpf --mount-proc") {
        return;
    }
    let script = "until grep -q '^State:.T' /proc/$1/status; do :; done; kill -CONT $1";
    env.install_script("wake", &format!("#!/bin/sh\n{script}\n"));
    let stop = "./wake $$ & kill -STOP $$; wait; exit 5";
    let command = unshared_flock(&env, "-rpf --mount-proc", &["l", "sh", "-c", stop]);
    env.run_command(command).assert_all(5, "", "");
}
