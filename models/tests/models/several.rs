//! Locks on two files.

use crate::{assert_found, explore, is_true, processes};
use models::graph::{Graph, Timers};
use models::several::{Mutant, Several, State};

/// Whether every waiter gets all locks without the help of others than holders of a lock. Files
/// that are replaced time after time may keep it from that.
fn is_served(model: &Several, graph: &Graph<'_, Several>) -> bool {
    (0..model.processes).all(|waiter| {
        is_true(graph.leads_to(
            "a waiter gets all locks",
            Timers::Idle,
            |state, process| state.depends_on(waiter, process),
            |state| state.is_waiter(waiter.into()),
            |state| state.is_holder(waiter.into()),
        ))
    })
}

fn check(model: &Several) {
    let graph = explore(model, &Several::ALWAYS);
    assert!(is_served(model, &graph));
    let mut over = graph.states().iter().filter(|state| state.is_over());
    assert!(over.all(State::is_clean), "all files are closed");
}

#[test]
fn holders_exclude_each_other_and_do_not_deadlock() {
    check(&Several::new(processes() as u8, 2));
}

#[test]
fn replaced_files_keep_the_order() {
    check(&Several::new(3, 4));
}

#[test]
fn a_file_replaced_while_locked_has_two_holders() {
    let model = Several::new(2, 3);
    let graph = explore(&model, &Several::ALWAYS);
    assert!(graph.path_to(|state| state.holders() == 2).is_some());
}

#[test]
fn mutants_are_found() {
    let model = |mutant, inodes| Several {
        mutant,
        with_one_path: None,
        ..Several::new(2, inodes)
    };
    assert_found(&model(Mutant::NoComparison, 4), &Several::ALWAYS);
    for (mutant, inodes) in [(Mutant::OrderOfPaths, 2), (Mutant::KeepOtherLock, 4)] {
        let model = model(mutant, inodes);
        let graph = explore(&model, &[]);
        assert!(!is_served(&model, &graph), "{mutant:?}");
    }
    let model = Several {
        mutant: Mutant::OneNameCompared,
        ..Several::new(2, 3)
    };
    assert_found(&model, &Several::ALWAYS);
}
