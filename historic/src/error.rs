//! Errors of the older tools, with their messages and exit statuses.

use std::ffi::{OsStr, OsString};
use std::io;

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
    /// A file whose existence is the lock, or counts for it, could not be created.
    Create {
        /// Its path.
        path: OsString,
        /// The error of the system.
        error: io::Error,
    },
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
    /// The file that counts the readers is the lock file itself.
    SameFile {
        /// Its path, as given for the counter.
        path: OsString,
    },
    /// A socket could not be created.
    Socket(io::Error),
    /// The socket address could not be bound, although no other process has it.
    Bind {
        /// The address, as given.
        name: OsString,
        /// The error of the system.
        error: io::Error,
    },
    /// The file with the resources cannot be read, or contains an error.
    Config {
        /// Its path.
        path: OsString,
        /// The problem.
        problem: String,
    },
}

impl ExitError for Error {
    fn message(&self) -> OsString {
        let join = |parts: &[&OsStr]| parts.join(OsStr::new(""));
        match self {
            Self::Lock(error) => error.message(),
            Self::Run(error) => error.message(),
            Self::Create { path, error } => join(&[
                "cannot create lock file ".as_ref(),
                path,
                format!(": {}", errno::text(error)).as_ref(),
            ]),
            Self::Io {
                action,
                path,
                error,
                hint,
            } => {
                let hint = hint.map_or_else(String::new, |hint| format!(": {hint}"));
                join(&[
                    format!("cannot {action} ").as_ref(),
                    path,
                    format!(": {}{hint}", errno::text(error)).as_ref(),
                ])
            }
            Self::SameFile { path } => {
                join(&["COUNTER and LOCK are the same file: ".as_ref(), path])
            }
            Self::Socket(error) => format!("cannot create socket: {}", errno::text(error)).into(),
            Self::Bind { name, error } => join(&[
                "cannot bind socket address ".as_ref(),
                name,
                format!(": {}", errno::text(error)).as_ref(),
            ]),
            Self::Config { path, problem } => join(&[path, ": ".as_ref(), problem.as_ref()]),
        }
    }

    fn exit_status(&self, statuses: &Statuses) -> u8 {
        match self {
            Self::Lock(error) => statuses.for_lock(error),
            Self::Run(error) => statuses.for_run(error),
            Self::Create { error, .. } if is_exhaustion(error) => statuses.exhausted,
            Self::Create { .. } | Self::Io { .. } | Self::SameFile { .. } => statuses.not_created,
            Self::Socket(_) => statuses.lock_failed,
            // The manual of me-only, the only tool with sockets, has one status for all errors of
            // bind(2).
            Self::Bind { .. } => statuses.conflict,
            Self::Config { .. } => statuses.not_opened,
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
