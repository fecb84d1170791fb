//! `--slots N`: at most so many at once, first come, first served.
//!
//! A slot is a fact of the kernel too: a byte of the lock file, far beyond any data, that is locked by whoever has the
//! descriptor (`test_support::locks::slots`).

mod living;
mod options;
mod others;
mod queue;

use crate::fair::{nothing_is_left, queuing_by};
use test_support::locks::{Slot, slots};
use test_support::process::Live;
use test_support::{Lab, departure, wait_until};

/// Why all of these are departures.
const WHY: &str = "the reference lets in one only, or all";

/// What a holder does: says `held`, and keeps the slot until told [`Live::let_go`].
const HOLD: [&str; 4] = ["l", "sh", "-c", "echo held; read x; exit 0"];

/// Somebody who has one of so many slots.
#[track_caller]
fn hold(lab: &Lab, slots: &str) -> Live {
    lab.hold(&["--slots", slots], "l")
}

/// Somebody who waits for one, and shows his turn.
#[track_caller]
fn holder_to_be(lab: &Lab, options: &[&str]) -> Live {
    queuing_by(lab, lab.flock(options.iter().chain(&HOLD)))
}

/// The slots that are taken.
fn taken(lab: &Lab) -> Vec<Slot> {
    slots(lab.file("l"))
}

/// Waits until so many are taken.
#[track_caller]
fn taken_is(lab: &Lab, count: usize) {
    wait_until("so many slots are taken", || taken(lab).len() == count);
}

/// Asserts what comes of it when somebody wants one of so many at once.
#[track_caller]
fn try_for(lab: &Lab, slots: &str, status: i32) {
    lab.run(["--slots", slots, "-n", "l", "true"])
        .expect_err("")
        .expect_code(status);
}

#[test]
fn as_many_enter_as_there_are_slots_and_no_more() {
    departure(WHY, |lab| {
        for count in [1, 2, 3, 7] {
            let number = count.to_string();
            let mut holders: Vec<Live> = (0..count).map(|_| hold(lab, &number)).collect();
            assert_eq!(taken(lab).len(), count);
            for how in ["-n", "-w0", "-w0.01", "-nE1", "-on", "-Fn"] {
                lab.run(["--slots", &number, how, "l", "true"])
                    .expect_err("")
                    .expect_code(1);
            }
            lab.run(["-nE42", "--slots", &number, "l", "-c", "true"])
                .expect_code(42);
            // Whoever goes, his place is free.
            holders.remove(count / 2).let_go();
            assert_eq!(taken(lab).len(), count - 1);
            try_for(lab, &number, 0);
            holders.push(hold(lab, &number));
            try_for(lab, &number, 1);
            holders.into_iter().for_each(Live::let_go);
            nothing_is_left(lab, &[]);
        }
    });
}

#[test]
fn within_a_slot_the_next_one_is_another_slot() {
    departure(WHY, |lab| {
        lab.run([
            "--slots", "3", "l", "flock", "--slots", "3", "l", "flock", "--slots", "3", "-n", "l",
            "flock", "--slots", "3", "-nE42", "l", "true",
        ])
        .expect_err("")
        .expect_code(42);
        assert_eq!(taken(lab), []);
    });
}

#[test]
fn everybody_counts_those_who_are_in_against_his_own_number() {
    departure(WHY, |lab| {
        let first = hold(lab, "5");
        try_for(lab, "1", 1);
        try_for(lab, "2", 0);
        let second = hold(lab, "2");
        for (number, status) in [("1", 1), ("2", 1), ("3", 0), ("5", 0), ("1000000", 0)] {
            try_for(lab, number, status);
        }
        let third = hold(lab, "1000000");
        try_for(lab, "3", 1);
        try_for(lab, "4", 0);
        first.let_go();
        third.let_go();
        try_for(lab, "1", 1);
        try_for(lab, "2", 0);
        second.let_go();
        try_for(lab, "1", 0);
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn all_enter_for_whom_there_is_room_though_they_come_at_the_same_time() {
    departure(WHY, |lab| {
        std::thread::scope(|scope| {
            for how in ["-x", "-w1000", "-o", "-F"].repeat(2) {
                scope.spawn(move || {
                    for _ in 0..20 {
                        lab.run(["--slots", "8", how, "l", "true"])
                            .expect_err("")
                            .expect_code(0);
                    }
                });
            }
        });
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn whoever_waits_enters_when_anybody_goes() {
    departure(WHY, |lab| {
        for goes in 0..3 {
            let mut holders: Vec<Live> = (0..3).map(|_| hold(lab, "3")).collect();
            let mut waiter = holder_to_be(lab, &["--slots", "3"]);
            assert_eq!(taken(lab).len(), 3);
            holders.remove(goes).let_go();
            waiter.hears("held");
            taken_is(lab, 3);
            waiter.let_go();
            holders.into_iter().for_each(Live::let_go);
            nothing_is_left(lab, &[]);
        }
    });
}

#[test]
fn one_slot_is_a_lock() {
    departure(WHY, |lab| {
        std::fs::write(lab.file("counter"), "0\n").expect("a counter");
        let step = "read n <counter; echo $((n + 1)) >counter";
        std::thread::scope(|scope| {
            for how in ["-x", "-w1000", "-F", "-o"] {
                scope.spawn(move || {
                    for _ in 0..20 {
                        lab.run(["--slots=1", how, "l", "sh", "-c", step])
                            .expect_err("")
                            .expect_code(0);
                    }
                });
            }
        });
        let counter = std::fs::read_to_string(lab.file("counter")).expect("a counter");
        assert_eq!(counter, "80\n");
        nothing_is_left(lab, &[]);
    });
}
