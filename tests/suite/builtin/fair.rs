//! `flock --fair` as a builtin: the shell itself waits for its ticket's turn, and the sentinel is a
//! child that the shell does not know.
//!
//! What also applies without a queue is tested in [`waiting`](super::waiting) and
//! [`terminal`](super::terminal), and what does not depend on the waiting process in
//! [`crate::fair`].

mod traps;

use rstest::rstest;

use super::terminal::{assert_last_status, stop_job};
use super::{assert_acquires, wait_script};
use crate::queue::waiter_pool::WaiterPool;
use crate::queue::{assert_clean, assert_queue_len, last_ticket};
use test_support::builtin::for_each_bash;
use test_support::locks::tickets;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{children_of, is_sentinel, is_stopped, parent_of};
use test_support::{TestEnv, wait_until};

/// A way to wait on a descriptor, and one for the function `got`.
const WAITS: [&str; 2] = ["flock --fair 8", "flock --fair -w 1000 l got"];

/// Starts a shell with a [`wait_script`], and returns when it has a ticket.
#[track_caller]
fn start_waiter(env: &TestEnv, before: &str, wait: &str, after: &str) -> Process {
    let count = tickets(env.file("l")).len();
    let mut waiter = env.start_with_builtin(wait_script(before, wait, after));
    waiter.wait_alive_until("it has a ticket", || tickets(env.file("l")).len() > count);
    waiter
}

#[test]
fn shells_functions_and_programs_share_one_queue() {
    for_each_bash(|env| {
        let holder = env.hold(&["--fair"], "l");
        let mut pool = WaiterPool::new(env);
        for number in 0..20 {
            match number % 5 {
                0 => pool.spawn(&["--fair"]),
                1 => pool.spawn_builtin("exec 8<>l; flock --fair 8 || exit; NOTE"),
                2 => pool.spawn_builtin("f() { NOTE; }; flock --fair -w 1000 l f"),
                3 => pool.spawn_shell("exec 8<l; flock --fair -w1000 8 || exit; NOTE"),
                _ => pool.spawn_builtin("exec 8<l; (flock --fair 8 || exit; NOTE); :"),
            }
        }
        holder.release();
        pool.assert_success(0..20);
        assert_eq!(pool.order(), Vec::from_iter(0..20));
        assert_clean(env, &pool.sentinels());
    });
}

#[test]
fn shell_never_notices_the_sentinel() {
    for_each_bash(|env| {
        for wait in WAITS {
            let holder = env.hold(&["--fair"], "l");
            let trap = "trap 'echo child' CHLD";
            let after = "trap - CHLD; jobs; wait; echo waited $?; read c </proc/$$/task/$$/children || echo no child $c";
            let mut shells = [(); 2].map(|()| start_waiter(env, trap, wait, after));
            let before = tickets(env.file("l"));
            for (ticket, shell) in before.iter().zip(&shells) {
                assert_eq!(parent_of(ticket.sentinel), shell.pid());
                wait_until("it is a sentinel", || is_sentinel(ticket.sentinel));
                assert!(send_signal(ticket.sentinel, libc::SIGKILL));
            }
            // The first shell blocks in the kernel.
            wait_until("the second sentinel has been replaced", || {
                let now = tickets(env.file("l"));
                now.len() == 2 && now[1].sentinel != before[1].sentinel
            });
            let replaced = last_ticket(env);
            assert_eq!(replaced.arrived, before[1].arrived);
            assert_eq!(children_of(shells[1].pid()), [replaced.sentinel]);
            holder.release();
            for shell in &mut shells {
                let output = shell.expect("over 0\n");
                assert!(!output.contains("child"), "{output}");
                shell.expect_line("waited 0");
                shell.expect_line("no child");
                assert_eq!(shell.wait(), ExitReason::Exited(0));
            }
            assert_clean(env, &[replaced.sentinel]);
        }
    });
}

#[test]
fn commands_inherit_the_lock_but_not_the_ticket() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        // When the child has executed sh, it has no descriptors of the shell's own any more.
        let before = "mkfifo end; f() { sh -c 'read x <end' & until [ \"$(cat /proc/$!/comm)\" = sh ]; do :; done
            for fd in /proc/$!/fd/*; do [ $fd -ef l ] && echo inherited; done; }";
        let mut waiter = start_waiter(env, before, "flock --fair l f", "");
        let sentinel = last_ticket(env).sentinel;
        holder.release();
        // The two descriptors of the lock, and 8, which is the script's own.
        for line in ["inherited", "inherited", "inherited", "over 0"] {
            waiter.expect_line(line);
        }
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
        assert_clean(env, &[sentinel]);
        env.sh("echo >end; rm end").assert_status(0);
    });
}

#[rstest]
#[case("(flock --fair 8; echo got $?)")]
#[case("x=$(flock --fair 8; echo got $?); echo $x")]
#[case("flock --fair 8 | cat; echo got ${PIPESTATUS[0]}")]
#[case("flock --fair 8 & wait $!; echo got $?")]
#[case("{ flock --fair -w 1000 8; echo got $?; } & wait")]
#[case("cat <(flock --fair 8; echo got $?)")]
fn forked_shells_queue(#[case] script: &str) {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        let mut waiter = start_waiter(env, "", script, "");
        let mut next = start_waiter(env, "", "flock --fair l got", "");
        let tickets = tickets(env.file("l"));
        holder.release();
        waiter.expect_line("got 0");
        waiter.expect_line("over 0");
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
        assert_acquires(&mut next);
        assert_clean(
            env,
            &Vec::from_iter(tickets.iter().map(|ticket| ticket.sentinel)),
        );
    });
}

#[test]
fn wait_stopped_at_the_terminal_keeps_its_place() {
    for_each_bash(|env| {
        for (command, how) in [
            ("flock --fair 8", "fg"),
            ("flock --fair 8", "bg; wait"),
            ("flock --fair -w 1000 8", "fg"),
        ] {
            let holder = env.hold(&[], "l");
            let mut bash = env.start_builtin_at_terminal();
            bash.send_line("exec 8<>l");
            bash.send_line(command);
            assert_queue_len(env, 1);
            let ticket = last_ticket(env);
            stop_job(&mut bash);
            assert_last_status(&mut bash, 128 + libc::SIGTSTP);
            bash.send_line(how);
            wait_until("it is continued", || {
                !is_stopped(parent_of(ticket.sentinel))
            });
            let mut next = start_waiter(env, "", "flock --fair 8", "");
            assert_queue_len(env, 2);
            assert_eq!(tickets(env.file("l"))[0].arrived, ticket.arrived);
            holder.release();
            assert_last_status(&mut bash, 0);
            assert_queue_len(env, 1);
            bash.send_line("flock -u 8; exit 4");
            assert_acquires(&mut next);
            assert_eq!(bash.wait(), ExitReason::Exited(4), "{command} {how}");
            assert_clean(env, &[]);
        }
    });
}
