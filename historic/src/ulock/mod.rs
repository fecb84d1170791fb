//! `ulock`: its requests.

pub mod args;
pub mod run;

use std::ffi::OsString;
use std::time::Duration;

use fdlock::lock::Timeout;

/// A lock to acquire, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The file whose existence is the lock.
    pub lock: OsString,
    /// What to do with the lock.
    pub op: UlockOp,
    /// How long to wait for other processes.
    pub timeout: Timeout,
    /// The age beyond which a lock is stale.
    pub max_age: Duration,
}

/// What is done with the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UlockOp {
    /// It is left for the caller, which removes it.
    Exclusive,
    /// It is left for the caller once there are no readers: once the counter has a single link.
    Write {
        /// The counter, if there are readers at all.
        counter: Option<OsString>,
    },
    /// It is held only while a reader is added: a link to the counter, for as long as the command
    /// runs.
    Read {
        /// The counter.
        counter: OsString,
        /// The command line for `/bin/sh`.
        line: OsString,
    },
}
