//! The lease of a lock elsewhere.

use std::collections::BTreeSet;

use crate::{assert_found, explore, is_true, processes};
use models::graph::Timers;
use models::lease::{FLOCK, Lease, Mutant, SUPERVISOR, TIMEKEEPER};

/// Any of the processes that watch over the lease is killed or stopped.
#[test]
fn the_command_is_dead_before_the_lease_ends() {
    let model = Lease::new(1);
    let graph = explore(&model, &Lease::ALWAYS);
    assert!(is_true(graph.leads_to(
        "without renewals, the lock and the command end",
        Timers::Fire,
        |_, _| true,
        |state| state.is_granted(),
        |state| state.is_over(),
    )));
    let stopped = graph.path_to(|state| state.is_granted_to_stopped());
    assert!(stopped.is_some(), "the manual says that it is possible");
}

/// These are the faults that the manual does not promise anything for. `make soak` checks that there
/// are no others.
#[test]
fn two_faults_may_let_the_command_outlive_the_lease() {
    if processes() == 3 {
        return assert_found(&Lease::new(2), &Lease::ALWAYS);
    }
    let model = Lease::new(2);
    let graph = explore(&model, &[]);
    let overlapping = graph.states().iter().filter(|state| state.is_overlapping());
    let faults: BTreeSet<_> = overlapping
        .map(|state| (state.killed, state.was_stopped))
        .collect();
    let (flock, supervisor, timekeeper) = (1 << FLOCK, 1 << SUPERVISOR, 1 << TIMEKEEPER);
    let known = BTreeSet::from([
        (flock | supervisor, 0),
        (supervisor, flock),
        (timekeeper, flock),
        (0, flock | timekeeper),
    ]);
    assert_eq!(faults, known);
}

#[test]
fn mutants_are_found() {
    for mutant in [
        Mutant::CountFromAnswer,
        Mutant::NoMargin,
        Mutant::MarginOfClocksOnly,
        Mutant::NoKill,
        Mutant::NoTimekeeper,
        Mutant::NoSecondClock,
        Mutant::StartUnchecked,
        Mutant::NotAdopted,
        Mutant::ReleaseBeforeRest,
        Mutant::NotMarked,
    ] {
        let model = Lease {
            mutant,
            ..Lease::new(1)
        };
        assert_found(&model, &Lease::ALWAYS);
    }
}
