//! What `ulock` is asked for.

pub mod args;
pub mod run;

use std::ffi::OsString;
use std::time::Duration;

use fdlock::lock::Wait;

/// A lock file to make, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The file whose being there is the lock.
    pub lock: OsString,
    /// What is done with it.
    pub op: UlockOp,
    /// How long others may keep us waiting.
    pub wait: Wait,
    /// The age from which a lock counts as forgotten.
    pub invalid: Duration,
}

/// What is done with the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UlockOp {
    /// It is left for the caller, who removes it.
    Exclusive,
    /// It is left for the caller once nobody reads any more: once the counter has a single link.
    Write {
        /// The counter, if there are readers at all.
        counter: Option<OsString>,
    },
    /// It is held only to count one reader more: a link to the counter, for as long as the command runs.
    Read {
        /// The counter.
        counter: OsString,
        /// A line for `/bin/sh`.
        line: OsString,
    },
}
