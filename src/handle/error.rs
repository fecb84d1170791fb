//! What can fail with a handle.

use std::ffi::OsString;
use std::io;
use std::os::fd::RawFd;

use crate::sys::errno;

/// Why a lock elsewhere cannot be tied to a descriptor, or not be given back.
#[derive(Debug)]
pub enum Error {
    /// The descriptor is unsuitable, for this reason.
    Unsuitable {
        /// The descriptor.
        number: RawFd,
        /// The reason.
        reason: String,
    },
    /// The processes that watch over the lock could not be started.
    Start(io::Error),
    /// The locks of this descriptor are not known, because there is no /proc.
    Hidden(RawFd),
    /// The lock was lost.
    Lost(RawFd),
}

impl Error {
    /// Returns the message.
    pub fn message(&self) -> OsString {
        match self {
            Self::Unsuitable { number, reason } => format!(
                "descriptor {number} cannot have a lock elsewhere: {reason}; open a local file for \
                 writing: exec {number}>>FILE"
            ),
            Self::Start(error) => {
                format!("cannot watch over the lock: {}", errno::text(error))
            }
            Self::Hidden(number) => {
                format!("the locks of descriptor {number} are not known: /proc does not show them")
            }
            Self::Lost(number) => {
                format!("the lock of descriptor {number} was lost")
            }
        }
        .into()
    }
}
