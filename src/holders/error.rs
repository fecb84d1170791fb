//! Errors of `--who`, and their messages.

use std::ffi::OsString;
use std::io;

use rustix::io::Errno;

use crate::lock;
use crate::sys::errno;
use crate::sys::procfs::{self, own_pid};

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

    /// Returns why the holder of a lock is unknown, for `--verbose`.
    pub fn unknown_holder(&self) -> OsString {
        let mut text = OsString::from("the holder cannot be determined");
        if own_pid().is_none() {
            text.push(", because /proc is not available");
        }
        text.push(": ");
        match self {
            Self::Lock(error) => text.push(error.message()),
            Self::Proc { path, error } => {
                text.push(format!("{path}: {}", errno::text(error)));
            }
        }
        text
    }

    /// Creates the error of a snapshot in which no holder is known because processes could not be
    /// examined.
    pub fn unexamined(errno: Errno) -> Self {
        Self::proc(procfs::PATH, errno.into())
    }

    /// Creates an error about a file in `/proc`.
    pub(super) fn proc(path: &str, error: io::Error) -> Self {
        let path = path.to_owned();
        Self::Proc { path, error }
    }
}
