//! `--fair`: first come, first served, whatever happens to those who wait.
//!
//! A place in the queue is a fact of the kernel that anybody can see: a byte of the lock file, far beyond any data,
//! that is locked (`test_support::locks::turns`). So the tests start the next one when the turn of the one before shows.

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

use test_support::locks::{Turn, is_token, locks_on, turns};
use test_support::process::Live;
use test_support::{Lab, wait_until};

/// Why all of these are departures.
const WHY: &str = "the reference serves in no order that anybody could rely on";

/// Starts `flock` on a file `l` that is held, and comes back when its turn shows.
#[track_caller]
fn queuing<const N: usize>(lab: &Lab, words: [&str; N]) -> Live {
    queuing_by(lab, lab.flock(words))
}

/// The same for any command.
#[track_caller]
pub fn queuing_by(lab: &Lab, command: std::process::Command) -> Live {
    let before = turns(lab.file("l")).len();
    let mut waiter = lab.start(command);
    waiter.lives_until("its turn shows", || turns(lab.file("l")).len() > before);
    waiter
}

/// Starts a `flock` with these options that says `held` when it has the lock, and keeps it until told [`Live::let_go`].
#[track_caller]
pub fn holder_to_be(lab: &Lab, options: &[&str]) -> Live {
    let script = ["l", "sh", "-c", "echo held; read x; exit 0"];
    queuing_by(lab, lab.flock(options.iter().chain(&script)))
}

/// Waits until so many wait for their turn at `l`.
#[track_caller]
pub fn queue_is(lab: &Lab, count: usize) {
    wait_until("so many queue", || turns(lab.file("l")).len() == count);
}

/// Whose turn is the last of all at `l`.
#[track_caller]
pub fn last_turn(lab: &Lab) -> Turn {
    *turns(lab.file("l")).last().expect("somebody queues")
}

/// Asserts that of those who wanted the lock on `l` nothing is left: no lock, no turn, and none of these tokens.
#[track_caller]
pub fn nothing_is_left(lab: &Lab, tokens: &[i32]) {
    wait_until("nothing is left", || {
        locks_on(lab.file("l")).is_empty() && !tokens.iter().any(|token| is_token(*token))
    });
    lab.run(["--fair", "-n", "l", "true"]).expect_code(0);
}
