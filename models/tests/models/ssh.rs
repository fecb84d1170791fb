//! A lock on another machine, by ssh.

use crate::{are_served, assert_found, explore, is_true, processes};
use models::graph::{Graph, Timers};
use models::ssh::{Mutant, Ssh, State};

/// Whether every waiter gets the lock.
fn is_served(graph: &Graph<'_, Ssh>, timers: Timers) -> bool {
    are_served(graph, timers, State::is_waiter, State::is_inside)
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

/// A waiter is stopped and continued, but not at the very moment of the grant: then it keeps the lock.
/// Only in `make soak` are waiters renewed, or is there a fault.
#[test]
fn stopped_waiters_are_passed() {
    let with = |renewals, faults| Ssh {
        stops: 1,
        renewals,
        ..Ssh::new(2, 3, faults)
    };
    let always = [&Ssh::ALWAYS[..], &Ssh::IN_STEP].concat();
    let are_passed = |model: &Ssh, timers| {
        let graph = explore(model, &always);
        let waits = |state: &State, waiter| {
            state.is_waiter(waiter) && !state.is_stopped_with_lock(1 - waiter)
        };
        assert!(are_served(&graph, timers, waits, State::is_inside));
        assert!(is_clean_in_the_end(&graph, Timers::Idle));
        let keeps_the_lock = graph.path_to(|state| state.is_stopped_with_lock(0));
        assert!(keeps_the_lock.is_some());
    };
    are_passed(&with(0, 0), Timers::Fire);
    if processes() > 3 {
        are_passed(&with(1, 0), Timers::Idle);
        let model = Ssh {
            is_exchangeable: true,
            ..with(0, 1)
        };
        let graph = explore(&model, &always);
        assert!(is_clean_in_the_end(&graph, Timers::Fire));
    }
}

/// Also of a waiter that is stopped.
#[test]
fn nothing_is_left_after_a_fault() {
    let model = |mutant| Ssh {
        stops: 1,
        mutant,
        ..Ssh::new(1, 3, 1)
    };
    let correct = model(Mutant::Correct);
    let graph = explore(&correct, &[&Ssh::ALWAYS[..], &Ssh::IN_STEP].concat());
    assert!(is_clean_in_the_end(&graph, Timers::Fire));
    assert!(do_waiters_leave(&graph));
    assert_found(&model(Mutant::StopOnce), &Ssh::IN_STEP);
    assert_found(&model(Mutant::NoContinue), &Ssh::IN_STEP);
    let mutant = model(Mutant::StayStopped);
    let graph = explore(&mutant, &[]);
    assert!(!is_clean_in_the_end(&graph, Timers::Fire));
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
