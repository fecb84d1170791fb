//! `--progress`: what a person sees who waits for a lock.

mod log;
mod terminal;

use test_support::procfs::{children_of, status_field};

/// Returns the process that draws for a waiter.
fn companion_of(waiter: i32) -> Option<i32> {
    let is_companion = |pid: &i32| status_field(*pid, "Name") == "flock-progress";
    children_of(waiter).into_iter().find(is_companion)
}
