//! What can go wrong with locks, in words.

use std::ffi::OsString;
use std::io;

use crate::sys::errno;

/// Why a lock could not be asked for.
#[derive(Debug)]
pub enum Error {
    /// The file could be neither opened nor made.
    Open {
        /// Its path, as given.
        path: OsString,
        /// What the system says.
        error: io::Error,
        /// What the lock needed of it beyond being there.
        needed: Option<&'static str>,
    },
    /// A file whose being there is the lock, or counts in it, could not be made.
    Create {
        /// Its path.
        path: OsString,
        /// What the system says.
        error: io::Error,
    },
    /// What the path leads to is no place for a lock.
    Unsuitable {
        /// The path, as given.
        path: OsString,
        /// What it is.
        what: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// The file system does not say reliably which file the path leads to.
    Unsteady {
        /// The path, as given.
        path: OsString,
    },
    /// The lock call itself failed.
    Lock {
        /// The path or the descriptor, as given.
        what: OsString,
        /// What the system says.
        error: io::Error,
        /// What would be right, where that is known.
        hint: Option<String>,
    },
    /// There is no socket to be had that could get a name.
    Socket(io::Error),
    /// A socket could not be given a name, though nobody else has it.
    Bind {
        /// The name, as given.
        name: OsString,
        /// What the system says.
        error: io::Error,
    },
    /// Something else could not be done with a file whose being there is the lock, or counts in it.
    File {
        /// What: `remove lock file`, `link to`.
        deed: &'static str,
        /// Its path.
        path: OsString,
        /// What the system says.
        error: io::Error,
        /// What would be right, where that is known.
        hint: Option<&'static str>,
    },
    /// COUNTER and LOCK of `ulock` are names of the same file.
    SameFile {
        /// The path of COUNTER, as given.
        path: OsString,
    },
    /// No timer for the time limit.
    Timer(io::Error),
    /// No place in the queue.
    Turn(io::Error),
    /// There can be no slots of this file.
    NoSlots {
        /// The path, as given.
        path: OsString,
        /// The reason, as the end of a sentence.
        reason: &'static str,
    },
    /// The file that names resources cannot be read or says something odd.
    Names {
        /// Its path.
        path: OsString,
        /// What is wrong with it.
        problem: String,
    },
}

impl Error {
    /// The message, in bytes, as paths are.
    pub fn message(&self) -> OsString {
        let mut message = OsString::new();
        match self {
            Self::Open {
                path,
                error,
                needed,
            } => {
                message.push("cannot open lock file ");
                message.push(path);
                message.push(": ");
                message.push(errno::text(error));
                if let Some(needed) = needed {
                    message.push(": ");
                    message.push(needed);
                }
            }
            Self::Create { path, error } => {
                message.push("cannot create lock file ");
                message.push(path);
                message.push(": ");
                message.push(errno::text(error));
            }
            Self::Unsuitable { path, what, wanted } => {
                message.push("cannot open lock file ");
                message.push(path);
                message.push(": it is ");
                message.push(what);
                message.push(", not ");
                message.push(wanted);
            }
            Self::Lock { what, error, hint } => {
                message.push(what);
                message.push(": ");
                message.push(errno::text(error));
                if let Some(hint) = hint {
                    message.push(": ");
                    message.push(hint);
                }
            }
            Self::Unsteady { path } => {
                message.push(path);
                message.push(": cannot detect replacement: its device and inode keep changing");
            }
            Self::Names { path, problem } => {
                message.push(path);
                message.push(": ");
                message.push(problem);
            }
            Self::Socket(error) => {
                message.push("cannot create socket: ");
                message.push(errno::text(error));
            }
            Self::Bind { name, error } => {
                message.push("cannot bind socket address ");
                message.push(name);
                message.push(": ");
                message.push(errno::text(error));
            }
            Self::File {
                deed,
                path,
                error,
                hint,
            } => {
                message.push("cannot ");
                message.push(deed);
                message.push(" ");
                message.push(path);
                message.push(": ");
                message.push(errno::text(error));
                if let Some(hint) = hint {
                    message.push(": ");
                    message.push(hint);
                }
            }
            Self::SameFile { path } => {
                message.push("COUNTER and LOCK are the same file: ");
                message.push(path);
            }
            Self::Timer(error) => {
                message.push("cannot set up timer: ");
                message.push(errno::text(error));
            }
            Self::NoSlots { path, reason } => {
                message.push(path);
                message.push(": --slots is not supported: ");
                message.push(reason);
            }
            Self::Turn(error) => {
                message.push("cannot queue for the lock: ");
                message.push(errno::text(error));
            }
        }
        message
    }
}

/// What can go wrong while asking for a lock on an open descriptor.
#[derive(Debug)]
pub enum Failure {
    /// The lock call failed.
    Lock(io::Error),
    /// No timer for the timeout.
    Timer(io::Error),
    /// No place in the queue.
    Turn(io::Error),
    /// The file cannot have slots, with the reason.
    NoSlots(&'static str),
}

impl Failure {
    /// The error, for a lock on this path or descriptor.
    pub fn of(self, what: impl Into<OsString>) -> Error {
        match self {
            Self::Lock(error) => Error::Lock {
                what: what.into(),
                error,
                hint: None,
            },
            Self::Timer(error) => Error::Timer(error),
            Self::Turn(error) => Error::Turn(error),
            Self::NoSlots(reason) => Error::NoSlots {
                path: what.into(),
                reason,
            },
        }
    }
}
