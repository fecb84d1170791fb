//! Errors of locks, and their messages.

use std::ffi::{OsStr, OsString};
use std::io;

use crate::sys::errno;

/// Why a request for a lock failed.
#[derive(Debug)]
pub enum Error {
    /// The file could be neither opened nor created.
    Open {
        /// The path, as given.
        path: OsString,
        /// The error of the system.
        error: io::Error,
        /// What would be right, if that is known.
        hint: Option<&'static str>,
    },
    /// The path leads to something that cannot be a lock file.
    UnsuitableFile {
        /// The path, as given.
        path: OsString,
        /// What it leads to.
        what: &'static str,
        /// What it must lead to.
        expected: &'static str,
    },
    /// The file system does not report reliably which file the path leads to.
    UnstableInode {
        /// The path, as given.
        path: OsString,
    },
    /// The lock call failed.
    Lock {
        /// The path or the descriptor, as given.
        target: OsString,
        /// The error of the system.
        error: io::Error,
        /// What would be right, if that is known.
        hint: Option<String>,
    },
    /// The lock file could not be removed.
    Remove {
        /// The path, as given.
        path: OsString,
        /// The error of the system.
        error: io::Error,
    },
    /// There is no timer for the timeout.
    Timer(io::Error),
    /// The queue could not be joined.
    Queue(io::Error),
    /// The file cannot have slots.
    SlotsUnsupported {
        /// The path, as given.
        path: OsString,
        /// The reason.
        reason: &'static str,
    },
}

impl Error {
    /// Returns the message, in bytes, because paths are bytes.
    pub fn message(&self) -> OsString {
        match self {
            Self::Open { path, error, hint } => {
                let reason = errno::text(error);
                let mut message = join(&["cannot open lock file ".as_ref(), path, ": ".as_ref()]);
                message.push(with_hint(reason, *hint));
                message
            }
            Self::UnsuitableFile {
                path,
                what,
                expected,
            } => join(&[
                "cannot open lock file ".as_ref(),
                path,
                format!(": it is {what}, not {expected}").as_ref(),
            ]),
            Self::Lock {
                target,
                error,
                hint,
            } => {
                let reason = with_hint(errno::text(error), hint.as_deref());
                join(&[target, ": ".as_ref(), reason.as_ref()])
            }
            Self::UnstableInode { path } => join(&[
                path,
                ": cannot detect replacement: its device and inode keep changing".as_ref(),
            ]),
            Self::Remove { path, error } => join(&[
                "cannot remove lock file ".as_ref(),
                path,
                format!(": {}", errno::text(error)).as_ref(),
            ]),
            Self::Timer(error) => format!("cannot set up timer: {}", errno::text(error)).into(),
            Self::SlotsUnsupported { path, reason } => join(&[
                path,
                format!(": --slots is not supported: {reason}").as_ref(),
            ]),
            Self::Queue(error) => {
                format!("cannot queue for the lock: {}", errno::text(error)).into()
            }
        }
    }
}

fn join(parts: &[&OsStr]) -> OsString {
    parts.join(OsStr::new(""))
}

fn with_hint(reason: String, hint: Option<&str>) -> String {
    match hint {
        Some(hint) => format!("{reason}: {hint}"),
        None => reason,
    }
}

/// Why a lock on an open file description could not be acquired.
#[derive(Debug)]
pub enum AcquireError {
    /// The lock call failed.
    Lock(io::Error),
    /// There is no timer for the timeout.
    Timer(io::Error),
    /// The queue could not be joined.
    Queue(io::Error),
    /// The file cannot have slots, for this reason.
    SlotsUnsupported(&'static str),
}

impl AcquireError {
    /// Returns the error for a lock on this path or descriptor.
    pub fn for_target(self, target: impl Into<OsString>) -> Error {
        match self {
            Self::Lock(error) => Error::Lock {
                target: target.into(),
                error,
                hint: None,
            },
            Self::Timer(error) => Error::Timer(error),
            Self::Queue(error) => Error::Queue(error),
            Self::SlotsUnsupported(reason) => Error::SlotsUnsupported {
                path: target.into(),
                reason,
            },
        }
    }
}
