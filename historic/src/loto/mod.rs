//! `loto`: its requests.

pub mod args;
pub mod resource;
pub mod run;

use std::ffi::OsString;

use fdlock::lock::Timeout;
use fdlock::run::Command;

/// Locks to acquire together, and a command to run under them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The lock files and the resources, in the order in which they were given; at least one.
    pub targets: Vec<OsString>,
    /// How long to wait for all locks together.
    pub timeout: Timeout,
    /// The command to run.
    pub command: Command,
    /// What is reported.
    pub verbosity: Verbosity,
}

/// What is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Failures only; a conflict is not a failure.
    Quiet,
    /// Failures, and a conflict.
    Normal,
    /// Everything that is done.
    Verbose,
}
