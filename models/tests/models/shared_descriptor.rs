//! Processes that ask for the lock of one descriptor, with `--fair` and without.

use crate::{assert_found, explore, is_true};
use models::graph::{Graph, Timers};
use models::queue::{
    Client::{Plain, Reader, Writer},
    Mutant, Queue, State,
};

/// Processes 0 and 1 share the descriptor.
const SHARED: u8 = 0b11;

fn model(clients: &'static [models::queue::Client]) -> Queue {
    Queue {
        shared: SHARED,
        stops: false,
        ..Queue::new(clients)
    }
}

/// Whether a process learns, without the help of others, that its descriptor has the lock.
fn is_told(graph: &Graph<'_, Queue>) -> bool {
    (0..2_u8).all(|waiter| {
        is_true(graph.leads_to(
            "a waiter is told that its descriptor has the lock",
            Timers::Fire,
            |_, process| process == waiter,
            |state| {
                let waiter = waiter.into();
                state.waits_for_own(waiter) && !state.is_stopped(waiter)
            },
            |state| state.is_holder(waiter.into()),
        ))
    })
}

fn check(model: &Queue) {
    let graph = explore(model, &Queue::SHARED);
    assert!(is_told(&graph));
    let mut over = graph.states().iter().filter(|state| state.is_over());
    assert!(over.all(State::is_clean), "no marker or sentinel is left");
    for waiter in 0..model.clients.len() {
        assert!(is_true(graph.leads_to(
            "a waiter gets the lock, unless it waits for the lock of its own descriptor",
            Timers::Fire,
            |_, _| true,
            |state| {
                state.is_waiter(waiter) && !state.is_stopped(waiter) && !state.is_lock_stopped()
            },
            |state| state.is_holder(waiter),
        )));
    }
}

#[test]
fn all_that_share_a_descriptor_get_its_lock() {
    check(&model(&[Writer, Writer, Plain]));
    for clients in [
        &[Writer, Writer, Writer],
        &[Writer, Plain, Writer],
        &[Reader, Reader, Writer],
    ] {
        for stops in [false, true] {
            check(&Queue {
                stops,
                arrivals: Some(3),
                ..model(clients)
            });
        }
    }
}

/// A process that does not queue acquires the lock while another one is blocked in the kernel, and
/// all others exit then.
#[test]
fn a_blocked_waiter_looks_from_time_to_time() {
    let model = model(&[Writer, Plain, Plain]);
    let graph = explore(&model, &Queue::SHARED);
    let missed = graph.path_to(|state| state.has_missed(0));
    assert!(missed.is_some(), "the manual says that it is possible");
    assert!(is_told(&graph));
    let unlooked = Queue {
        mutant: Mutant::BlockUnlooked,
        ..model
    };
    let graph = explore(&unlooked, &Queue::SHARED);
    assert!(!is_told(&graph));
}

#[test]
fn mutants_are_found() {
    let with = |mutant, clients| Queue {
        mutant,
        arrivals: Some(3),
        ..model(clients)
    };
    for mutant in [
        Mutant::TimeOutUnshared,
        Mutant::TrustLook,
        Mutant::WaitOnDescriptor,
    ] {
        assert_found(&with(mutant, &[Writer, Writer, Writer]), &Queue::SHARED);
    }
    for (mutant, arrivals) in [(Mutant::BlockUntried, 3), (Mutant::ProbeUnshared, 4)] {
        let model = Queue {
            arrivals: Some(arrivals),
            ..with(mutant, &[Writer, Plain, Writer])
        };
        let graph = explore(&model, &[]);
        assert!(!is_told(&graph), "{mutant:?}");
    }
}
