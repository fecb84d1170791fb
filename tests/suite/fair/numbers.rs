//! Slots of processes that have the same number, each in a pid namespace of its own, as the first process of a container has.

use std::collections::BTreeSet;

use crate::lab::kernel::{locks_on, waiters};
use crate::lab::live::Live;
use crate::lab::{Lab, departure, may_unshare, wait_until};

/// The slots that can be told apart, and so counted.
fn distinct_slots(lab: &Lab) -> usize {
    let locks = locks_on(lab.file("l")).into_iter();
    let slots = locks.filter(|lock| lock.kind == "OFDLCK" && lock.range.0 == lock.range.1);
    slots
        .map(|slot| slot.range.0)
        .collect::<BTreeSet<_>>()
        .len()
}

#[test]
fn processes_of_one_number_that_come_in_the_same_moment_have_a_slot_each() {
    departure("the reference has no slots", |lab| {
        if !may_unshare(lab, "-pf") {
            return;
        }
        // With the fault, one round in ten or so has two with one slot between them, and then one too many is let in.
        for _ in 0..60 {
            let gate = lab.hold(&[], "gate");
            let mut all: Vec<Live> = (0..12)
                .map(|_| {
                    let mut shell = lab.command("unshare");
                    // One that comes while all others count may be refused.
                    let script = "exec 9>gate; flock -s 9; flock --slots 12 -n l \
                                  sh -c 'echo held; read x; exit 0' || echo refused";
                    shell.args(["-pf", "sh", "-c", script]);
                    lab.start(shell)
                })
                .collect();
            wait_until("all are at the gate", || waiters(lab.file("gate")) == 12);
            gate.let_go();
            let held = all
                .iter_mut()
                .filter_map(|one| (one.line() == "held").then_some(()));
            let held = held.count();
            assert!(held > 0);
            assert_eq!(distinct_slots(lab), held, "slots of those who run");
            for one in all {
                one.let_go();
            }
        }
    });
}
