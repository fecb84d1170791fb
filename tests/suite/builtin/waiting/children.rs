//! Children that exit while the builtin waits.

use test_support::builtin::for_each_bash;
use test_support::locks::tickets;
use test_support::process::ExitReason;

use super::{assert_acquires, assert_places_kept, start_waiter, wait_blocked};
use crate::queue::assert_clean;

#[test]
fn exit_of_a_child_is_noticed_at_once() {
    for_each_bash(|env| {
        for (wait, trap) in [
            ("flock 8", "trap 'echo child' CHLD"),
            ("flock --fair 8", "trap 'echo child' CHLD"),
            ("flock --fair 8", ":"),
        ] {
            let holder = env.hold(&[], "l");
            let before = format!("mkfifo end; {trap}; (read x <end; exit 7) & child=$!");
            let after = "trap - CHLD; wait $child; echo child exited $?; wait; echo $?";
            let mut waiter = start_waiter(env, &before, wait, after);
            let before = tickets(env.file("l"));
            std::fs::write(env.file("end"), "\n").expect("a FIFO");
            if trap != ":" {
                waiter.expect_line("child");
                wait_blocked(env, 1);
                assert_places_kept(env, &before);
            }
            holder.release();
            waiter.expect_line("over 0");
            waiter.expect("child exited 7\n");
            waiter.expect_line("0");
            std::fs::remove_file(env.file("end")).expect("a FIFO");
            assert_eq!(waiter.wait(), ExitReason::Exited(0));
            assert_clean(env, &[]);
        }
    });
}

#[test]
fn child_trap_runs_once_for_each_child() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        let before = "mkfifo end1 end2 end3; trap 'echo child' CHLD
            for i in 1 2 3; do (read x <end$i) & done";
        let mut waiter = start_waiter(env, before, "flock 8", "trap - CHLD; wait");
        for end in ["end1", "end2", "end3"] {
            std::fs::write(env.file(end), "\n").expect("a FIFO");
            waiter.expect_line("child");
            wait_blocked(env, 1);
        }
        holder.release();
        assert_acquires(&mut waiter);
    });
}

/// Before 5.0, the builtin itself counts the children for which the trap has to run.
#[test]
fn child_of_the_child_trap_does_not_count() {
    for_each_bash(|env| {
        if !env.bash_is_older_than("5") {
            return;
        }
        let holder = env.hold(&[], "l");
        let before = "mkfifo end; trap 'test-helper args trapped; echo child' CHLD
            (read x <end) &";
        let mut waiter = start_waiter(env, before, "flock 8", "trap - CHLD; wait");
        std::fs::write(env.file("end"), "\n").expect("a FIFO");
        waiter.expect_line("child");
        wait_blocked(env, 1);
        holder.release();
        assert_acquires(&mut waiter);
    });
}
