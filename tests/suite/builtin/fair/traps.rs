//! Traps that run while the shell waits for its turn.

use super::{WAITS, gets_it, noting, order_was, waiting};
use crate::fair::{holder_to_be, last_turn, nothing_is_left, queue_is};
use test_support::builtin::in_every_bash;
use test_support::locks::{busy, is_token, status_field, turns};
use test_support::process::End;
use test_support::wait_until;

#[test]
fn a_trap_runs_while_a_turn_is_waited_for_and_costs_no_place() {
    in_every_bash(|lab| {
        for wait in WAITS {
            let holder = lab.hold(&["--fair"], "l");
            let trap = "trap 'echo trapped' USR1";
            let mut first = noting(lab, trap, wait, "first");
            let mut second = noting(lab, trap, wait, "second");
            let mut third = noting(lab, trap, wait, "third");
            let since = || -> Vec<_> {
                let turns = turns(lab.file("l"));
                turns.iter().map(|turn| turn.since).collect()
            };
            let before = since();
            for _ in 0..10 {
                for shell in [&mut first, &mut third, &mut second] {
                    shell.signal(libc::SIGUSR1);
                    shell.hears("trapped");
                    // A trap that does nothing else sleeps nowhere. And bash loses a signal that comes at its end.
                    wait_until("it waits again", || {
                        since() == before && status_field(shell.pid(), "State").starts_with('S')
                    });
                }
            }
            holder.let_go();
            for shell in [&mut first, &mut second, &mut third] {
                gets_it(shell);
            }
            order_was(lab, &["first", "second", "third"]);
            nothing_is_left(lab, &[]);
        }
    });
}

#[test]
fn a_place_is_kept_through_a_trap_that_ends_before_the_lock_is_free() {
    in_every_bash(|lab| {
        let holder = lab.hold(&["--fair"], "l");
        let trap = "trap 'echo in; read x; echo out' USR1";
        let mut first = noting(lab, trap, "flock --fair 8", "first");
        let mut second = noting(lab, "", "flock --fair 8", "second");
        let since = turns(lab.file("l"))[0].since;
        first.signal(libc::SIGUSR1);
        first.hears("in");
        let mut third = noting(lab, "", "flock --fair 8", "third");
        first.say("");
        first.hears("out");
        queue_is(lab, 3);
        assert_eq!(turns(lab.file("l"))[0].since, since);
        holder.let_go();
        for shell in [&mut first, &mut second, &mut third] {
            gets_it(shell);
        }
        order_was(lab, &["first", "second", "third"]);
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn nobody_waits_for_a_shell_that_is_in_a_trap_when_the_lock_gets_free() {
    in_every_bash(|lab| {
        for wait in WAITS {
            let holder = lab.hold(&["--fair"], "l");
            let trap = "trap 'echo in; read x; echo out' USR1";
            let mut first = waiting(lab, trap, wait, "");
            let mut second = holder_to_be(lab, &["--fair"]);
            let mut third = waiting(lab, "", "flock --fair 8", "echo third; read x");
            first.signal(libc::SIGUSR1);
            first.hears("in");
            holder.let_go();
            second.hears("held");
            // It came before the third, and still has done so.
            first.say("");
            first.hears("out");
            queue_is(lab, 2);
            second.let_go();
            let said = first.comes_to("over 0\n");
            assert!(said.lines().count() <= 2, "{said}");
            assert_eq!(first.end(), End::Exited(0), "{wait}");
            third.hears("over 0");
            third.hears("third");
            third.say("");
            assert_eq!(third.end(), End::Exited(0));
            nothing_is_left(lab, &[]);
        }
    });
}

#[test]
fn what_a_trap_starts_does_not_stand_in_the_queue_when_the_shell_has_left_it() {
    in_every_bash(|lab| {
        // A subshell is a copy of the shell that waits, with all its descriptors.
        let trap = "mkfifo end; trap '(read x <end) & echo in' USR1";
        for ending in ["served", "killed", "gone"] {
            let holder = lab.hold(&["--fair"], "l");
            let before = match ending {
                "gone" => format!("{trap}; trap 'exit 5' TERM"),
                _ => trap.to_owned(),
            };
            let mut first = waiting(lab, &before, "flock --fair l got", "");
            let mut second = holder_to_be(lab, &["--fair"]);
            let mut third = holder_to_be(lab, &["--fair"]);
            first.signal(libc::SIGUSR1);
            first.hears("in");
            wait_until("all wait", || turns(lab.file("l")).len() == 3);
            match ending {
                "served" => {
                    holder.let_go();
                    gets_it(&mut first);
                }
                "killed" => {
                    first.signal(libc::SIGKILL);
                    first.end();
                    holder.let_go();
                }
                _ => {
                    first.signal(libc::SIGTERM);
                    assert_eq!(first.end(), End::Exited(5));
                    holder.let_go();
                }
            }
            // What the trap has started is still there.
            second.hears("held");
            queue_is(lab, 1);
            let before = busy(third.pid());
            lab.run(["-w0.5", "l", "true"]).expect_code(1);
            let worked = busy(third.pid()) - before;
            assert!(worked < 100_000_000, "{ending}: {worked} ns");
            second.let_go();
            third.hears("held");
            third.let_go();
            queue_is(lab, 0);
            lab.run(["--fair", "-n", "l", "true"]).expect_code(0);
            lab.sh("echo >end; rm end").expect_code(0);
            nothing_is_left(lab, &[]);
        }
    });
}

#[test]
fn a_trap_may_wait_for_its_turn_itself() {
    in_every_bash(|lab| {
        let (holder, other) = (lab.hold(&[], "l"), lab.hold(&[], "other"));
        let trap = "exec 9<>other; trap 'echo in; flock --fair -n 8; echo $?; flock --fair -w 0.01 8; echo $?
            flock --fair 9; echo $?; flock -u 9' USR1; trap 'echo deep' USR2";
        let mut shell = waiting(lab, trap, "flock --fair 8", "");
        let since = last_turn(lab).since;
        shell.signal(libc::SIGUSR1);
        for line in ["in", "1", "1"] {
            shell.hears(line);
        }
        wait_until("the trap waits", || turns(lab.file("other")).len() == 1);
        shell.signal(libc::SIGUSR2);
        shell.hears("deep");
        other.let_go();
        shell.hears("0");
        wait_until("it waits again", || {
            turns(lab.file("l")).first().map(|turn| turn.since) == Some(since)
        });
        holder.let_go();
        gets_it(&mut shell);
        assert_eq!(turns(lab.file("other")), []);
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn a_trap_may_take_the_lock_that_is_waited_for() {
    in_every_bash(|lab| {
        let holder = lab.hold(&[], "l");
        let trap = "trap 'echo in; flock 8; echo $?' USR1";
        let mut shell = waiting(lab, trap, "flock --fair 8", "");
        let token = last_turn(lab).token;
        shell.signal(libc::SIGUSR1);
        shell.hears("in");
        holder.let_go();
        shell.hears("0");
        gets_it(&mut shell);
        nothing_is_left(lab, &[token]);
    });
}

#[test]
fn return_in_a_trap_leaves_the_queue() {
    in_every_bash(|lab| {
        for wait in WAITS {
            let holder = lab.hold(&[], "l");
            let before = format!("trap 'return 5' USR1; f() {{ {wait}; echo no; }}");
            let after = "read x; trap - USR1; flock --fair l got; echo $?";
            let mut shell = waiting(lab, &before, "f", after);
            let token = last_turn(lab).token;
            shell.signal(libc::SIGUSR1);
            shell.hears("over 5");
            queue_is(lab, 0);
            wait_until("the token goes too", || !is_token(token));
            shell.say("");
            queue_is(lab, 1);
            holder.let_go();
            shell.hears("got");
            shell.hears("0");
            assert_eq!(shell.end(), End::Exited(0));
            nothing_is_left(lab, &[token]);
        }
    });
}

#[test]
fn a_trap_on_the_end_of_a_child_runs_for_children_that_the_shell_knows() {
    in_every_bash(|lab| {
        if lab.bash_is_before("5") {
            // It keeps that trap for later, whatever the builtin.
            return;
        }
        let holder = lab.hold(&[], "l");
        let before = "mkfifo end; trap 'echo child' CHLD; (read x <end; exit 7) & child=$!";
        let after = "trap - CHLD; wait $child; echo $?";
        let mut shell = waiting(lab, before, "flock --fair 8", after);
        let turn = last_turn(lab);
        std::fs::write(lab.file("end"), "\n").expect("a FIFO");
        shell.hears("child");
        wait_until("it waits again", || {
            turns(lab.file("l")).first().map(|turn| turn.since) == Some(turn.since)
        });
        holder.let_go();
        shell.hears("over 0");
        shell.hears("7");
        std::fs::remove_file(lab.file("end")).expect("a FIFO");
        nothing_is_left(lab, &[turn.token]);
    });
}
