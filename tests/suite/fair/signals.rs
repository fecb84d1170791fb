//! A place in the queue survives every signal that the waiter survives.

use std::ffi::c_int;

use super::{WHY, last_turn, nothing_is_left, queue_is, queuing, queuing_by};
use test_support::locks::{is_token, stopped, turns};
use test_support::pre_exec::{Inherit, signal_set};
use test_support::process::{End, send};
use test_support::{departure, wait_until};

/// All that can be ignored.
fn all() -> impl Iterator<Item = c_int> + Clone {
    let all = (1..=31).chain(34..=64);
    all.filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal))
}

#[test]
fn signals_that_are_ignored_or_blocked_or_mean_nothing_cost_no_place() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let note = |name: &str| format!("echo {name} >>order");
        let mut plain = queuing(lab, ["--fair", "l", "sh", "-c", &note("plain")]);
        let mut deaf = lab.flock(["--fair", "l", "sh", "-c", &note("deaf")]);
        deaf.ignoring(all());
        let mut deaf = queuing_by(lab, deaf);
        let mut blocking = lab.flock(["--fair", "l", "sh", "-c", &note("blocking")]);
        blocking.ignoring([libc::SIGUSR1]).blocking(u64::MAX);
        let mut blocking = queuing_by(lab, blocking);
        let mut last = queuing(lab, ["--fair", "l", "sh", "-c", &note("last")]);
        let before = turns(lab.file("l"));
        for _ in 0..20 {
            for signal in [libc::SIGWINCH, libc::SIGURG, libc::SIGCHLD, libc::SIGCONT] {
                plain.signal(signal);
                last.signal(signal);
            }
            all().for_each(|signal| deaf.signal(signal));
            blocking.signal(libc::SIGUSR1);
        }
        assert_eq!(turns(lab.file("l")), before);
        holder.let_go();
        for waiter in [&mut plain, &mut deaf, &mut blocking, &mut last] {
            assert_eq!(waiter.end(), End::Exited(0));
        }
        let order = std::fs::read_to_string(lab.file("order")).expect("the order");
        assert_eq!(order, "plain\ndeaf\nblocking\nlast\n");
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn a_child_of_the_callers_that_ends_meanwhile_is_not_taken_for_the_token() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut shell = lab.command("sh");
        shell.args([
            "-c",
            "mkfifo go; (read x <go; exit 9) & exec flock --fair l sh -c 'echo done; exit 3'",
        ]);
        let mut waiter = queuing_by(lab, shell);
        let before = turns(lab.file("l"));
        std::fs::write(lab.file("go"), "\n").expect("a FIFO");
        let mut behind = queuing(lab, ["--fair", "l", "echo", "behind"]);
        assert_eq!(turns(lab.file("l"))[..1], before);
        holder.let_go();
        waiter.hears("done");
        assert_eq!(waiter.end(), End::Exited(3));
        behind.hears("behind");
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn a_caller_that_ignores_sigchld_loses_neither_status_nor_place() {
    departure(WHY, |lab| {
        for signals in [&[libc::SIGCHLD][..], &[]] {
            let holder = lab.hold(&["--fair"], "l");
            let mut first = queuing(lab, ["--fair", "l", "echo", "first"]);
            let mut waiter = lab.flock(["--fair", "l", "sh", "-c", "exit 7"]);
            waiter.ignoring(signals.iter().copied());
            let mut waiter = queuing_by(lab, waiter);
            let token = last_turn(lab).token;
            // It is told of the token's end in any case.
            assert!(send(token, libc::SIGKILL));
            wait_until("there is another token", || {
                let now = turns(lab.file("l"));
                now.len() == 2 && now[1].token != token
            });
            holder.let_go();
            first.hears("first");
            assert_eq!(waiter.end(), End::Exited(7));
            nothing_is_left(lab, &[token]);
        }
    });
}

#[test]
fn signals_by_the_thousand_neither_end_the_wait_nor_prolong_it() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut first = queuing(lab, ["--fair", "-w2", "-E42", "l", "true"]);
        let mut second = queuing(lab, ["--fair", "-w2", "-E43", "l", "true"]);
        let pids = [first.pid(), second.pid()];
        std::thread::scope(|scope| {
            let ended = scope.spawn(|| (first.end(), second.end()));
            // The zombies keep their numbers until they are dropped.
            while !ended.is_finished() {
                for pid in pids {
                    for signal in [libc::SIGSTOP, libc::SIGCONT, libc::SIGWINCH] {
                        send(pid, signal);
                    }
                }
            }
            let ends = (End::Exited(42), End::Exited(43));
            assert_eq!(ended.join().expect("they end"), ends);
        });
        queue_is(lab, 0);
        holder.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn a_token_that_dies_while_its_waiter_is_stopped_is_replaced_when_it_goes_on() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut waiter = queuing(lab, ["--fair", "l", "sh", "-c", "echo first >>order"]);
        let turn = last_turn(lab);
        waiter.signal(libc::SIGSTOP);
        waiter.stops();
        assert!(send(turn.token, libc::SIGKILL));
        wait_until("it is dead", || !is_token(turn.token));
        waiter.signal(libc::SIGCONT);
        wait_until("it goes on", || !stopped(waiter.pid()));
        queue_is(lab, 1);
        assert_eq!(last_turn(lab).since, turn.since);
        let mut behind = queuing(lab, ["--fair", "l", "sh", "-c", "echo second >>order"]);
        holder.let_go();
        assert_eq!(waiter.end(), End::Exited(0));
        assert_eq!(behind.end(), End::Exited(0));
        let order = std::fs::read_to_string(lab.file("order")).expect("the order");
        assert_eq!(order, "first\nsecond\n");
        nothing_is_left(lab, &[turn.token]);
    });
}

#[test]
fn an_alarm_of_the_callers_ends_the_wait_and_leaves_nothing() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        for patience in ["-x", "-w1000"] {
            let mut timed = lab.flock(["--fair", patience, "l", "true"]);
            timed.with_alarm_in(200_000);
            assert_eq!(lab.start(timed).end(), End::Killed(libc::SIGALRM));
            queue_is(lab, 0);
        }
        holder.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn a_wait_leaves_no_trace_in_what_the_command_has_of_signals() {
    departure(WHY, |lab| {
        let blocked = signal_set([libc::SIGALRM, libc::SIGUSR1, 63, 64]);
        for way in [&["--fair"][..], &["--fair", "-F"], &["--fair", "-w1000"]] {
            for ignored in [&[40, 64][..], &[libc::SIGCHLD, libc::SIGALRM], &[]] {
                let make = |command: &mut std::process::Command| {
                    command.ignoring(ignored.iter().copied());
                    command.blocking(blocked);
                };
                let mut direct = lab.command("probe");
                make(direct.args(["world", "world"]));
                let (direct, _) = lab.world_of(direct);
                let signals = |world: &str| -> Vec<String> {
                    let lines = world.lines().map(str::to_owned);
                    lines
                        .filter(|line| line.starts_with('S') || line.starts_with("alarm"))
                        .collect()
                };

                let holder = lab.hold(&["--fair"], "l");
                let words = way.iter().chain(&["l", "probe", "world", "after"]);
                let mut under = lab.flock(words);
                make(&mut under);
                let mut under = queuing_by(lab, under);
                holder.let_go();
                assert_eq!(under.end(), End::Exited(0));
                let after = std::fs::read_to_string(lab.file("after")).expect("a report");
                assert_eq!(signals(&after), signals(&direct), "{way:?} {ignored:?}");
            }
        }
    });
}
