//! Advisory locks: what kinds there are, and how one is taken.
//!
//! [`descriptor::acquire`] brings a descriptor of the caller's into the wanted [`Mode`], [`file::acquire`] the file at a path.
//! [`name::acquire`] takes a name that has no file at all.
//!
//! In the order of arrival: `queue`, by [`turn`]s; with several at a time: `slots`. What both leave in the lock file for as
//! long as they are there is a [`mark`].

pub mod descriptor;
pub mod file;
mod flock;
pub mod link;
pub mod local;
pub mod mark;
pub mod name;
mod ofd;
mod owner;
pub mod pid_file;
pub mod process;
pub mod publish;
mod queue;
pub mod resource;
pub mod several;
mod slots;
pub mod turn;

mod wait;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, FdFlags};

pub use wait::{Called, Deadline, Until, Wait};

use mark::Moment;

use crate::sys::attention::Attention;
use crate::sys::errno;
use crate::sys::timer::Interrupter;

/// Whose locks, and on what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// flock(2): the whole file.
    Flock,
    /// The same in the order of arrival among all who ask for it so, by one who came at this moment.
    Fair(Moment),
    /// One of so many slots of the file, in the order of arrival, by one who came at this moment.
    Slot {
        /// How many there are.
        of: u32,
        /// When he came.
        since: Moment,
    },
    /// Open file description locks of fcntl(2): `length` bytes from `start`; length 0 means to the end of the file and
    /// beyond.
    Ofd {
        /// The first byte.
        start: i64,
        /// How many.
        length: i64,
    },
}

/// What the descriptor is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A lock that others may share, also called a read lock.
    Shared,
    /// A lock that excludes all others, also called a write lock.
    Exclusive,
    /// None: what it holds is dropped.
    Unlocked,
}

/// How a request for a lock ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The lock is held.
    Granted,
    /// Somebody else has it, and we were not to wait.
    Conflict,
    /// Somebody else had it until the time was up.
    TimedOut,
    /// A signal of the host's came first: see [`Deadline::Attentive`].
    Interrupted,
}

/// A lock that is held. Dropping it releases a lock on a file that we opened, unless a command has inherited it; one
/// on the caller's descriptor stays with that.
#[derive(Debug)]
pub enum Guard {
    /// On a descriptor of the caller's.
    Theirs(BorrowedFd<'static>),
    /// On a file that we opened.
    Ours(OwnedFd),
}

impl AsFd for Guard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Theirs(fd) => *fd,
            Self::Ours(fd) => fd.as_fd(),
        }
    }
}

/// A lock, or the answer that there is none.
pub type Grant = Result<Guard, Answer>;

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
                message.push(", and a lock file must be ");
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
                message.push(
                    ": cannot tell whether it was replaced, as its device and inode keep changing",
                );
            }
            Self::Names { path, problem } => {
                message.push(path);
                message.push(": ");
                message.push(problem);
            }
            Self::Socket(error) => {
                message.push("cannot make a socket: ");
                message.push(errno::text(error));
            }
            Self::Bind { name, error } => {
                message.push("cannot take the name ");
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
            Self::Timer(error) => {
                message.push("cannot set up timer: ");
                message.push(errno::text(error));
            }
            Self::NoSlots { path, reason } => {
                message.push(path);
                message.push(": no slots here, as ");
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
enum Failure {
    Lock(io::Error),
    Timer(io::Error),
    Turn(io::Error),
    NoSlots(&'static str),
}

impl Failure {
    /// The error, for a lock on this path or descriptor.
    fn of(self, what: impl Into<OsString>) -> Error {
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

/// Brings an open file description into the mode, waiting no longer than the deadline.
///
/// It blocks in the kernel and keeps its place in the kernel's queue: with a deadline too, it is interrupted once the
/// time is up and not before. A lock that is granted in the very moment of the deadline counts as granted.
fn acquire(
    fd: BorrowedFd<'_>,
    kind: Kind,
    mode: Mode,
    deadline: &Deadline,
) -> Result<Answer, Failure> {
    match kind {
        Kind::Flock | Kind::Ofd { .. } => {}
        Kind::Fair(since) => return queue::acquire(fd, mode, since, deadline),
        Kind::Slot { of, since } => return slots::acquire(fd, of, since, deadline),
    }
    match deadline {
        Deadline::Now => return attempt(fd, kind, mode, Block::No),
        Deadline::Never => {}
        Deadline::At(_) | Deadline::Attentive(..) => {
            // Most locks are free, and one that is free needs no timer.
            if attempt(fd, kind, mode, Block::No)? == Answer::Granted {
                return Ok(Answer::Granted);
            }
        }
    }
    let until = deadline.until();
    if let Deadline::Attentive(_, called) = deadline {
        return attentively(fd, kind, mode, until, *called);
    }
    let _alarm = match until {
        None => None,
        Some(until) => match until.left() {
            None => return Ok(Answer::TimedOut),
            Some(left) => Some(Interrupter::after(left).map_err(Failure::Timer)?),
        },
    };
    loop {
        match attempt(fd, kind, mode, Block::Yes) {
            Err(Failure::Lock(error)) if error.kind() == io::ErrorKind::Interrupted => {
                if until.is_some_and(|until| until.left().is_none()) {
                    return Ok(Answer::TimedOut);
                }
            }
            other => return other,
        }
    }
}

/// Blocks until the lock is there, the time is up, or the host is called.
fn attentively(
    fd: BorrowedFd<'_>,
    kind: Kind,
    mode: Mode,
    until: Option<Until>,
    called: Called,
) -> Result<Answer, Failure> {
    let left = until.map(Until::left);
    if left == Some(None) {
        return Ok(Answer::TimedOut);
    }
    let attention = Attention::begin(left.flatten(), called).map_err(Failure::Timer)?;
    if attention.is_none() {
        return Ok(Answer::Interrupted);
    }
    match attempt(fd, kind, mode, Block::Yes) {
        Err(Failure::Lock(error)) if error.kind() == io::ErrorKind::Interrupted => {
            Ok(match until.map(Until::left) {
                Some(None) => Answer::TimedOut,
                _ => Answer::Interrupted,
            })
        }
        other => other,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    No,
    Yes,
}

fn attempt(fd: BorrowedFd<'_>, kind: Kind, mode: Mode, block: Block) -> Result<Answer, Failure> {
    let result = match kind {
        Kind::Flock | Kind::Fair(_) | Kind::Slot { .. } => flock::lock(fd, mode, block),
        Kind::Ofd { start, length } => ofd::lock(fd, mode, block, start, length),
    };
    match result {
        Ok(()) => Ok(Answer::Granted),
        Err(error) if is_conflict(&error, block) => Ok(Answer::Conflict),
        Err(error) => Err(Failure::Lock(error)),
    }
}

/// Servers of CIFS, and other systems' fcntl(2), say `EACCES` for a conflict. From a call that may block it is none: it
/// is a security module that forbids the lock.
fn is_conflict(error: &io::Error, block: Block) -> bool {
    match error.kind() {
        io::ErrorKind::WouldBlock => true,
        io::ErrorKind::PermissionDenied => block == Block::No,
        _ => false,
    }
}

/// A caller who closed 0, 1 or 2 wants the command to find them closed, not open on a lock.
fn above_stderr(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    // A minimum above the limit of descriptors is called invalid; it is the limit that is the matter.
    let full = |error| {
        if error == Errno::INVAL {
            Errno::MFILE
        } else {
            error
        }
    };
    let above = rustix::io::fcntl_dupfd_cloexec(&fd, 3).map_err(full)?;
    rustix::io::fcntl_setfd(&above, FdFlags::empty())?;
    Ok(above)
}
