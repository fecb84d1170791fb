//! Traps that run while the shell waits for its turn.

use super::{WAITS, assert_acquires, assert_order, start_noting, waiting};
use crate::fair::{assert_clean, assert_queue_len, last_ticket, spawn_waiting_holder};
use test_support::builtin::for_each_bash;
use test_support::locks::tickets;
use test_support::process::ExitReason;
use test_support::procfs::{cpu_time_ns, is_sentinel, status_field};
use test_support::wait_until;

#[test]
fn a_trap_runs_while_a_turn_is_waited_for_and_costs_no_place() {
    for_each_bash(|env| {
        for wait in WAITS {
            let holder = env.hold(&["--fair"], "l");
            let trap = "trap 'echo trapped' USR1";
            let mut first = start_noting(env, trap, wait, "first");
            let mut second = start_noting(env, trap, wait, "second");
            let mut third = start_noting(env, trap, wait, "third");
            let since = || -> Vec<_> {
                let tickets = tickets(env.file("l"));
                tickets.iter().map(|ticket| ticket.arrived).collect()
            };
            let before = since();
            for _ in 0..10 {
                for shell in [&mut first, &mut third, &mut second] {
                    shell.signal(libc::SIGUSR1);
                    shell.expect_line("trapped");
                    // A trap that does nothing else sleeps nowhere. And bash loses a signal that comes at its end.
                    wait_until("it waits again", || {
                        since() == before && status_field(shell.pid(), "State").starts_with('S')
                    });
                }
            }
            holder.release();
            for shell in [&mut first, &mut second, &mut third] {
                assert_acquires(shell);
            }
            assert_order(env, &["first", "second", "third"]);
            assert_clean(env, &[]);
        }
    });
}

#[test]
fn a_place_is_kept_through_a_trap_that_ends_before_the_lock_is_free() {
    for_each_bash(|env| {
        let holder = env.hold(&["--fair"], "l");
        let trap = "trap 'echo in; read x; echo out' USR1";
        let mut first = start_noting(env, trap, "flock --fair 8", "first");
        let mut second = start_noting(env, "", "flock --fair 8", "second");
        let since = tickets(env.file("l"))[0].arrived;
        first.signal(libc::SIGUSR1);
        first.expect_line("in");
        let mut third = start_noting(env, "", "flock --fair 8", "third");
        first.send_line("");
        first.expect_line("out");
        assert_queue_len(env, 3);
        assert_eq!(tickets(env.file("l"))[0].arrived, since);
        holder.release();
        for shell in [&mut first, &mut second, &mut third] {
            assert_acquires(shell);
        }
        assert_order(env, &["first", "second", "third"]);
        assert_clean(env, &[]);
    });
}

#[test]
fn nobody_waits_for_a_shell_that_is_in_a_trap_when_the_lock_gets_free() {
    for_each_bash(|env| {
        for wait in WAITS {
            let holder = env.hold(&["--fair"], "l");
            let trap = "trap 'echo in; read x; echo out' USR1";
            let mut first = waiting(env, trap, wait, "");
            let mut second = spawn_waiting_holder(env, &["--fair"]);
            let mut third = waiting(env, "", "flock --fair 8", "echo third; read x");
            first.signal(libc::SIGUSR1);
            first.expect_line("in");
            holder.release();
            second.expect_line("held");
            // It came before the third, and still has done so.
            first.send_line("");
            first.expect_line("out");
            assert_queue_len(env, 2);
            second.release();
            let said = first.expect("over 0\n");
            assert!(said.lines().count() <= 2, "{said}");
            assert_eq!(first.wait(), ExitReason::Exited(0), "{wait}");
            third.expect_line("over 0");
            third.expect_line("third");
            third.send_line("");
            assert_eq!(third.wait(), ExitReason::Exited(0));
            assert_clean(env, &[]);
        }
    });
}

#[test]
fn what_a_trap_starts_does_not_stand_in_the_queue_when_the_shell_has_left_it() {
    for_each_bash(|env| {
        // A subshell is a copy of the shell that waits, with all its descriptors.
        let trap = "mkfifo end; trap '(read x <end) & echo in' USR1";
        for ending in ["served", "killed", "gone"] {
            let holder = env.hold(&["--fair"], "l");
            let before = match ending {
                "gone" => format!("{trap}; trap 'exit 5' TERM"),
                _ => trap.to_owned(),
            };
            let mut first = waiting(env, &before, "flock --fair l got", "");
            let mut second = spawn_waiting_holder(env, &["--fair"]);
            let mut third = spawn_waiting_holder(env, &["--fair"]);
            first.signal(libc::SIGUSR1);
            first.expect_line("in");
            wait_until("all wait", || tickets(env.file("l")).len() == 3);
            match ending {
                "served" => {
                    holder.release();
                    assert_acquires(&mut first);
                }
                "killed" => {
                    first.signal(libc::SIGKILL);
                    first.wait();
                    holder.release();
                }
                _ => {
                    first.signal(libc::SIGTERM);
                    assert_eq!(first.wait(), ExitReason::Exited(5));
                    holder.release();
                }
            }
            // What the trap has started is still there.
            second.expect_line("held");
            assert_queue_len(env, 1);
            let before = cpu_time_ns(third.pid());
            env.run(["-w0.5", "l", "true"]).assert_status(1);
            let worked = cpu_time_ns(third.pid()) - before;
            assert!(worked < 100_000_000, "{ending}: {worked} ns");
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
fn a_trap_may_wait_for_its_turn_itself() {
    for_each_bash(|env| {
        let (holder, other) = (env.hold(&[], "l"), env.hold(&[], "other"));
        let trap = "exec 9<>other; trap 'echo in; flock --fair -n 8; echo $?; flock --fair -w 0.01 8; echo $?
            flock --fair 9; echo $?; flock -u 9' USR1; trap 'echo deep' USR2";
        let mut shell = waiting(env, trap, "flock --fair 8", "");
        let since = last_ticket(env).arrived;
        shell.signal(libc::SIGUSR1);
        for line in ["in", "1", "1"] {
            shell.expect_line(line);
        }
        wait_until("the trap waits", || tickets(env.file("other")).len() == 1);
        shell.signal(libc::SIGUSR2);
        shell.expect_line("deep");
        other.release();
        shell.expect_line("0");
        wait_until("it waits again", || {
            tickets(env.file("l")).first().map(|ticket| ticket.arrived) == Some(since)
        });
        holder.release();
        assert_acquires(&mut shell);
        assert_eq!(tickets(env.file("other")), []);
        assert_clean(env, &[]);
    });
}

#[test]
fn a_trap_may_take_the_lock_that_is_waited_for() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        let trap = "trap 'echo in; flock 8; echo $?' USR1";
        let mut shell = waiting(env, trap, "flock --fair 8", "");
        let sentinel = last_ticket(env).sentinel;
        shell.signal(libc::SIGUSR1);
        shell.expect_line("in");
        holder.release();
        shell.expect_line("0");
        assert_acquires(&mut shell);
        assert_clean(env, &[sentinel]);
    });
}

#[test]
fn return_in_a_trap_leaves_the_queue() {
    for_each_bash(|env| {
        for wait in WAITS {
            let holder = env.hold(&[], "l");
            let before = format!("trap 'return 5' USR1; f() {{ {wait}; echo no; }}");
            let after = "read x; trap - USR1; flock --fair l got; echo $?";
            let mut shell = waiting(env, &before, "f", after);
            let sentinel = last_ticket(env).sentinel;
            shell.signal(libc::SIGUSR1);
            shell.expect_line("over 5");
            assert_queue_len(env, 0);
            wait_until("the token goes too", || !is_sentinel(sentinel));
            shell.send_line("");
            assert_queue_len(env, 1);
            holder.release();
            shell.expect_line("got");
            shell.expect_line("0");
            assert_eq!(shell.wait(), ExitReason::Exited(0));
            assert_clean(env, &[sentinel]);
        }
    });
}

#[test]
fn a_trap_on_the_end_of_a_child_runs_for_children_that_the_shell_knows() {
    for_each_bash(|env| {
        if env.bash_is_older_than("5") {
            // It keeps that trap for later, whatever the builtin.
            return;
        }
        let holder = env.hold(&[], "l");
        let before = "mkfifo end; trap 'echo child' CHLD; (read x <end; exit 7) & child=$!";
        let after = "trap - CHLD; wait $child; echo $?";
        let mut shell = waiting(env, before, "flock --fair 8", after);
        let ticket = last_ticket(env);
        std::fs::write(env.file("end"), "\n").expect("a FIFO");
        shell.expect_line("child");
        wait_until("it waits again", || {
            tickets(env.file("l")).first().map(|ticket| ticket.arrived) == Some(ticket.arrived)
        });
        holder.release();
        shell.expect_line("over 0");
        shell.expect_line("7");
        std::fs::remove_file(env.file("end")).expect("a FIFO");
        assert_clean(env, &[ticket.sentinel]);
    });
}
