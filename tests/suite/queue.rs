//! `--fair`: first come, first served, whatever happens to those who wait.
//!
//! Every process can see the tickets of the queue: each is a locked byte of the lock file, far beyond
//! any data (`test_support::locks::tickets`). So the tests start a waiter when the ticket of the
//! previous one is visible.

mod behind;
mod birth;
mod kills;
mod order;
mod side_effects;
mod signals;
mod stops;
mod timeouts;
pub mod waiter_pool;

use test_support::locks::{Ticket, locks_on, tickets};
use test_support::process::Process;
use test_support::procfs::is_sentinel;
use test_support::{TestEnv, wait_until};

/// Why all of these are departures.
pub const WHY: &str = "the reference serves in no order that anybody could rely on";

/// Starts `flock` on the file `l`, which is held, and returns when it has a ticket.
#[track_caller]
pub fn spawn_waiter<const N: usize>(env: &TestEnv, words: [&str; N]) -> Process {
    spawn_waiter_command(env, env.flock(words))
}

/// Starts a command that waits for the lock on `l`, and returns when it has a ticket.
#[track_caller]
pub fn spawn_waiter_command(env: &TestEnv, command: std::process::Command) -> Process {
    let before = tickets(env.file("l")).len();
    let mut waiter = env.start(command);
    waiter.wait_alive_until("it has a ticket", || tickets(env.file("l")).len() > before);
    waiter
}

/// Starts a waiter that prints `held` when it has the lock, and keeps it until [`Process::release`].
#[track_caller]
pub fn spawn_waiting_holder(env: &TestEnv, options: &[&str]) -> Process {
    let script = ["l", "sh", "-c", "echo held; read x; exit 0"];
    spawn_waiter_command(env, env.flock(options.iter().chain(&script)))
}

/// Waits until `l` has `count` tickets.
#[track_caller]
pub fn assert_queue_len(env: &TestEnv, count: usize) {
    wait_until(&format!("{count} tickets"), || {
        tickets(env.file("l")).len() == count
    });
}

/// Returns the last ticket of `l`.
#[track_caller]
pub fn last_ticket(env: &TestEnv) -> Ticket {
    *tickets(env.file("l")).last().expect("a ticket")
}

/// Waits until nothing is left of the processes that used `l`: no lock, no ticket and none of these
/// sentinels. Then asserts that the lock can be taken.
#[track_caller]
pub fn assert_clean(env: &TestEnv, sentinels: &[i32]) {
    wait_until("nothing is left", || {
        locks_on(env.file("l")).is_empty()
            && !sentinels.iter().any(|sentinel| is_sentinel(*sentinel))
    });
    env.run(["--fair", "-n", "l", "true"]).assert_status(0);
}
