//! `--fair` together with `--also` and `--unlink`, with lock files that are replaced, and with locks of other kinds.

use super::{WHY, holder_to_be, nothing_is_left, queue_is, queuing};
use test_support::locks::{locks_on, turns, waiters};
use test_support::process::End;
use test_support::{Lab, departure, wait_until};

#[test]
fn several_files_are_queued_for_and_had_together() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let script = "for f in a l; do flock -n $f true; echo $?; done";
        let words = ["--fair", "--also", "a", "l", "sh", "-c", script];
        let mut first = queuing(lab, words);
        let words = ["--fair", "--also", "l", "b", "echo", "second"];
        let mut second = queuing(lab, words);
        for how in ["-n", "-w0.01"] {
            lab.run(["--fair", how, "-E42", "--also", "a", "l", "true"])
                .expect_code(42);
        }
        queue_is(lab, 2);
        holder.let_go();
        first.hears("1");
        first.hears("1");
        second.hears("second");
        for waiter in [&mut first, &mut second] {
            assert_eq!(waiter.end(), End::Exited(0));
        }
        nothing_is_left(lab, &[]);
        for file in ["a", "b"] {
            assert!(locks_on(lab.file(file)).is_empty(), "{file}");
        }
    });
}

#[test]
fn those_who_name_several_in_another_order_never_wait_in_a_circle() {
    departure(WHY, |lab| {
        let orders = [
            ["a", "b", "l"],
            ["l", "b", "a"],
            ["b", "l", "a"],
            ["b", "a", "l"],
        ];
        std::fs::write(lab.file("counter"), "0\n").expect("a counter");
        let step = "read n <counter; echo $((n + 1)) >counter";
        std::thread::scope(|scope| {
            for [one, two, three] in orders {
                scope.spawn(move || {
                    for _ in 0..15 {
                        let words = [
                            "--fair", "--also", one, "--also", two, three, "sh", "-c", step,
                        ];
                        lab.run(words).expect_err("").expect_code(0);
                    }
                });
            }
        });
        let counter = std::fs::read_to_string(lab.file("counter")).expect("a counter");
        assert_eq!(counter, "60\n");
        for file in ["a", "b", "l"] {
            assert!(locks_on(lab.file(file)).is_empty(), "{file}");
        }
    });
}

#[test]
fn a_lock_file_that_is_to_go_goes_with_the_last_of_the_queue() {
    departure(WHY, |lab| {
        std::fs::write(lab.file("count"), "0\n").expect("a file");
        let step = "[ -e l ] || echo gone; mkdir alone || echo two; read n <count; echo $((n + 1)) >count; rmdir alone";
        let holder = lab.hold(&["--fair", "--unlink"], "l");
        let mut queue: Vec<_> = (0..6)
            .map(|_| queuing(lab, ["--fair", "--unlink", "l", "sh", "-c", step]))
            .collect();
        holder.let_go();
        for waiter in &mut queue {
            assert_eq!(waiter.end(), End::Exited(0));
            let silence = waiter.until("\n").expect_err("nothing is said");
            assert!(silence.ends_with("heard: \"\""), "{silence}");
        }
        let count = std::fs::read_to_string(lab.file("count")).expect("a file");
        assert_eq!(count, "6\n");
        assert_eq!(lab.names(), ["count"]);
    });
}

/// A command that says whether the file that it holds is the one that the path names.
const SAME: &str = "for f in /proc/$$/fd/*; do [ $f -ef l ] && same=same; done; echo ${same-other}";

#[test]
fn those_who_queue_at_a_file_that_is_replaced_queue_at_the_new_one() {
    departure(WHY, |lab| {
        for change in [": >new; mv new l", "rm l", "rm l; ln -s new l"] {
            let holder = lab.hold(&["--fair"], "l");
            let mut queue = [
                queuing(lab, ["--fair", "l", "sh", "-c", SAME]),
                queuing(lab, ["--fair", "-w1000", "-s", "l", "sh", "-c", SAME]),
                queuing(lab, ["--fair", "-F", "l", "sh", "-c", SAME]),
            ];
            lab.sh(format!("ln l old; {change}")).expect_code(0);
            holder.let_go();
            for waiter in &mut queue {
                waiter.hears("same");
                assert_eq!(waiter.end(), End::Exited(0), "{change}");
            }
            assert!(locks_on(lab.file("old")).is_empty());
            nothing_is_left(lab, &[]);
            lab.sh("rm -f l old new").expect_code(0);
        }
    });
}

#[test]
fn there_is_one_timeout_for_the_old_file_and_the_new_one() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut waiter = queuing(lab, ["--fair", "-w1", "-E42", "l", "true"]);
        lab.sh("mv l old").expect_code(0);
        let newer = lab.hold(&["--fair"], "l");
        holder.let_go();
        // It waits at the new one now, or its time is up already.
        assert_eq!(waiter.end(), End::Exited(42));
        assert!(locks_on(lab.file("old")).is_empty());
        assert_eq!(turns(lab.file("l")), []);
        newer.let_go();
        nothing_is_left(lab, &[]);
    });
}

/// Somebody has locked the whole file by fcntl(2), where the turns are too.
#[track_caller]
fn works_without_turns(lab: &Lab, foreign: &[&str]) {
    let foreigner = lab.hold(foreign, "l");
    lab.run(["--fair", "-n", "l", "echo", "ran"])
        .expect_code(0)
        .expect_err("")
        .expect_out("ran\n");
    let holder = lab.hold(&["--fair"], "l");
    lab.run(["--fair", "-n", "l", "true"]).expect_code(1);
    lab.run(["--fair", "-w0.01", "l", "true"]).expect_code(1);
    lab.sh("exec 8<>l; flock --fair -w0.01 8; echo $?; flock --fair -ns 8; echo $?")
        .expect_err("")
        .expect_out("1\n1\n");
    let mut waiter = lab.start_flock(["--fair", "-w1000", "l", "echo", "got"]);
    waiter.lives_until("it waits", || waiters(lab.file("l")) == 1);
    holder.let_go();
    waiter.hears("got");
    assert_eq!(waiter.end(), End::Exited(0));
    foreigner.let_go();
    nothing_is_left(lab, &[]);
}

#[test]
fn beside_a_lock_of_another_kind_on_the_whole_file_it_works_without_turns() {
    departure(WHY, |lab| works_without_turns(lab, &["--fcntl"]));
}

#[test]
fn beside_a_shared_lock_of_another_kind_on_the_whole_file_it_works_too() {
    departure(WHY, |lab| {
        let foreigner = lab.hold(&["--fcntl", "-s"], "l");
        lab.run(["--fair", "-n", "l", "echo", "ran"])
            .expect_code(0)
            .expect_out("ran\n");
        let holder = lab.hold(&["--fair"], "l");
        lab.run(["--fair", "-n", "l", "true"]).expect_code(1);
        lab.run(["--fair", "-w0.01", "l", "true"]).expect_code(1);
        let mut waiter = lab.start_flock(["--fair", "l", "echo", "got"]);
        waiter.lives_until("it waits", || waiters(lab.file("l")) == 1);
        holder.let_go();
        waiter.hears("got");
        assert_eq!(waiter.end(), End::Exited(0));
        foreigner.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn that_there_are_no_turns_is_told_to_who_wants_to_know() {
    departure(WHY, |lab| {
        let _foreigner = lab.hold(&["--fcntl"], "l");
        let outcome = lab
            .run(["--fair", "--verbose", "l", "echo", "ran"])
            .expect_code(0);
        assert!(outcome.out().ends_with("\nran\n"), "{outcome:?}");
        let said = outcome.err();
        assert!(
            said.starts_with("flock: ") && said.ends_with('\n'),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
        lab.run(["--fair", "l", "true"])
            .expect_err("")
            .expect_out("");
        lab.run(["--verbose", "l", "true"]).expect_err("");
    });
}

#[test]
fn locks_of_other_kinds_on_the_data_are_in_nobodys_way() {
    departure(WHY, |lab| {
        let foreigner = lab.hold(&["--start", "0", "--length", "1G"], "l");
        let holder = lab.hold(&["--fair"], "l");
        let mut first = holder_to_be(lab, &["--fair"]);
        let mut second = holder_to_be(lab, &["--fair"]);
        // Neither are turns in theirs.
        lab.run(["-n", "--start", "1G", "--length", "1G", "l", "true"])
            .expect_code(0);
        lab.run(["-n", "--fair", "l", "true"]).expect_code(1);
        holder.let_go();
        first.hears("held");
        queue_is(lab, 1);
        first.let_go();
        second.hears("held");
        second.let_go();
        foreigner.let_go();
        wait_until("nobody waits", || turns(lab.file("l")).is_empty());
    });
}
