//! Traps that run while the shell waits in the queue.

use super::super::assert_acquires;
use super::{WAITS, start_waiter};
use crate::queue::{assert_clean, assert_queue_len, last_ticket, spawn_waiting_holder};
use test_support::builtin::for_each_bash;
use test_support::locks::tickets;
use test_support::process::ExitReason;
use test_support::procfs::{cpu_time_ns, status_field};
use test_support::wait_until;

#[test]
fn traps_keep_the_place_in_the_queue() {
    for_each_bash(|env| {
        for wait in WAITS {
            let holder = env.hold(&["--fair"], "l");
            let start = |name: &str| {
                let before = format!(
                    "trap 'echo trapped' USR1; trap 'echo in; read x; echo out' USR2
                     note() {{ echo {name} >>order; }}; got() {{ echo got; note; }}"
                );
                let after = if wait.ends_with('8') { "note" } else { "" };
                start_waiter(env, &before, wait, after)
            };
            let (mut first, mut second) = (start("first"), start("second"));
            let arrived = || -> Vec<_> {
                let tickets = tickets(env.file("l"));
                tickets.iter().map(|ticket| ticket.arrived).collect()
            };
            let before = arrived();
            // The third one arrives while the first is in a trap, which ends before the lock is
            // free.
            first.signal(libc::SIGUSR2);
            first.expect_line("in");
            let mut third = start("third");
            first.send_line("");
            first.expect_line("out");
            assert_queue_len(env, 3);
            assert_eq!(arrived()[..2], before);
            let before = arrived();
            for _ in 0..10 {
                for shell in [&mut first, &mut third, &mut second] {
                    shell.signal(libc::SIGUSR1);
                    shell.expect_line("trapped");
                    // bash loses a signal that arrives at the end of its own trap. This trap does
                    // not sleep anywhere else.
                    wait_until("it waits again", || {
                        arrived() == before && status_field(shell.pid(), "State").starts_with('S')
                    });
                }
            }
            holder.release();
            for shell in [&mut first, &mut second, &mut third] {
                assert_acquires(shell);
            }
            let order = std::fs::read_to_string(env.file("order")).expect("the order");
            assert_eq!(order, "first\nsecond\nthird\n");
            std::fs::remove_file(env.file("order")).expect("the order");
            assert_clean(env, &[]);
        }
    });
}

#[test]
fn shell_in_a_trap_is_passed_but_keeps_its_place() {
    for_each_bash(|env| {
        for wait in WAITS {
            let holder = env.hold(&["--fair"], "l");
            let trap = "trap 'echo in; read x; echo out' USR1";
            let mut first = start_waiter(env, trap, wait, "");
            let mut second = spawn_waiting_holder(env, &["--fair"]);
            let mut third = start_waiter(env, "", "flock --fair 8", "echo third; read x");
            first.signal(libc::SIGUSR1);
            first.expect_line("in");
            holder.release();
            second.expect_line("held");
            // The first one still precedes the third.
            first.send_line("");
            first.expect_line("out");
            assert_queue_len(env, 2);
            second.release();
            assert_acquires(&mut first);
            third.expect_line("over 0");
            third.expect_line("third");
            third.send_line("");
            assert_eq!(third.wait(), ExitReason::Exited(0));
            assert_clean(env, &[]);
        }
    });
}

/// A subshell is a copy of the waiting shell, with all of its descriptors.
#[test]
fn subshell_of_a_trap_does_not_prolong_the_ticket() {
    for_each_bash(|env| {
        let traps = "mkfifo end; trap '(read x <end) & echo in' USR1; trap 'exit 5' TERM";
        for signal in [None, Some(libc::SIGKILL), Some(libc::SIGTERM)] {
            let holder = env.hold(&["--fair"], "l");
            let mut first = start_waiter(env, traps, "flock --fair l got", "");
            let mut second = spawn_waiting_holder(env, &["--fair"]);
            let mut third = spawn_waiting_holder(env, &["--fair"]);
            first.signal(libc::SIGUSR1);
            first.expect_line("in");
            wait_until("all wait", || tickets(env.file("l")).len() == 3);
            match signal {
                None => {
                    holder.release();
                    assert_acquires(&mut first);
                }
                Some(signal) => {
                    first.signal(signal);
                    let exit = match signal {
                        libc::SIGKILL => ExitReason::Signaled(signal),
                        _ => ExitReason::Exited(5),
                    };
                    assert_eq!(first.wait(), exit);
                    holder.release();
                }
            }
            // The subshell is still running.
            second.expect_line("held");
            assert_queue_len(env, 1);
            let before = cpu_time_ns(third.pid());
            env.run(["-w0.2", "l", "true"]).assert_status(1);
            let used = cpu_time_ns(third.pid()) - before;
            assert!(used < 50_000_000, "{signal:?}: {used} ns");
            second.release();
            third.expect_line("held");
            third.release();
            assert_queue_len(env, 0);
            env.run(["--fair", "-n", "l", "true"]).assert_status(0);
            env.sh("echo >end; rm end").assert_status(0);
            assert_clean(env, &[]);
        }
    });
}

#[test]
fn trap_may_acquire_the_lock_that_is_waited_for() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        let trap = "trap 'echo in; flock 8; echo $?' USR1";
        let mut shell = start_waiter(env, trap, "flock --fair 8", "");
        let sentinel = last_ticket(env).sentinel;
        shell.signal(libc::SIGUSR1);
        shell.expect_line("in");
        holder.release();
        shell.expect_line("0");
        assert_acquires(&mut shell);
        assert_clean(env, &[sentinel]);
    });
}
