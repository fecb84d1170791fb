//! Those who wait already when the one before them is stopped, and who would be served beside others if he were not
//! there.

use super::{WHY, last_turn, queue_is, queuing};
use test_support::locks::{parent_of, status_field, stopped};
use test_support::process::{Live, send};
use test_support::{Lab, departure, wait_until};

/// One who waits, and one behind who waits for him; then the first is stopped. He goes on when the test ends.
#[track_caller]
fn behind_a_stopped_one<const N: usize>(
    lab: &Lab,
    first: [&str; N],
    second: [&str; N],
) -> (Live, Live) {
    let first = queuing(lab, first);
    let owner = parent_of(last_turn(lab).token);
    let second = queuing(lab, second);
    let behind = parent_of(last_turn(lab).token);
    wait_until("he waits for the one before him", || {
        status_field(behind, "State").starts_with('S')
    });
    assert!(send(owner, libc::SIGSTOP));
    wait_until("the one before him stops", || stopped(owner));
    (first, second)
}

#[test]
fn a_slot_that_is_free_goes_to_whoever_is_behind_a_stopped_one() {
    departure(WHY, |lab| {
        let _goes_on = lab.hold(&["--slots", "2"], "l");
        let ends = lab.hold(&["--slots", "2"], "l");
        let (_stopped, mut behind) = behind_a_stopped_one(
            lab,
            ["--slots", "2", "l", "sh", "-c", "true"],
            ["--slots", "2", "l", "sh", "-c", "echo served"],
        );
        ends.let_go();
        behind.hears("served");
        queue_is(lab, 1);
    });
}

#[test]
fn a_reader_behind_a_stopped_writer_joins_the_readers() {
    departure(WHY, |lab| {
        let _reads_on = lab.hold(&["--fair", "-s"], "l");
        let (_stopped, mut behind) = behind_a_stopped_one(
            lab,
            ["--fair", "-x", "l", "sh", "-c", "true"],
            ["--fair", "-s", "l", "sh", "-c", "echo served"],
        );
        behind.hears("served");
        queue_is(lab, 1);
    });
}
