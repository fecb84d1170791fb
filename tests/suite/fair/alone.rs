//! A turn is about the order only. What excludes is the lock of flock(2), so nobody need know of turns to be excluded.

use std::path::Path;

use super::{WHY, holder_to_be, nothing_is_left, queue_is, queuing};
use test_support::locks::waiters;
use test_support::process::End;
use test_support::{departure, wait_until};

#[test]
fn it_excludes_those_who_lock_without_turns_and_the_other_way_round() {
    departure(WHY, |lab| {
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
                    lab.sh(format!("{holds} l {asks} -n l true; echo $?"))
                        .expect_err("")
                        .expect_out(status);
                    lab.sh(format!("exec 8<>l 9<>l; {holds} 8; {asks} -n 9; echo $?"))
                        .expect_err("")
                        .expect_out(status);
                }
            }
        }
    });
}

#[test]
fn somebody_without_a_turn_may_come_in_between_but_never_at_the_same_time() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut waiter = holder_to_be(lab, &["--fair"]);
        let plain = lab.start_flock(["l", "sh", "-c", "flock -n l true; echo $?; read x"]);
        wait_until("both wait in the kernel", || waiters(lab.file("l")) == 2);
        queue_is(lab, 1);
        holder.let_go();
        // In whichever order.
        let mut plain = plain;
        plain.hush();
        let words = ["--fair", "l", "echo", "behind"];
        let mut behind = lab.start_flock(words);
        waiter.hears("held");
        waiter.let_go();
        behind.hears("behind");
        plain.hears("1");
        assert_eq!(plain.end(), End::Exited(1));
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn one_that_waits_for_its_turn_keeps_out_nobody_who_does_not() {
    departure(WHY, |lab| {
        let reader = lab.hold(&["-s"], "l");
        let waiter = queuing(lab, ["--fair", "l", "true"]);
        lab.run(["-ns", "l", "true"]).expect_code(0);
        lab.run(["-n", "l", "true"]).expect_code(1);
        lab.run(["-w0.01", "l", "true"]).expect_code(1);
        queue_is(lab, 1);
        drop(waiter);
        reader.let_go();
        lab.run(["-n", "l", "true"]).expect_code(0);
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn a_place_in_the_queue_is_kept_when_somebody_without_a_turn_was_faster() {
    departure(WHY, |lab| {
        let holder = lab.hold(&[], "l");
        let mut queue = [
            holder_to_be(lab, &["--fair"]),
            holder_to_be(lab, &["--fair"]),
        ];
        let mut plain = lab.start_flock(["l", "sh", "-c", "echo held; read x; exit 0"]);
        wait_until("both wait in the kernel", || waiters(lab.file("l")) == 2);
        holder.let_go();
        // The head of the queue, which was first in the kernel's too; then those two in any order, and order among
        // those who have turns.
        let [first, second] = &mut queue;
        plain.hush();
        first.hears("held");
        first.hush();
        second.hears("held");
        second.hush();
        for waiter in [first, second, &mut plain] {
            assert_eq!(waiter.end(), End::Exited(0));
        }
        nothing_is_left(lab, &[]);
    });
}
