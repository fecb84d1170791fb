//! A lock in etcd.

use crate::{are_served, assert_found, explore, is_true, processes};
use models::etcd::{Etcd, Mutant, State};
use models::graph::{Graph, Timers};

/// Whether every waiter gets the lock.
fn is_served(graph: &Graph<'_, Etcd>, timers: Timers) -> bool {
    are_served(graph, timers, State::is_waiter, State::is_inside)
}

/// A message is lost or late, a leader is elected, or a process is killed.
#[test]
fn at_most_one_process_holds_the_lock() {
    let model = Etcd {
        is_exchangeable: true,
        ..Etcd::new(2, 3, 1)
    };
    explore(&model, &Etcd::ALWAYS);
}

/// Otherwise, others that do not wait would be refused a lock that no process holds.
#[test]
fn no_process_queues_that_does_not_wait() {
    let model = |nonblocking, mutant| Etcd {
        nonblocking,
        mutant,
        ..Etcd::new(2, 3, 0)
    };
    for nonblocking in [0b11, 0b01] {
        let correct = model(nonblocking, Mutant::Correct);
        let graph = explore(&correct, &[&Etcd::ALWAYS[..], &Etcd::UNQUEUED].concat());
        assert!(graph.path_to(|state| state.is_inside(0)).is_some());
        let mutant = model(nonblocking, Mutant::EnterAtOnce);
        assert_found(&mutant, &Etcd::UNQUEUED);
    }
}

/// Within a shorter tick, a lease can be renewed that has expired and is not revoked yet.
#[test]
fn expired_leases_are_not_trusted() {
    let model = Etcd {
        is_exchangeable: true,
        ..Etcd::new(2, 6, 0)
    };
    explore(&model, &Etcd::ALWAYS);
}

/// A waiter is stopped and continued. `make soak` loses or delays a message besides.
#[test]
fn stopped_waiters_are_passed() {
    let model = Etcd {
        stops: 1,
        ..Etcd::new(2, 3, 0)
    };
    let graph = explore(&model, &Etcd::ALWAYS);
    assert!(is_served(&graph, Timers::Fire));
    assert!(is_served(&graph, Timers::Idle));
    if processes() > 3 {
        let model = Etcd {
            faults: 1,
            is_exchangeable: true,
            ..model
        };
        explore(&model, &Etcd::ALWAYS);
    }
}

#[test]
fn waiters_are_served_at_once() {
    let model = Etcd::new(2, 3, 0);
    let graph = explore(&model, &Etcd::ALWAYS);
    assert!(Graph::explore(&model, &Etcd::TIDY).is_ok());
    assert!(is_served(&graph, Timers::Fire));
    assert!(is_served(&graph, Timers::Idle));
    assert!(is_true(graph.leads_to(
        "no lease and no key is left",
        Timers::Fire,
        |_, _| true,
        State::is_over,
        State::is_clean,
    )));
}

#[test]
fn mutants_are_found() {
    for (mutant, ttl, faults) in [
        (Mutant::CountFromAnswer, 3, 0),
        (Mutant::TrustLateAnswer, 3, 0),
        (Mutant::ClearDoubt, 6, 0),
        (Mutant::HoldWithoutKey, 3, 0),
        (Mutant::TrustUnknown, 3, 1),
        (Mutant::TrustDeletion, 3, 0),
        (Mutant::AnyKeyBefore, 3, 0),
    ] {
        let model = Etcd {
            mutant,
            is_exchangeable: true,
            ..Etcd::new(2, ttl, faults)
        };
        assert_found(&model, &Etcd::ALWAYS);
    }
    for (mutant, faults) in [
        (Mutant::MoveRunning, 0),
        (Mutant::KeepMark, 0),
        (Mutant::TrustLateMark, 1),
    ] {
        if faults != 0 && processes() == 3 {
            // It takes longer than all others: `make soak` finds it.
            continue;
        }
        let model = Etcd {
            mutant,
            stops: 1,
            is_exchangeable: true,
            ..Etcd::new(2, 3, faults)
        };
        assert_found(&model, &Etcd::ALWAYS);
    }
    let with = |mutant| Etcd {
        mutant,
        ..Etcd::new(2, 3, 0)
    };
    assert_found(&with(Mutant::NoRevocation), &Etcd::TIDY);
    let model = with(Mutant::WatchFromOpening);
    let graph = explore(&model, &[]);
    assert!(!is_served(&graph, Timers::Idle));
}
