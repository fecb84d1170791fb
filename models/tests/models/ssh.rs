//! A lock on another machine, by ssh.

use crate::{assert_found, explore, is_true};
use models::graph::{Graph, Timers};
use models::ssh::{Mutant, Ssh, State};

/// Whether every waiter gets the lock.
fn is_served(graph: &Graph<'_, Ssh>, timers: Timers) -> bool {
    (0..2).all(|waiter| {
        is_true(graph.leads_to(
            "a waiter gets the lock",
            timers,
            |_, _| true,
            |state| state.is_waiter(waiter),
            |state| state.is_inside(waiter),
        ))
    })
}

/// Whether nothing is left on the other machine.
fn is_clean_in_the_end(graph: &Graph<'_, Ssh>, timers: Timers) -> bool {
    is_true(graph.leads_to(
        "nothing is left on the other machine",
        timers,
        |_, _| true,
        State::is_over,
        State::is_clean,
    ))
}

/// Whether what waits for a client leaves the queue when the connection ends.
fn do_waiters_leave(graph: &Graph<'_, Ssh>) -> bool {
    is_true(graph.leads_to(
        "a waiter whose connection has ended leaves the queue",
        Timers::Idle,
        |_, _| true,
        |state| state.is_abandoned(0),
        |state| state.has_no_holder(0),
    ))
}

/// A connection ends, a process is killed, or the other machine is restarted.
#[test]
fn commands_exclude_each_other() {
    let model = Ssh {
        is_exchangeable: true,
        ..Ssh::new(2, 3, 1)
    };
    let graph = explore(&model, &Ssh::ALWAYS);
    assert!(is_clean_in_the_end(&graph, Timers::Fire));
    assert!(do_waiters_leave(&graph));
}

#[test]
fn waiters_are_served_at_once() {
    let model = Ssh::new(2, 3, 0);
    let graph = explore(&model, &Ssh::ALWAYS);
    assert!(is_served(&graph, Timers::Idle));
    assert!(is_clean_in_the_end(&graph, Timers::Idle));
}

#[test]
fn mutants_are_found() {
    for (mutant, faults) in [
        (Mutant::CountFromAnswer, 0),
        (Mutant::CountLastSent, 0),
        (Mutant::NoExtraTime, 0),
        (Mutant::ReleaseAtEnd, 1),
        (Mutant::GuardLast, 1),
        (Mutant::NoGuard, 1),
        (Mutant::GrantEarly, 1),
        (Mutant::KeepSocket, 0),
    ] {
        let model = Ssh {
            mutant,
            renewals: 1 + usize::from(mutant == Mutant::CountLastSent),
            is_exchangeable: true,
            ..Ssh::new(2, 3, faults)
        };
        assert_found(&model, &Ssh::ALWAYS);
    }
    let model = Ssh {
        mutant: Mutant::QueueOn,
        ..Ssh::new(1, 3, 1)
    };
    let graph = explore(&model, &[]);
    assert!(!do_waiters_leave(&graph));
}
