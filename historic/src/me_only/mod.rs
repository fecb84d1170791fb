//! `me-only`: its requests.

pub mod args;
pub mod run;

use crate::abstract_socket::Name;
use fdlock::run::Command;

/// A name to acquire, and a script to run under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The name.
    pub name: Name,
    /// The script.
    pub command: Command,
}
