//! Values of options and operands.

use std::ffi::OsStr;
use std::os::fd::RawFd;

use crate::cli::{UsageError, number};

/// Parses the number of a descriptor.
pub(super) fn parse_descriptor(arg: &OsStr) -> Result<RawFd, UsageError> {
    let number = number::decimal(arg)
        .and_then(|number| RawFd::try_from(number).ok())
        .filter(|number| *number >= 0);
    let expected =
        "expected a descriptor number; to lock a file, add a command: flock FILE COMMAND";
    number.ok_or_else(|| UsageError::invalid("bad file descriptor", arg, expected))
}

/// Parses a number of bytes; `what` it is for error messages.
pub(super) fn parse_bytes(what: &str, arg: &OsStr) -> Result<i64, UsageError> {
    let expected = "expected a number of bytes, e.g. 4096, 0x1000 or 4K";
    number::size(arg).ok_or_else(|| UsageError::invalid(what, arg, expected))
}
