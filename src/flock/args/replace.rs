//! Requests with `--replace`.

use std::ffi::OsStr;
use std::time::Duration;

use super::raw::RawArgs;
use crate::cli::UsageError;
use crate::flock::Replace;
use crate::sys::{pidfd, signal};

const DEFAULT_GRACE: Duration = Duration::from_secs(5);

/// Parses the value of `--replace`.
#[cold]
pub(super) fn parse_signal(arg: Option<&OsStr>) -> Result<i32, UsageError> {
    let Some(arg) = arg else {
        return Ok(signal::number::TERM);
    };
    let signal = arg.to_str().and_then(pidfd::signal_from_name);
    let expected = "expected a name such as TERM, HUP or INT, or a number";
    signal.ok_or_else(|| UsageError::invalid("invalid signal", arg, expected))
}

impl RawArgs {
    pub(super) fn replace_request(&self) -> Result<Option<Replace>, UsageError> {
        match self.replace {
            None => Ok(None),
            Some(_) if self.timeout == Some(Duration::ZERO) => Err(UsageError::new(
                "--replace cannot be used with a timeout of 0",
            )),
            Some(signal) => Ok(Some(Replace {
                signal,
                grace: self.terms.grace.unwrap_or(DEFAULT_GRACE),
            })),
        }
    }
}
