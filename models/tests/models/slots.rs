//! Slots, with equal and with unequal limits.

use crate::{assert_found, explore, is_true, processes};
use models::graph::{Graph, Timers};
use models::slots::{MAX, Mutant, SlotsModel, State};

/// Whether every waiter gets a slot without the help of others than holders.
fn is_served(model: &SlotsModel, graph: &Graph<'_, SlotsModel>, timers: Timers) -> bool {
    (0..model.limits.len() as u8).all(|waiter| {
        is_true(graph.leads_to(
            "a waiter gets a slot",
            timers,
            |state, process| state.depends_on(waiter, process),
            |state| state.is_waiter(waiter.into()),
            |state| state.is_holder(waiter.into()),
        ))
    })
}

fn check(model: &SlotsModel) {
    let graph = explore(model, &SlotsModel::ALWAYS);
    assert!(is_served(model, &graph, Timers::Fire));
    assert!(!graph.states().iter().any(State::is_littered));
    let limit = u32::from(*model.limits.iter().max().expect("a process"));
    let is_full = |state: &State| state.holders().count_ones() == limit;
    assert!(graph.path_to(is_full).is_some(), "all slots are used");
}

#[test]
fn no_more_than_the_limit_hold_slots() {
    check(&SlotsModel::new(&[2; MAX][..processes()]));
    check(&SlotsModel::new(&[1, 1]));
}

#[test]
fn each_process_counts_with_its_own_limit() {
    check(&SlotsModel::new(&[1, 2, 2, 2][..processes()]));
}

#[test]
fn a_late_count_keeps_the_limit() {
    check(&SlotsModel {
        is_late: true,
        ..SlotsModel::new(&[2, 2, 2])
    });
}

/// Without timers, if no process inherits a slot from one that exits.
#[test]
fn the_exit_of_a_holder_is_not_missed() {
    let model = |mutant| SlotsModel {
        is_tidy: true,
        mutant,
        ..SlotsModel::new(&[1, 1, 1])
    };
    for mutant in [Mutant::Correct, Mutant::NoSecondLook] {
        let model = model(mutant);
        let graph = explore(&model, &SlotsModel::ALWAYS);
        let is_correct = mutant == Mutant::Correct;
        assert_eq!(is_served(&model, &graph, Timers::Idle), is_correct);
    }
}

/// A slot that a process has inherited is found free when the timer fires, not before.
#[test]
fn an_inherited_slot_is_noticed_late() {
    let model = SlotsModel::new(&[1, 1]);
    let graph = explore(&model, &SlotsModel::ALWAYS);
    assert!(!is_served(&model, &graph, Timers::Idle));
}

#[test]
fn mutants_are_found() {
    for (mutant, is_late) in [
        (Mutant::CountWithoutLock, false),
        (Mutant::UnlockBeforeTaking, false),
        (Mutant::NoRecount, true),
    ] {
        let model = SlotsModel {
            mutant,
            is_late,
            ..SlotsModel::new(&[2, 2, 2])
        };
        assert_found(&model, &SlotsModel::ALWAYS);
    }
}
