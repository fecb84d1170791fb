//! What is peculiar to `--fair`: descriptors, shared locks, and files that cannot have a queue.

mod combinations;
mod files;
mod namespaces;
mod options;
mod plain_locks;
mod reacquire;
mod readers;
mod resources;
mod shared_descriptor;

use test_support::locks::locks_on;
use test_support::{TestEnv, wait_until};

/// Returns the modes of the locks that are held on `l`.
fn held_modes(env: &TestEnv) -> Vec<String> {
    let locks = locks_on(env.file("l")).into_iter();
    let held = locks.filter(|lock| lock.kind == "FLOCK" && !lock.is_waiting);
    held.map(|lock| lock.mode).collect()
}

/// Waits until locks of these modes are held on `l`. The kernel's table may be incomplete for a
/// moment.
#[track_caller]
fn assert_held(env: &TestEnv, modes: &[&str]) {
    wait_until(&format!("{modes:?} are held"), || held_modes(env) == modes);
}
