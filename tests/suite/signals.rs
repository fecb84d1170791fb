//! Section 4, signals: what is sent to `flock` reaches the command, and they end as one.

use test_support::helper::HEARD_ALL;
use test_support::locks::{locks_on, stopped};
use test_support::pre_exec::Inherit;
use test_support::process::{End, Live, send};
use test_support::{Lab, departure, wait_until};

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

/// `flock` over a probe that is ready to hear so many signals.
#[track_caller]
fn listening(lab: &Lab, count: usize) -> Live {
    let count = count.to_string();
    let mut flock = lab.start_flock(["l", "probe", "hear", &count]);
    flock.comes_to("ready");
    flock.line();
    flock
}

/// `flock` over a shell script that has said `ready`, and its command's process.
#[track_caller]
fn scripted(lab: &Lab, script: &str) -> (Live, i32) {
    let script = format!("ulimit -c 0; {script}");
    let mut flock = lab.start_flock(["l", "sh", "-c", &script]);
    let command = flock.line();
    let command = command.strip_prefix("ready ").expect("it is ready");
    let command = command.parse().expect("its pid");
    (flock, command)
}

/// Sends each signal to a new `flock`, and the command hears it, once.
fn all_are_heard(lab: &Lab, signals: impl IntoIterator<Item = i32>) {
    for signal in signals {
        let mut flock = listening(lab, 2);
        flock.signal(signal);
        flock.hears(&format!("heard {signal} 0 0"));
        // The last number of all comes after everything that is still on its way.
        flock.signal(64);
        flock.hears("heard 64 0 0");
        assert_eq!(flock.end(), End::Exited(HEARD_ALL));
    }
}

#[test]
fn a_signal_sent_to_flock_reaches_the_command_once() {
    departure(ORPHANS, |lab| {
        let harmless = [libc::SIGCONT, libc::SIGURG, libc::SIGWINCH];
        all_are_heard(lab, ENDINGS.into_iter().chain(harmless));
    });
}

#[test]
fn a_real_time_signal_sent_to_flock_reaches_the_command_once() {
    departure(ORPHANS, |lab| all_are_heard(lab, 34..=63));
}

#[test]
fn a_stop_request_sent_to_flock_reaches_the_command() {
    departure("the reference stops alone", |lab| {
        all_are_heard(lab, [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU]);
    });
}

#[test]
fn a_watchdogs_abort_reaches_the_command() {
    departure(ORPHANS, |lab| all_are_heard(lab, [libc::SIGABRT]));
}

#[test]
fn a_queued_value_arrives_with_its_signal() {
    departure(ORPHANS, |lab| {
        let mut flock = listening(lab, 3);
        flock.queue(libc::SIGUSR1, 1234);
        flock.hears("heard 10 -1 1234");
        flock.queue(40, usize::MAX);
        flock.hears(&format!("heard 40 -1 {}", usize::MAX));
        flock.queue(64, 0);
        flock.hears("heard 64 -1 0");
    });
}

#[test]
fn queued_signals_arrive_all_and_in_order() {
    departure(ORPHANS, |lab| {
        let mut flock = listening(lab, 200);
        for value in 0..200 {
            flock.queue(41, value);
        }
        for value in 0..200 {
            flock.hears(&format!("heard 41 -1 {value}"));
        }
        assert_eq!(flock.end(), End::Exited(HEARD_ALL));
    });
}

#[test]
fn the_callers_own_alarm_reaches_the_command() {
    departure(ORPHANS, |lab| {
        let heard = [50_000, 500_000, 5_000_000, 50_000_000].iter().any(|time| {
            let mut flock = lab.flock(["l", "probe", "hear", "1"]);
            flock.with_alarm_in(*time);
            let mut flock = lab.start(flock);
            // When it comes before the probe is ready for it, it ends the two of them.
            let ready = flock.until("ready").is_ok();
            if ready {
                flock.comes_to("heard 14 ");
                assert_eq!(flock.end(), End::Exited(HEARD_ALL));
            }
            ready
        });
        assert!(heard);
    });
}

#[test]
fn a_signal_goes_down_through_nested_locks() {
    departure(ORPHANS, |lab| {
        let mut flock = lab.start_flock(["a", "flock", "b", "flock", "c", "probe", "hear", "1"]);
        flock.comes_to("ready");
        flock.line();
        flock.signal(libc::SIGTERM);
        flock.hears("heard 15 0 0");
        assert_eq!(flock.end(), End::Exited(HEARD_ALL));
    });
}

#[test]
fn flock_dies_of_the_signal_that_its_command_died_of() {
    departure(ORPHANS, |lab| {
        for signal in ENDINGS.into_iter().chain([34, 50, 64]) {
            let (mut flock, command) = scripted(lab, "echo ready $$; read x");
            flock.signal(signal);
            assert_eq!(flock.end(), End::Killed(signal));
            assert!(!send(command, 0), "{signal}: the command lives on");
            assert!(locks_on(lab.file("l")).is_empty(), "{signal}: still locked");
        }
    });
}

#[test]
fn a_shell_sees_128_and_the_number_of_the_signal() {
    departure(ORPHANS, |lab| {
        // The shell's own word about it goes nowhere.
        let script = "exec 2>/dev/null; flock l sh -c 'kill -TERM $PPID; read x; read x'
            echo $?; flock -n l true; echo $?";
        let mut shell = lab.command("sh");
        shell.args(["-c", script]);
        let mut shell = lab.start(shell);
        shell.hears("143");
        shell.hears("0");
    });
}

#[test]
fn flock_dies_of_a_signal_to_the_whole_group_though_its_command_dies_first() {
    let lab = Lab::new();
    for signal in ENDINGS.into_iter().chain([34, 50, 64]) {
        for _ in 0..5 {
            let (mut flock, _) = scripted(&lab, "echo ready $$; read x");
            assert!(send(-flock.pid(), signal));
            assert_eq!(flock.end(), End::Killed(signal));
        }
    }
}

#[test]
fn flock_dies_of_a_signal_to_the_whole_group_that_was_stopped() {
    let lab = Lab::new();
    for _ in 0..20 {
        let (mut flock, command) = scripted(&lab, "echo ready $$; read x");
        assert!(send(-flock.pid(), libc::SIGSTOP));
        flock.stops();
        wait_until("the command stops", || stopped(command));
        assert!(send(-flock.pid(), libc::SIGTERM));
        assert!(send(-flock.pid(), libc::SIGCONT));
        assert_eq!(flock.end(), End::Killed(libc::SIGTERM));
    }
}

#[test]
fn a_command_that_is_killed_alone_makes_flock_exit() {
    let lab = Lab::new();
    for signal in [libc::SIGTERM, libc::SIGKILL, libc::SIGINT, 40] {
        let (mut flock, command) = scripted(&lab, "echo ready $$; read x");
        assert!(send(command, signal));
        assert_eq!(flock.end(), End::Exited(128 + signal));
    }
}

#[test]
fn a_death_by_another_signal_than_the_one_sent_makes_flock_exit() {
    departure(ORPHANS, |lab| {
        for last in [libc::SIGKILL, libc::SIGUSR2] {
            let (mut flock, command) = scripted(lab, "trap '' TERM; echo ready $$; read x");
            flock.signal(libc::SIGTERM);
            assert!(send(command, last));
            assert_eq!(flock.end(), End::Exited(128 + last));
        }
    });
}

#[test]
fn a_command_that_ignores_a_signal_keeps_flock_and_the_lock() {
    departure(ORPHANS, |lab| {
        let (mut flock, _) = scripted(lab, "trap '' TERM HUP; echo ready $$; read x; exit 5");
        for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGTERM] {
            flock.signal(signal);
            lab.run(["-n", "l", "true"]).expect_code(1);
        }
        flock.say("enough");
        assert_eq!(flock.end(), End::Exited(5));
        lab.run(["-n", "l", "true"]).expect_code(0);
    });
}

#[test]
fn a_command_that_handles_a_signal_decides_the_status() {
    departure(ORPHANS, |lab| {
        let mut flock = listening(lab, 2);
        flock.signal(libc::SIGTERM);
        flock.hears("heard 15 0 0");
        lab.run(["-n", "l", "true"]).expect_code(1);
        flock.signal(libc::SIGINT);
        flock.hears("heard 2 0 0");
        assert_eq!(flock.end(), End::Exited(HEARD_ALL));
        lab.run(["-n", "l", "true"]).expect_code(0);
    });
}

#[test]
fn a_signal_at_any_moment_leaves_no_orphan() {
    departure(ORPHANS, |lab| {
        let mut lived_to_run = false;
        for delay in 0..120 {
            let mut flock = lab.start_flock(["l", "sh", "-c", "echo ready; read x"]);
            // From before its main to after its command's.
            let until = std::time::Instant::now() + std::time::Duration::from_micros(delay * 25);
            while std::time::Instant::now() < until {
                std::hint::spin_loop();
            }
            flock.signal(libc::SIGTERM);
            assert_eq!(flock.end(), End::Killed(libc::SIGTERM), "{delay}");
            assert!(locks_on(lab.file("l")).is_empty(), "{delay}: still locked");
            lived_to_run |= flock.until("ready").is_ok();
        }
        assert!(lived_to_run, "the delays are too short to mean anything");
    });
}

#[test]
fn what_the_caller_ignores_ends_neither() {
    let lab = Lab::new();
    let mut flock = lab.flock(["l", "sh", "-c", "echo ready; read x; exit 5"]);
    flock.ignoring([libc::SIGHUP, libc::SIGINT, libc::SIGQUIT]);
    let mut flock = lab.start(flock);
    flock.hears("ready");
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
        flock.signal(signal);
    }
    flock.say("on");
    assert_eq!(flock.end(), End::Exited(5));
}

#[test]
fn flock_stops_with_its_command_and_continues_it() {
    departure(STOPS, |lab| {
        for signal in ["STOP", "TSTP", "TTIN"] {
            let stop = format!("kill -{signal} $$");
            let script = format!("echo ready $$; {stop}; echo one; {stop}; echo two; exit 7");
            let (mut flock, command) = scripted(lab, &script);
            for word in ["one", "two"] {
                flock.stops();
                assert!(stopped(command));
                flock.signal(libc::SIGCONT);
                flock.hears(word);
            }
            assert_eq!(flock.end(), End::Exited(7));
        }
    });
}

#[test]
fn nested_locks_stop_and_continue_as_one() {
    departure(STOPS, |lab| {
        let script = "kill -STOP $$; echo on; exit 7";
        let mut flock = lab.start_flock(["a", "flock", "b", "sh", "-c", script]);
        flock.stops();
        flock.signal(libc::SIGCONT);
        flock.hears("on");
        assert_eq!(flock.end(), End::Exited(7));
    });
}

#[test]
fn a_stopped_pair_that_is_terminated_dies_when_it_is_continued() {
    departure(STOPS, |lab| {
        let (mut flock, command) = scripted(lab, "echo ready $$; kill -STOP $$; read x");
        flock.stops();
        flock.signal(libc::SIGTERM);
        flock.signal(libc::SIGCONT);
        assert_eq!(flock.end(), End::Killed(libc::SIGTERM));
        assert!(!send(command, 0), "the command lives on");
    });
}

#[test]
fn a_stopped_pair_that_a_shell_kills_dies_of_it() {
    departure(STOPS, |lab| {
        for _ in 0..20 {
            let (mut flock, _) = scripted(lab, "echo ready $$; kill -STOP $$; read x");
            flock.stops();
            // What a shell's `kill %1` does: the command has both by itself.
            assert!(send(-flock.pid(), libc::SIGTERM));
            assert!(send(-flock.pid(), libc::SIGCONT));
            assert_eq!(flock.end(), End::Killed(libc::SIGTERM));
        }
    });
}

#[test]
fn a_command_that_is_continued_without_flock_ends_it_all_the_same() {
    departure(STOPS, |lab| {
        for option in ["-x", "-o"] {
            let script = "echo ready $$; kill -STOP $$; exit 7";
            let mut flock = lab.start_flock([option, "l", "sh", "-c", script]);
            let line = flock.line();
            let command = line.strip_prefix("ready ").and_then(|pid| pid.parse().ok());
            flock.stops();
            assert!(send(command.expect("its pid"), libc::SIGCONT));
            assert_eq!(flock.end(), End::Exited(7));
        }
    });
}

#[test]
fn a_command_that_was_stopped_and_continued_alone_ends_as_ever() {
    let lab = Lab::new();
    let (mut flock, command) = scripted(&lab, "echo ready $$; kill -STOP $$; echo on; exit 7");
    wait_until("it stops", || stopped(command));
    assert!(send(command, libc::SIGCONT));
    flock.signal(libc::SIGCONT);
    flock.hears("on");
    // Whoever stopped with it may have done so after the first of these.
    wait_until("it ends", || {
        flock.signal(libc::SIGCONT);
        locks_on(lab.file("l")).is_empty()
    });
    assert_eq!(flock.end(), End::Exited(7));
}

#[test]
fn a_flock_that_is_stopped_alone_loses_no_status() {
    let lab = Lab::new();
    let (mut flock, command) = scripted(&lab, "echo ready $$; read x; exit 7");
    flock.signal(libc::SIGSTOP);
    flock.stops();
    flock.say("on");
    wait_until("the command ends", || !test_support::locks::runs(command));
    flock.signal(libc::SIGCONT);
    assert_eq!(flock.end(), End::Exited(7));
}

#[test]
fn a_command_that_stops_is_no_trouble_where_its_group_is_from_outside_of_the_namespace() {
    let lab = Lab::new();
    if !test_support::may_unshare(&lab, "-rpf --mount-proc") {
        return;
    }
    let script = "until grep -q '^State:.T' /proc/$1/status; do :; done; kill -CONT $1";
    lab.program("wake", &format!("#!/bin/sh\n{script}\n"));
    let stop = "./wake $$ & kill -STOP $$; wait; exit 5";
    let mut command = lab.command("unshare");
    command.args(["-rpf", "--mount-proc", "flock", "l", "sh", "-c", stop]);
    lab.finish(command).expect_err("").expect_code(5);
}
