//! Errors of `--who`, and their messages.

use std::ffi::OsString;
use std::io;

use crate::lock;
use crate::sys::errno;

/// Why no snapshot could be taken.
#[derive(Debug)]
pub enum Error {
    /// The file or descriptor does not exist.
    Lock(lock::Error),
    /// A file in `/proc` cannot be read.
    Proc {
        /// Its path.
        path: String,
        /// The error of the system.
        error: io::Error,
    },
}

impl Error {
    /// Returns the message, in bytes, because paths are bytes.
    pub fn message(&self) -> OsString {
        match self {
            Self::Lock(error) => error.message(),
            Self::Proc { path, error } => {
                let reason = errno::text(error);
                format!("cannot list lock holders: {path}: {reason}").into()
            }
        }
    }

    /// Creates an error about a file in `/proc`.
    pub(super) fn proc(path: &str, error: io::Error) -> Self {
        let path = path.to_owned();
        Self::Proc { path, error }
    }
}
