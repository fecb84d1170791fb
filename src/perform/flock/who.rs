//! `--who`: who holds a lock.

use crate::exit::{self, Exit};
use crate::report::Report;
use crate::request::flock::Who;

/// Looks, and says who it is.
pub fn perform(_request: &Who, _report: &mut Report) -> Exit {
    Exit::Status(exit::FLOCK.conflict)
}
