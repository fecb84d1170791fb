//! A lock elsewhere that is tied to a descriptor.

use std::collections::BTreeSet;

use crate::{assert_found, explore, is_true, processes};
use models::graph::{Counterexample, Graph, Timers};
use models::handle::{DEPUTY, FLOCK, Handle, Mutant, Place, State, TIMEKEEPER, UNLOCK};

/// Checks that no guard is left behind.
fn guards_exit(graph: &Graph<'_, Handle>) -> Result<(), Counterexample<State>> {
    graph.leads_to(
        "no guard is left when no process has the descriptor, also if one was stopped",
        Timers::Fire,
        |_, _| true,
        |state| !state.is_held() && !state.is_alive(FLOCK) && !state.has_stopped_forever(),
        |state| !state.has_guards(),
    )
}

/// Checks that the time need not run out for a release.
fn released_at_once(graph: &Graph<'_, Handle>) -> Result<(), Counterexample<State>> {
    graph.leads_to(
        "the lock is released at once, also if a guard was stopped before",
        Timers::Idle,
        |_, _| true,
        |state| {
            let has_caller = state.is_alive(FLOCK) || state.is_alive(UNLOCK);
            !state.is_held() && !has_caller && !state.has_late_stop()
        },
        State::is_released,
    )
}

/// Any process that watches over the lock is killed or stopped, and the system may lose the lock.
#[test]
fn the_script_is_dead_before_the_lease_ends() {
    let model = Handle {
        is_lost: true,
        ..Handle::new(1)
    };
    let graph = explore(&model, &Handle::ALWAYS);
    let may_step = |_: &_, _| true;
    assert!(is_true(graph.leads_to(
        "the lock is released when no process has the descriptor",
        Timers::Fire,
        may_step,
        |state| !state.is_held() && !state.is_alive(FLOCK) && !state.is_alive(UNLOCK),
        |state| state.is_released(),
    )));
    assert!(is_true(guards_exit(&graph)));
    assert!(is_true(released_at_once(&graph)));
    let early = graph.path_to(|state| state.has_returned_early());
    assert!(early.is_some(), "if the helper is killed meanwhile");
    let stays = graph.path_to(|state| {
        let is_last = state.place(TIMEKEEPER) == Place::Exit && !state.is_alive(DEPUTY);
        is_last && state.has_stopped_forever() && !state.is_held()
    });
    assert!(stays.is_some(), "if it is stopped as it exits");
}

/// These are the faults that the documents do not promise anything for: the timekeeper and the deputy
/// are killed or stopped. A deputy that has become the timekeeper counts as that. `make soak` checks
/// that there are no others.
#[test]
fn two_guards_are_needed() {
    if processes() == 3 {
        return assert_found(&Handle::new(2), &Handle::ALWAYS[..1]);
    }
    let model = Handle::new(2);
    let graph = explore(&model, &[]);
    let overlapping = graph.states().iter().filter(|state| state.is_overlapping());
    let faults: BTreeSet<_> = overlapping
        .map(|state| (state.killed, state.was_stopped))
        .collect();
    let (timekeeper, deputy) = (1 << TIMEKEEPER, 1 << DEPUTY);
    let known = BTreeSet::from([
        (timekeeper, 0),
        (timekeeper, timekeeper),
        (timekeeper, deputy),
        (deputy, timekeeper),
        (timekeeper | deputy, 0),
        (0, timekeeper | deputy),
    ]);
    assert_eq!(faults, known);
}

#[test]
fn mutants_of_handles_are_found() {
    for mutant in [
        Mutant::TellUnchecked,
        Mutant::MarkLate,
        Mutant::TakeBeforeStore,
        Mutant::NoSuccessor,
        Mutant::TrustWatcher,
        Mutant::NoAnswer,
        Mutant::NoSecondClock,
        Mutant::KillOnce,
        Mutant::KillDeputyFirst,
    ] {
        let model = Handle {
            mutant,
            is_lost: mutant == Mutant::TakeBeforeStore,
            ..Handle::new(1)
        };
        assert_found(&model, &Handle::ALWAYS);
    }
}

/// A deputy that is stopped during the release would stay.
#[test]
fn a_deputy_that_is_left_is_found() {
    let model = Handle {
        mutant: Mutant::LeaveDeputy,
        ..Handle::new(1)
    };
    let graph = explore(&model, &Handle::ALWAYS);
    assert!(!is_true(guards_exit(&graph)));
}

/// A timekeeper that is stopped would not release the lock before the deputy looks at the clock.
#[test]
fn a_timekeeper_that_is_left_is_found() {
    let model = Handle {
        mutant: Mutant::LeaveTimekeeper,
        ..Handle::new(1)
    };
    let graph = explore(&model, &Handle::ALWAYS);
    assert!(!is_true(released_at_once(&graph)));
}
