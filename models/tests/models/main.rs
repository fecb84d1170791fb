//! Visits all states of the models, and checks their properties. Prints the numbers of states.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "the rules are for the programs"
)]

mod documents;
mod etcd;
mod handle;
mod hard_link;
mod lease;
mod lock_file;
mod pid_file;
mod postgres;
mod queue;
mod several;
mod shared_descriptor;
mod slots;
mod ssh;
mod supervisor;

use std::fmt::Debug;

use models::graph::{Always, Counterexample, Graph, Model, Timers};

/// How many processes there are at once, in the models in which more than three fit into two
/// gigabytes: `make soak` has four of them.
fn processes() -> usize {
    let number = std::env::var("FDLOCK_MODEL_PROCESSES");
    number.map_or(3, |number| number.parse().expect("a number"))
}

/// Visits all states of a correct program.
#[track_caller]
fn explore<'m, M: Model + Debug>(model: &'m M, always: &[Always<M::State>]) -> Graph<'m, M> {
    let graph = Graph::explore(model, always).unwrap_or_else(|found| panic!("{model:?} {found:?}"));
    println!("{model:?}: {graph}");
    graph
}

/// Asserts that a mutant violates a property.
#[track_caller]
fn assert_found<M: Model + Debug>(model: &M, always: &[Always<M::State>]) {
    match Graph::explore(model, always) {
        Err(found) => println!("{model:?} {found:?}"),
        Ok(graph) => panic!("{model:?}: {graph}"),
    }
}

/// Whether each of the first two processes that waits for the lock gets it.
fn are_served<M: Model>(
    graph: &Graph<'_, M>,
    timers: Timers,
    waits: impl Fn(&M::State, usize) -> bool,
    has_lock: impl Fn(&M::State, usize) -> bool,
) -> bool {
    (0..2).all(|waiter| {
        is_true(graph.leads_to(
            "a waiter gets the lock",
            timers,
            |_, _| true,
            |state| waits(state, waiter),
            |state| has_lock(state, waiter),
        ))
    })
}

/// Whether a property of [`Graph::leads_to`] is true.
fn is_true<S: Debug>(result: Result<(), Counterexample<S>>) -> bool {
    if let Err(found) = &result {
        println!("{found:?}");
    }
    result.is_ok()
}
