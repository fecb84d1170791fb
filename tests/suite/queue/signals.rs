//! A place in the queue survives every signal that the waiter survives.

use std::ffi::c_int;

use super::{WHY, assert_clean, assert_queue_len, last_ticket, spawn_waiter, spawn_waiter_command};
use test_support::locks::tickets;
use test_support::pre_exec::{CommandPreExecExt, signal_set};
use test_support::process::{ExitReason, send_signal};
use test_support::procfs::{is_sentinel, is_stopped};
use test_support::{differs_from_util_linux, wait_until};

/// All that can be ignored.
fn all() -> impl Iterator<Item = c_int> + Clone {
    let all = (1..=31).chain(34..=64);
    all.filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal))
}

#[test]
fn signals_that_are_ignored_or_blocked_or_mean_nothing_cost_no_place() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let note = |name: &str| format!("echo {name} >>order");
        let mut plain = spawn_waiter(env, ["--fair", "l", "sh", "-c", &note("plain")]);
        let mut deaf = env.flock(["--fair", "l", "sh", "-c", &note("deaf")]);
        deaf.ignore_signals(all());
        let mut deaf = spawn_waiter_command(env, deaf);
        let mut blocking = env.flock(["--fair", "l", "sh", "-c", &note("blocking")]);
        blocking
            .ignore_signals([libc::SIGUSR1])
            .block_signals(u64::MAX);
        let mut blocking = spawn_waiter_command(env, blocking);
        let mut last = spawn_waiter(env, ["--fair", "l", "sh", "-c", &note("last")]);
        let before = tickets(env.file("l"));
        for _ in 0..20 {
            for signal in [libc::SIGWINCH, libc::SIGURG, libc::SIGCHLD, libc::SIGCONT] {
                plain.signal(signal);
                last.signal(signal);
            }
            all().for_each(|signal| deaf.signal(signal));
            blocking.signal(libc::SIGUSR1);
        }
        assert_eq!(tickets(env.file("l")), before);
        holder.release();
        for waiter in [&mut plain, &mut deaf, &mut blocking, &mut last] {
            assert_eq!(waiter.wait(), ExitReason::Exited(0));
        }
        let order = std::fs::read_to_string(env.file("order")).expect("the order");
        assert_eq!(order, "plain\ndeaf\nblocking\nlast\n");
        assert_clean(env, &[]);
    });
}

#[test]
fn a_child_of_the_callers_that_ends_meanwhile_is_not_taken_for_the_token() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut shell = env.command("sh");
        shell.args([
            "-c",
            "mkfifo go; (read x <go; exit 9) & exec flock --fair l sh -c 'echo done; exit 3'",
        ]);
        let mut waiter = spawn_waiter_command(env, shell);
        let before = tickets(env.file("l"));
        std::fs::write(env.file("go"), "\n").expect("a FIFO");
        let mut behind = spawn_waiter(env, ["--fair", "l", "echo", "behind"]);
        assert_eq!(tickets(env.file("l"))[..1], before);
        holder.release();
        waiter.expect_line("done");
        assert_eq!(waiter.wait(), ExitReason::Exited(3));
        behind.expect_line("behind");
        assert_clean(env, &[]);
    });
}

#[test]
fn a_caller_that_ignores_sigchld_loses_neither_status_nor_place() {
    differs_from_util_linux(WHY, |env| {
        for signals in [&[libc::SIGCHLD][..], &[]] {
            let holder = env.hold(&["--fair"], "l");
            let mut first = spawn_waiter(env, ["--fair", "l", "echo", "first"]);
            let mut waiter = env.flock(["--fair", "l", "sh", "-c", "exit 7"]);
            waiter.ignore_signals(signals.iter().copied());
            let mut waiter = spawn_waiter_command(env, waiter);
            let sentinel = last_ticket(env).sentinel;
            // It is told of the token's end in any case.
            assert!(send_signal(sentinel, libc::SIGKILL));
            wait_until("there is another token", || {
                let now = tickets(env.file("l"));
                now.len() == 2 && now[1].sentinel != sentinel
            });
            holder.release();
            first.expect_line("first");
            assert_eq!(waiter.wait(), ExitReason::Exited(7));
            assert_clean(env, &[sentinel]);
        }
    });
}

#[test]
fn signals_by_the_thousand_neither_end_the_wait_nor_prolong_it() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut first = spawn_waiter(env, ["--fair", "-w2", "-E42", "l", "true"]);
        let mut second = spawn_waiter(env, ["--fair", "-w2", "-E43", "l", "true"]);
        let pids = [first.pid(), second.pid()];
        std::thread::scope(|scope| {
            let ended = scope.spawn(|| (first.wait(), second.wait()));
            // The zombies keep their numbers until they are dropped.
            while !ended.is_finished() {
                for pid in pids {
                    for signal in [libc::SIGSTOP, libc::SIGCONT, libc::SIGWINCH] {
                        send_signal(pid, signal);
                    }
                }
            }
            let ends = (ExitReason::Exited(42), ExitReason::Exited(43));
            assert_eq!(ended.join().expect("they end"), ends);
        });
        assert_queue_len(env, 0);
        holder.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn a_token_that_dies_while_its_waiter_is_stopped_is_replaced_when_it_goes_on() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut waiter = spawn_waiter(env, ["--fair", "l", "sh", "-c", "echo first >>order"]);
        let ticket = last_ticket(env);
        waiter.signal(libc::SIGSTOP);
        waiter.wait_stopped();
        assert!(send_signal(ticket.sentinel, libc::SIGKILL));
        wait_until("it is dead", || !is_sentinel(ticket.sentinel));
        waiter.signal(libc::SIGCONT);
        wait_until("it goes on", || !is_stopped(waiter.pid()));
        assert_queue_len(env, 1);
        assert_eq!(last_ticket(env).arrived, ticket.arrived);
        let mut behind = spawn_waiter(env, ["--fair", "l", "sh", "-c", "echo second >>order"]);
        holder.release();
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
        assert_eq!(behind.wait(), ExitReason::Exited(0));
        let order = std::fs::read_to_string(env.file("order")).expect("the order");
        assert_eq!(order, "first\nsecond\n");
        assert_clean(env, &[ticket.sentinel]);
    });
}

#[test]
fn an_alarm_of_the_callers_ends_the_wait_and_leaves_nothing() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        for patience in ["-x", "-w1000"] {
            let mut timed = env.flock(["--fair", patience, "l", "true"]);
            timed.set_alarm(200_000);
            assert_eq!(env.start(timed).wait(), ExitReason::Signaled(libc::SIGALRM));
            assert_queue_len(env, 0);
        }
        holder.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn a_wait_leaves_no_trace_in_what_the_command_has_of_signals() {
    differs_from_util_linux(WHY, |env| {
        let blocked = signal_set([libc::SIGALRM, libc::SIGUSR1, 63, 64]);
        for way in [&["--fair"][..], &["--fair", "-F"], &["--fair", "-w1000"]] {
            for ignored in [&[40, 64][..], &[libc::SIGCHLD, libc::SIGALRM], &[]] {
                let make = |command: &mut std::process::Command| {
                    command.ignore_signals(ignored.iter().copied());
                    command.block_signals(blocked);
                };
                let mut direct = env.command("test-helper");
                make(direct.args(["inherited-state", "state"]));
                let (direct, _) = env.inherited_state_of(direct);
                let signals = |state: &str| -> Vec<String> {
                    let lines = state.lines().map(str::to_owned);
                    lines
                        .filter(|line| line.starts_with('S') || line.starts_with("alarm"))
                        .collect()
                };

                let holder = env.hold(&["--fair"], "l");
                let words = way
                    .iter()
                    .chain(&["l", "test-helper", "inherited-state", "after"]);
                let mut under = env.flock(words);
                make(&mut under);
                let mut under = spawn_waiter_command(env, under);
                holder.release();
                assert_eq!(under.wait(), ExitReason::Exited(0));
                let after = std::fs::read_to_string(env.file("after")).expect("a report");
                assert_eq!(signals(&after), signals(&direct), "{way:?} {ignored:?}");
            }
        }
    });
}
