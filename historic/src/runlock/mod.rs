//! `runlock`: its requests.

pub mod args;
pub mod run;

use std::ffi::OsString;

use fdlock::run::Command;

/// A file to lock, and a command to run under the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The file. The lock file has the same name with `.lock` appended.
    pub file: OsString,
    /// The command to run.
    pub command: Command,
}
