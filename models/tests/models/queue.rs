//! The fair queue: writers, readers, and processes that do not queue.

use crate::{assert_found, explore, is_true, processes};
use models::graph::{Graph, Timers};
use models::queue::{
    Client::{Forger, Ghost, Plain, Reader, Writer},
    Mutant, Queue, State,
};

/// Whether every waiter that is not stopped gets the lock, unless a stopped process holds it.
fn is_served(model: &Queue, graph: &Graph<'_, Queue>, timers: Timers) -> bool {
    (0..model.clients.len()).all(|waiter| {
        is_true(graph.leads_to(
            "a waiter gets the lock",
            timers,
            |_, _| true,
            |state| {
                state.is_waiter(waiter) && !state.is_stopped(waiter) && !state.is_lock_stopped()
            },
            |state| state.is_holder(waiter),
        ))
    })
}

fn check(model: &Queue) {
    let graph = explore(model, &Queue::ALWAYS);
    assert!(is_served(model, &graph, Timers::Fire));
    let mut over = graph.states().iter().filter(|state| state.is_over());
    assert!(over.all(State::is_clean), "no marker or sentinel is left");
}

/// Without timers, if no process is stopped, the lock is handed over at once and in order.
#[test]
fn waiters_are_served_in_order_of_arrival() {
    for clients in [&[Writer, Writer, Writer], &[Writer, Reader, Reader]] {
        let model = Queue {
            timers: false,
            stops: false,
            ..Queue::new(clients)
        };
        let graph = explore(&model, &Queue::IN_ORDER);
        assert!(is_served(&model, &graph, Timers::Idle));
    }
}

#[test]
fn plain_locks_do_not_starve_the_queue() {
    check(&Queue::new(&[Writer, Plain]));
    check(&Queue {
        stops: false,
        ..Queue::new(&[Writer, Reader, Plain])
    });
}

/// A stopped waiter is passed. Timers may be needed for that.
#[test]
fn stopped_waiters_are_passed() {
    check(&Queue::new(&[Writer, Reader]));
    check(&Queue {
        arrivals: Some(processes() as u8),
        ..Queue::new(&[Writer, Writer, Reader])
    });
}

/// Without timers, a marker that is visibly forged is ignored.
#[test]
fn forged_markers_are_passed() {
    let model = Queue {
        timers: false,
        stops: false,
        ..Queue::new(&[Writer, Reader, Forger])
    };
    let graph = explore(&model, &Queue::IN_ORDER);
    assert!(is_served(&model, &graph, Timers::Idle));
    check(&Queue {
        stops: false,
        ..Queue::new(&[Writer, Reader, Ghost])
    });
}

#[test]
fn killed_sentinels_are_replaced() {
    check(&Queue {
        sentinels_die: true,
        arrivals: Some(3),
        stops: false,
        ..Queue::new(&[Writer, Writer, Writer])
    });
}

#[test]
fn mutants_are_found() {
    let model = |mutant, clients| Queue {
        mutant,
        arrivals: Some(3),
        timers: false,
        stops: false,
        ..Queue::new(clients)
    };
    for mutant in [Mutant::Overtake, Mutant::EndBeforeTransfer] {
        assert_found(&model(mutant, &[Writer, Writer, Writer]), &Queue::IN_ORDER);
    }
    let unchecked = model(Mutant::TransferUnchecked, &[Writer, Plain]);
    assert_found(&unchecked, &Queue::ALWAYS);
    for (mutant, clients) in [
        (Mutant::SentinelFirst, &[Writer, Writer][..]),
        (Mutant::NoSecondLook, &[Writer, Writer, Writer]),
        (Mutant::TrustMarkers, &[Writer, Plain, Forger]),
    ] {
        let model = model(mutant, clients);
        let graph = explore(&model, &[]);
        assert!(!is_served(&model, &graph, Timers::Idle), "{mutant:?}");
    }
}
