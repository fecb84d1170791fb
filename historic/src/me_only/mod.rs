//! What `me-only` is asked for.

pub mod args;
pub mod run;

use crate::abstract_socket::Name;
use fdlock::run::Command;

/// A name to be the only one under, and what is run as long as it is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The name.
    pub name: Name,
    /// The script.
    pub command: Command,
}
