//! `--fair`: first come, first served, whatever happens to those who wait.
//!
//! A place in the queue is a fact of the kernel that anybody can see: a byte of the lock file, far beyond any data,
//! that is locked (`test_support::locks::tickets`). So the tests start the next one when the turn of the one before shows.

mod again;
mod alone;
mod behind;
mod birth;
pub mod crowd;
mod deadline;
mod files;
mod hard_times;
mod kills;
mod numbers;
mod options;
mod order;
mod others;
mod places;
mod readers;
mod shared;
mod signals;
mod stops;
mod traces;

use test_support::locks::{Ticket, locks_on, tickets};
use test_support::process::Process;
use test_support::procfs::is_sentinel;
use test_support::{TestEnv, wait_until};

/// Why all of these are departures.
const WHY: &str = "the reference serves in no order that anybody could rely on";

/// Starts `flock` on a file `l` that is held, and comes back when its turn shows.
#[track_caller]
fn queuing<const N: usize>(env: &TestEnv, words: [&str; N]) -> Process {
    queuing_by(env, env.flock(words))
}

/// The same for any command.
#[track_caller]
pub fn queuing_by(env: &TestEnv, command: std::process::Command) -> Process {
    let before = tickets(env.file("l")).len();
    let mut waiter = env.start(command);
    waiter.wait_alive_until("its turn shows", || tickets(env.file("l")).len() > before);
    waiter
}

/// Starts a `flock` with these options that says `held` when it has the lock, and keeps it until told [`Process::let_go`].
#[track_caller]
pub fn holder_to_be(env: &TestEnv, options: &[&str]) -> Process {
    let script = ["l", "sh", "-c", "echo held; read x; exit 0"];
    queuing_by(env, env.flock(options.iter().chain(&script)))
}

/// Waits until so many wait for their turn at `l`.
#[track_caller]
pub fn queue_is(env: &TestEnv, count: usize) {
    wait_until("so many queue", || tickets(env.file("l")).len() == count);
}

/// Whose turn is the last of all at `l`.
#[track_caller]
pub fn last_turn(env: &TestEnv) -> Ticket {
    *tickets(env.file("l")).last().expect("somebody queues")
}

/// Asserts that of those who wanted the lock on `l` nothing is left: no lock, no turn, and none of these tokens.
#[track_caller]
pub fn nothing_is_left(env: &TestEnv, tokens: &[i32]) {
    wait_until("nothing is left", || {
        locks_on(env.file("l")).is_empty() && !tokens.iter().any(|token| is_sentinel(*token))
    });
    env.run(["--fair", "-n", "l", "true"]).assert_status(0);
}
