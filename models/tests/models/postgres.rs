//! A lock in PostgreSQL.

use crate::{are_served, assert_found, explore, is_true, processes};
use models::graph::{Graph, Timers};
use models::postgres::{Mutant, Postgres, State};

/// Whether every waiter gets the lock without delay.
fn is_served_at_once(graph: &Graph<'_, Postgres>) -> bool {
    are_served(graph, Timers::Idle, State::is_waiter, State::is_inside)
}

fn is_clean_in_the_end(graph: &Graph<'_, Postgres>) -> bool {
    is_true(graph.leads_to(
        "no row and no session is left",
        Timers::Idle,
        |_, _| true,
        State::is_over,
        State::is_clean,
    ))
}

/// A statement is lost or late, sessions are terminated, or a process is killed.
#[test]
fn at_most_one_process_holds_the_lock() {
    let model = Postgres {
        is_exchangeable: true,
        ..Postgres::new(2, 3, 1)
    };
    explore(&model, &Postgres::ALWAYS);
}

#[test]
fn waiters_are_served_at_once() {
    let model = Postgres::new(2, 3, 0);
    let graph = explore(&model, &Postgres::ALWAYS);
    assert!(Graph::explore(&model, &Postgres::TIDY).is_ok());
    assert!(is_served_at_once(&graph));
    assert!(is_clean_in_the_end(&graph));
}

/// A waiter is stopped and continued. `make soak` has a fault besides.
#[test]
fn stopped_waiters_are_passed() {
    let model = Postgres {
        stops: 1,
        ..Postgres::new(2, 3, 0)
    };
    let graph = explore(&model, &[&Postgres::ALWAYS[..], &Postgres::TIDY].concat());
    assert!(is_served_at_once(&graph));
    assert!(is_clean_in_the_end(&graph));
    if processes() > 3 {
        let with_faults = Postgres { faults: 1, ..model };
        let model = Postgres {
            is_exchangeable: true,
            ..with_faults
        };
        explore(&model, &Postgres::ALWAYS);
        let model = Postgres {
            is_reachable: true,
            ..with_faults
        };
        let graph = explore(&model, &Postgres::ALWAYS);
        assert!(are_served(
            &graph,
            Timers::Fire,
            State::is_waiter,
            State::is_holder
        ));
    }
}

/// One of three, each of which arrives once. `make soak` stops three times, or terminates a session.
#[test]
fn several_stopped_waiters_are_passed() {
    let model = Postgres {
        stops: 1,
        is_brief: true,
        ..Postgres::new(3, 3, 0)
    };
    let graph = explore(&model, &[&Postgres::ALWAYS[..], &Postgres::TIDY].concat());
    assert!(is_served_at_once(&graph));
    assert!(is_clean_in_the_end(&graph));
    if processes() > 3 {
        for (faults, stops) in [(0, 3), (1, 1)] {
            let model = Postgres {
                faults,
                stops,
                is_reachable: true,
                is_exchangeable: true,
                ..model
            };
            explore(&model, &Postgres::ALWAYS);
        }
    }
}

/// These take too long for every test run.
#[test]
fn vanished_holders_are_replaced() {
    if processes() == 3 {
        return;
    }
    let graph = Postgres::new(2, 3, 1);
    let graph = explore(&graph, &Postgres::ALWAYS);
    // An answer may take longer than the time to live.
    assert!(are_served(
        &graph,
        Timers::Fire,
        State::is_waiter,
        State::is_holder
    ));
    for (processes, faults, is_brief) in [(2, 2, false), (3, 0, false), (3, 1, true)] {
        let model = Postgres {
            is_brief,
            is_exchangeable: true,
            ..Postgres::new(processes, 3, faults)
        };
        explore(&model, &Postgres::ALWAYS);
    }
}

#[test]
fn mutants_are_found() {
    for (mutant, faults) in [
        (Mutant::TokenUnlocked, 0),
        (Mutant::DeleteAtOnce, 1),
        (Mutant::IgnoreMarker, 1),
        (Mutant::IgnoreGrant, 1),
        (Mutant::RenewAnyMarker, 1),
        (Mutant::CountFromAnswer, 1),
        (Mutant::GrantUnstored, 1),
        (Mutant::NoteAnyMarker, 2),
        (Mutant::KeepSighting, 2),
    ] {
        let model = Postgres {
            mutant,
            is_reachable: faults == 2,
            is_exchangeable: true,
            ..Postgres::new(2, 3, faults)
        };
        assert_found(&model, &Postgres::ALWAYS);
    }
    for (mutant, faults) in [
        (Mutant::MoveRunning, 0),
        (Mutant::KeepMark, 0),
        (Mutant::TrustPart, 0),
        (Mutant::TrustLateMark, 1),
    ] {
        let model = Postgres {
            mutant,
            stops: 1,
            is_exchangeable: true,
            ..Postgres::new(2, 3, faults)
        };
        assert_found(&model, &Postgres::ALWAYS);
    }
    let with = |mutant| Postgres {
        mutant,
        stops: u8::from(mutant == Mutant::NoMark),
        ..Postgres::new(2, 3, 0)
    };
    assert_found(&with(Mutant::NoRelease), &Postgres::TIDY);
    for mutant in [Mutant::WaitUnread, Mutant::NoMark] {
        let model = with(mutant);
        let graph = explore(&model, &[]);
        assert!(!is_served_at_once(&graph));
    }
}
