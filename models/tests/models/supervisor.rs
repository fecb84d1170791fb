//! The supervisor of `loto` and `runlock`.

use crate::{assert_found, explore, is_true};
use models::graph::{Graph, Timers};
use models::supervisor::{Mutant, SUPERVISOR, Supervisor};

#[test]
fn the_lock_outlasts_the_command() {
    let model = Supervisor {
        kills: 4,
        mutant: Mutant::Correct,
    };
    let graph = explore(&model, &model.always());
    let over = graph.path_to(|state| state.is_orphaned() && !state.is_broken());
    assert!(over.is_none(), "{over:#?}");
    assert!(is_true(graph.leads_to(
        "all processes exit",
        Timers::Idle,
        |_, _| true,
        |_| true,
        |state| state.is_over(),
    )));
    assert!(is_notified(&graph));
    let both_killed = graph.path_to(|state| state.is_orphaned());
    assert!(
        both_killed.is_some(),
        "with the tool and the supervisor killed together"
    );
}

#[test]
fn mutants_are_found() {
    for mutant in [
        Mutant::LockOfToolOnly,
        Mutant::ExitFirst,
        Mutant::NotAdopted,
    ] {
        let model = Supervisor { kills: 1, mutant };
        assert_found(&model, &model.always());
    }
    let model = Supervisor {
        kills: 1,
        mutant: Mutant::LookFirst,
    };
    assert!(!is_notified(&explore(&model, &[])));
}

/// Whether the supervisor notices by itself that the tool was killed.
fn is_notified(graph: &Graph<'_, Supervisor>) -> bool {
    is_true(graph.leads_to(
        "the supervisor kills the command of a tool that was killed",
        Timers::Idle,
        |_, process| process == SUPERVISOR,
        |state| state.has_lost_tool(),
        |state| !state.has_lost_tool(),
    ))
}
