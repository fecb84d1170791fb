//! The order, when nothing gets in its way.

use super::crowd::Crowd;
use super::{WHY, holder_to_be, nothing_is_left, queue_is, queuing};
use test_support::departure;
use test_support::locks::{turns, waiters};
use test_support::process::End;

/// The ways to want an exclusive lock on a path.
const WAYS: [&[&str]; 6] = [
    &["--fair"],
    &["-x", "--fair"],
    &["--fair", "-w1000"],
    &["--fair", "-F"],
    &["-o", "--fair"],
    &["-ow", "1000", "--fair"],
];

#[test]
fn fifty_are_served_in_the_order_in_which_they_came() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut crowd = Crowd::new(lab);
        for number in 0..50 {
            crowd.joins(WAYS[number % WAYS.len()]);
        }
        holder.let_go();
        crowd.end_well(0..50);
        assert_eq!(crowd.order(), Vec::from_iter(0..50));
        nothing_is_left(lab, &crowd.tokens());
    });
}

#[test]
fn whoever_holds_the_lock_without_having_asked_for_a_turn_does_not_matter() {
    departure(WHY, |lab| {
        for how in ["-x", "-s"] {
            let _ = std::fs::remove_file(lab.file("order"));
            let holder = lab.hold(&[how], "l");
            let mut crowd = Crowd::new(lab);
            crowd.join(10, &["--fair"]);
            holder.let_go();
            crowd.end_well(0..10);
            assert_eq!(crowd.order(), Vec::from_iter(0..10));
        }
    });
}

/// The ways to want the lock on a descriptor, or under one, in a script.
const SCRIPTS: [&str; 6] = [
    "exec 8>>l; flock --fair 8 || exit; NOTE",
    "exec 8<l; flock --fair -x 8 || exit; NOTE",
    "(flock --fair -w 1000 9 || exit; NOTE) 9<>l",
    "exec 8>>l; flock --fair --fd 8 sh -c 'NOTE'",
    "exec 8>>l; exec flock --fair -F --fd 8 sh -c 'NOTE'",
    "flock --fair l -c 'NOTE'",
];

#[test]
fn scripts_are_served_in_the_order_in_which_they_came() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut crowd = Crowd::new(lab);
        for number in 0..30 {
            crowd.joins_by_shell(SCRIPTS[number % SCRIPTS.len()]);
        }
        holder.let_go();
        crowd.end_well(0..30);
        assert_eq!(crowd.order(), Vec::from_iter(0..30));
        nothing_is_left(lab, &crowd.tokens());
    });
}

#[test]
fn readers_and_writers_are_served_in_the_order_in_which_they_came() {
    departure(WHY, |lab| {
        // Those of a group of readers may enter in any order, but none of them before or after its time.
        let queue = "xssxxsssxsxsssssxxxssx";
        let holder = lab.hold(&["--fair"], "l");
        let mut crowd = Crowd::new(lab);
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (number, mode) in queue.char_indices() {
            crowd.joins(&["--fair", if mode == 's' { "-s" } else { "-x" }]);
            match groups.last_mut() {
                Some(group) if queue[number - 1..].starts_with("ss") => group.push(number),
                _ => groups.push(vec![number]),
            }
        }
        holder.let_go();
        crowd.end_well(0..queue.len());
        let order = crowd.order();
        let mut rest = &order[..];
        for group in groups {
            let (mut served, later) = rest.split_at(group.len().min(rest.len()));
            let mut sorted = served.to_vec();
            sorted.sort_unstable();
            served = &sorted;
            assert_eq!(served, group, "{order:?}");
            rest = later;
        }
        assert_eq!(rest, [0; 0], "{order:?}");
        nothing_is_left(lab, &crowd.tokens());
    });
}

#[test]
fn a_turn_tells_what_is_waited_for_and_the_first_one_waits_in_the_kernel() {
    use fdlock::lock::Mode;
    departure(WHY, |lab| {
        let holder = lab.hold(&[], "l");
        let queue = [
            holder_to_be(lab, &["--fair"]),
            holder_to_be(lab, &["--fair", "-s"]),
            holder_to_be(lab, &["--fair", "-s"]),
            holder_to_be(lab, &["--fair", "-x"]),
        ];
        let modes: Vec<Mode> = turns(lab.file("l")).iter().map(|turn| turn.mode).collect();
        let wanted = [Mode::Exclusive, Mode::Shared, Mode::Shared, Mode::Exclusive];
        assert_eq!(modes, wanted);
        test_support::wait_until("the first one waits", || waiters(lab.file("l")) == 1);
        holder.let_go();
        for mut waiter in queue {
            waiter.hears("held");
            waiter.let_go();
        }
    });
}

#[test]
fn whoever_comes_when_nobody_holds_and_nobody_waits_gets_the_lock_and_takes_no_turn() {
    departure(WHY, |lab| {
        for how in ["-x", "-s", "-n", "-w0", "-w1000", "-o", "-F"] {
            let holder = lab.hold(&["--fair", how], "l");
            assert_eq!(turns(lab.file("l")), [], "{how}");
            holder.let_go();
        }
        lab.sh("exec 8>l; flock --fair 8; flock -n l true; echo $?; flock --fair -u 8; flock -n l true; echo $?")
            .expect_err("")
            .expect_out("1\n0\n");
    });
}

#[test]
fn whoever_is_served_is_in_the_queue_no_more() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut first = holder_to_be(lab, &["--fair"]);
        let mut second = queuing(lab, ["--fair", "l", "echo", "done"]);
        queue_is(lab, 2);
        holder.let_go();
        first.hears("held");
        queue_is(lab, 1);
        first.let_go();
        second.hears("done");
        assert_eq!(second.end(), End::Exited(0));
        nothing_is_left(lab, &[]);
    });
}
