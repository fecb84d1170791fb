//! Errors of locks, and their messages.

use std::ffi::{OsStr, OsString};
use std::io;

use rustix::io::Errno;

use crate::sys::errno;

/// Why a request for a lock failed. Paths are as given, and a hint says what would be right.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names of the fields say it")]
pub enum Error {
    /// The file could be neither opened nor created.
    Open {
        path: OsString,
        error: io::Error,
        hint: Option<OsString>,
    },
    /// The path leads to something that cannot be a lock file.
    UnsuitableFile {
        path: OsString,
        what: &'static str,
        expected: &'static str,
    },
    /// The directory of a lock file that is given by name is not safe to use.
    UnsafeDirectory { path: OsString, reason: String },
    /// The file system does not report reliably which file the path leads to.
    UnstableInode { path: OsString },
    /// The lock call failed for this path or descriptor.
    Lock {
        target: OsString,
        error: io::Error,
        hint: Option<String>,
    },
    /// The lock file could not be removed.
    Remove { path: OsString, error: io::Error },
    /// The lock file was left alone.
    NotRemoved {
        path: OsString,
        reason: &'static str,
    },
    /// There is no timer for the timeout.
    Timer(io::Error),
    /// The queue could not be joined.
    Queue(io::Error),
    /// The processes that hold the lock were not stopped.
    NotReplaced { target: OsString, reason: String },
    /// The file cannot have slots.
    SlotsUnsupported {
        path: OsString,
        reason: &'static str,
    },
    /// The file cannot have a bounded queue.
    PlacesUnsupported {
        path: OsString,
        reason: &'static str,
    },
}

impl Error {
    /// Returns whether the error may mean that another process has removed or replaced the file, or
    /// a directory above it, between two system calls. That is not an error, so the caller starts
    /// again, as often as [`ReplacementCheck::may_retry`](super::file_id::ReplacementCheck) permits.
    ///
    /// `ESTALE` is what a file server returns for a file that it does not know any more. A missing
    /// file is created, so `ENOENT` means that a directory is missing; if none is, it has been
    /// created in the meantime, or the client of a file server was wrong about it.
    pub fn may_be_replacement(&self) -> bool {
        let (error, hint) = match self {
            Self::Open { error, hint, .. } => (error, hint.is_some()),
            Self::Lock { error, hint, .. } => (error, hint.is_some()),
            _ => return false,
        };
        match Errno::from_io_error(error) {
            Some(Errno::STALE) => true,
            Some(Errno::NOENT) => !hint,
            _ => false,
        }
    }

    /// Explains an error of the lock call, if this error shows that the file cannot be opened for
    /// writing.
    #[cold]
    pub(super) fn not_writable_hint(&self, lock_error: &io::Error) -> Option<String> {
        match self {
            Self::Open { error, .. } if Errno::from_io_error(lock_error) == Some(Errno::BADF) => {
                let reason = errno::text(error);
                Some(format!(
                    "it cannot be opened for writing ({reason}), which an exclusive lock over NFS \
                     requires"
                ))
            }
            _ => None,
        }
    }

    /// Returns the message, in bytes, because paths are bytes.
    pub fn message(&self) -> OsString {
        match self {
            Self::Open { path, error, hint } => {
                let path = if path.is_empty() {
                    "''".as_ref()
                } else {
                    &**path
                };
                about(
                    "cannot open lock file ",
                    path,
                    &with_hint(error, hint.as_deref()),
                )
            }
            Self::UnsuitableFile {
                path,
                what,
                expected,
            } => {
                let reason = format!("it is {what}, not {expected}");
                about("cannot open lock file ", path, &reason)
            }
            Self::Lock {
                target,
                error,
                hint,
            } => {
                let hint = hint.as_deref().map(OsStr::new);
                about("", target, &with_hint(error, hint))
            }
            Self::UnstableInode { path } => {
                let reason = "cannot detect replacement: its device and inode keep changing";
                about("", path, reason)
            }
            Self::UnsafeDirectory { path, reason } => about("cannot use ", path, reason),
            Self::Remove { path, error } => {
                about("cannot remove lock file ", path, &errno::text(error))
            }
            Self::NotRemoved { path, reason } => {
                let reason = [" was not removed: ", *reason].concat();
                ["lock file ".as_ref(), path.as_os_str(), reason.as_ref()].join(OsStr::new(""))
            }
            Self::Timer(error) => format!("cannot set up timer: {}", errno::text(error)).into(),
            Self::SlotsUnsupported { path, reason } => {
                about("", path, &format!("--slots is not supported: {reason}"))
            }
            Self::NotReplaced { target, reason } => {
                about("cannot replace the holder of ", target, reason)
            }
            Self::PlacesUnsupported { path, reason } => {
                about("", path, &format!("--queue is not supported: {reason}"))
            }
            Self::Queue(error) => {
                format!("cannot queue for the lock: {}", errno::text(error)).into()
            }
        }
    }
}

fn about(what: &str, target: &OsStr, reason: &(impl AsRef<OsStr> + ?Sized)) -> OsString {
    [what.as_ref(), target, ": ".as_ref(), reason.as_ref()].join(OsStr::new(""))
}

fn with_hint(error: &io::Error, hint: Option<&OsStr>) -> OsString {
    let mut text = OsString::from(errno::text(error));
    if let Some(hint) = hint {
        text.push(": ");
        text.push(hint);
    }
    text
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
    /// The file cannot have a bounded queue, for this reason.
    PlacesUnsupported(&'static str),
}

impl AcquireError {
    /// Returns the error for a lock on this path or descriptor.
    pub fn for_target(self, target: impl Into<OsString>, hint: Option<String>) -> Error {
        match self {
            Self::Lock(error) => Error::Lock {
                target: target.into(),
                error,
                hint,
            },
            Self::Timer(error) => Error::Timer(error),
            Self::Queue(error) => Error::Queue(error),
            Self::SlotsUnsupported(reason) => Error::SlotsUnsupported {
                path: target.into(),
                reason,
            },
            Self::PlacesUnsupported(reason) => Error::PlacesUnsupported {
                path: target.into(),
                reason,
            },
        }
    }
}
