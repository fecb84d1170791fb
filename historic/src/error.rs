//! Errors of the historic tools, with their messages and exit statuses.

use std::ffi::{OsStr, OsString};
use std::io;

use rustix::io::Errno;

use fdlock::exit::{ExitError, Statuses, is_exhaustion};
use fdlock::sys::errno;
use fdlock::{lock, run};

/// Why a program failed.
#[derive(Debug)]
pub enum Error {
    /// The lock failed.
    Lock(lock::Error),
    /// The command failed.
    Run(run::Error),
    /// The file at this path, whose existence is the lock or counts for it, could not be created.
    Create(OsString, io::Error),
    /// Another operation on such a file failed.
    Io {
        /// The operation: `remove lock file`, `link to`.
        action: &'static str,
        /// Its path.
        path: OsString,
        /// The error of the system.
        error: io::Error,
        /// What would be right, if that is known.
        hint: Option<&'static str>,
    },
    /// The file that counts the readers, at this path, is the lock file itself.
    SameFile(OsString),
    /// A socket could not be created.
    Socket(io::Error),
    /// The socket address of this name could not be bound, although no other process has it.
    Bind(OsString, io::Error),
    /// The file with the resources, at this path, cannot be read, or contains an error.
    Config(OsString, String),
}

/// Returns a function that makes an [`Error::Create`].
pub(crate) fn create_error(path: &OsStr) -> impl Fn(Errno) -> Error {
    |errno| Error::Create(path.to_owned(), errno.into())
}

/// Returns a function that makes an [`Error::Io`] without a hint.
pub(crate) fn io_error(action: &'static str, path: &OsStr) -> impl Fn(Errno) -> Error {
    move |errno| Error::Io {
        action,
        path: path.to_owned(),
        error: errno.into(),
        hint: None,
    }
}

/// Returns a function that makes a [`lock::Error::Open`] without a hint.
pub(crate) fn open_error(path: &OsStr) -> impl Fn(Errno) -> lock::Error {
    |errno| lock::Error::Open {
        path: path.to_owned(),
        error: errno.into(),
        hint: None,
    }
}

impl ExitError for Error {
    fn message(&self) -> OsString {
        let join = |before: &str, path: &OsStr, after: &str| {
            [before.as_ref(), path, after.as_ref()].join(OsStr::new(""))
        };
        let reason = |error| format!(": {}", errno::text(error));
        match self {
            Self::Lock(error) => error.message(),
            Self::Run(error) => error.message(),
            Self::Create(path, error) => join("cannot create lock file ", path, &reason(error)),
            Self::Io {
                action,
                path,
                error,
                hint,
            } => {
                let hint = hint.map_or_else(String::new, |hint| format!(": {hint}"));
                join(&format!("cannot {action} "), path, &(reason(error) + &hint))
            }
            Self::SameFile(path) => join("COUNTER and LOCK are the same file: ", path, ""),
            Self::Socket(error) => format!("cannot create socket{}", reason(error)).into(),
            Self::Bind(name, error) => join("cannot bind socket address ", name, &reason(error)),
            Self::Config(path, problem) => join("", path, &format!(": {problem}")),
        }
    }

    fn exit_status(&self, statuses: &Statuses) -> u8 {
        match self {
            Self::Lock(error) => statuses.for_lock(error),
            Self::Run(error) => statuses.for_run(error),
            Self::Create(_, error) if is_exhaustion(error) => statuses.exhausted,
            Self::Create(..) | Self::Io { .. } | Self::SameFile(_) => statuses.not_created,
            Self::Socket(_) => statuses.lock_failed,
            // me-only, the only tool with sockets, documents one status for all errors of bind(2).
            Self::Bind(..) => statuses.conflict,
            Self::Config(..) => statuses.not_opened,
        }
    }
}

impl From<lock::Error> for Error {
    fn from(error: lock::Error) -> Self {
        Self::Lock(error)
    }
}

impl From<run::Error> for Error {
    fn from(error: run::Error) -> Self {
        Self::Run(error)
    }
}
