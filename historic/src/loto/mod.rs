//! What `loto` is asked for.

pub mod args;
pub mod resource;
pub mod run;

use std::ffi::OsString;

use fdlock::lock::Wait;
use fdlock::run::Command;

/// Locks to take, all of them, and a command to run under them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The lock files, in the order in which they were named; at least one.
    pub files: Vec<OsString>,
    /// How long the locks may keep us waiting, all together.
    pub wait: Wait,
    /// What is run under them.
    pub command: Command,
    /// What is told.
    pub verbosity: Verbosity,
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Only failures; a lock that is taken is none.
    Quiet,
    /// That a lock is taken, too.
    Normal,
    /// Everything that is done.
    Verbose,
}
