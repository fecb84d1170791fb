//! A turn is about the order only. What excludes is the lock of flock(2), so nobody need know of turns to be excluded.

use std::path::Path;

use super::{WHY, assert_clean, assert_queue_len, spawn_waiter, spawn_waiting_holder};
use test_support::locks::waiter_count;
use test_support::process::ExitReason;
use test_support::{differs_from_util_linux, wait_until};

#[test]
fn it_excludes_those_who_lock_without_turns_and_the_other_way_round() {
    differs_from_util_linux(WHY, |env| {
        let reference = Path::new("/usr/bin/flock").exists();
        let others = if reference {
            &["flock", "/usr/bin/flock"][..]
        } else {
            &["flock"]
        };
        for other in others {
            for (held, asked, status) in [
                ("-s", "-s", "0\n"),
                ("-s", "-x", "1\n"),
                ("-x", "-s", "1\n"),
                ("-x", "-x", "1\n"),
            ] {
                for (holds, asks) in [
                    (format!("{other} {held}"), format!("flock --fair {asked}")),
                    (format!("flock --fair {held}"), format!("{other} {asked}")),
                    (
                        format!("flock --fair {held}"),
                        format!("flock --fair {asked}"),
                    ),
                ] {
                    env.sh(format!("{holds} l {asks} -n l true; echo $?"))
                        .assert_stderr("")
                        .assert_stdout(status);
                    env.sh(format!("exec 8<>l 9<>l; {holds} 8; {asks} -n 9; echo $?"))
                        .assert_stderr("")
                        .assert_stdout(status);
                }
            }
        }
    });
}

#[test]
fn somebody_without_a_turn_may_come_in_between_but_never_at_the_same_time() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut waiter = spawn_waiting_holder(env, &["--fair"]);
        let plain = env.start_flock(["l", "sh", "-c", "flock -n l true; echo $?; read x"]);
        wait_until("both wait in the kernel", || {
            waiter_count(env.file("l")) == 2
        });
        assert_queue_len(env, 1);
        holder.release();
        // In whichever order.
        let mut plain = plain;
        plain.close_stdin();
        let words = ["--fair", "l", "echo", "behind"];
        let mut behind = env.start_flock(words);
        waiter.expect_line("held");
        waiter.release();
        behind.expect_line("behind");
        plain.expect_line("1");
        assert_eq!(plain.wait(), ExitReason::Exited(1));
        assert_clean(env, &[]);
    });
}

#[test]
fn one_that_waits_for_its_turn_keeps_out_nobody_who_does_not() {
    differs_from_util_linux(WHY, |env| {
        let reader = env.hold(&["-s"], "l");
        let waiter = spawn_waiter(env, ["--fair", "l", "true"]);
        env.run(["-ns", "l", "true"]).assert_status(0);
        env.run(["-n", "l", "true"]).assert_status(1);
        env.run(["-w0.01", "l", "true"]).assert_status(1);
        assert_queue_len(env, 1);
        drop(waiter);
        reader.release();
        env.run(["-n", "l", "true"]).assert_status(0);
        assert_clean(env, &[]);
    });
}

#[test]
fn a_place_in_the_queue_is_kept_when_somebody_without_a_turn_was_faster() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&[], "l");
        let mut queue = [
            spawn_waiting_holder(env, &["--fair"]),
            spawn_waiting_holder(env, &["--fair"]),
        ];
        let mut plain = env.start_flock(["l", "sh", "-c", "echo held; read x; exit 0"]);
        wait_until("both wait in the kernel", || {
            waiter_count(env.file("l")) == 2
        });
        holder.release();
        // The head of the queue, which was first in the kernel's too; then those two in any order, and order among
        // those who have turns.
        let [first, second] = &mut queue;
        plain.close_stdin();
        first.expect_line("held");
        first.close_stdin();
        second.expect_line("held");
        second.close_stdin();
        for waiter in [first, second, &mut plain] {
            assert_eq!(waiter.wait(), ExitReason::Exited(0));
        }
        assert_clean(env, &[]);
    });
}
