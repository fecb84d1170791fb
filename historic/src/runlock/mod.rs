//! What `runlock` is asked for.

pub mod args;
pub mod run;

use std::ffi::OsString;

use fdlock::run::Command;

/// A file to lock, by another file beside it, and what is run as long as it is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The file: the lock is this name with `.lock` behind it.
    pub file: OsString,
    /// What is run.
    pub command: Command,
}
