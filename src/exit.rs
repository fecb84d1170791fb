//! Exit statuses: the only table that maps errors to numbers.

use std::ffi::OsString;
use std::io;

use rustix::io::Errno;

use crate::lock::advisory::Meaning;
use crate::run::ExitReason;
use crate::{handle, holders, lock, remote, run, sys};

/// Success.
pub const SUCCESS: u8 = 0;
/// No process holds the lock that `flock --who` asks about.
pub const NOT_HELD: u8 = 1;
/// `EX_SOFTWARE`: a defect in this program.
pub const SOFTWARE: u8 = 70;

/// `EX_TEMPFAIL`: a lock elsewhere was lost, and its processes were stopped.
pub const LOCK_LOST: u8 = 75;

/// The statuses of one program, besides [`SUCCESS`] and [`SOFTWARE`].
#[derive(Clone, Copy, Debug)]
pub struct Statuses {
    /// Standard output could not be written.
    pub no_output: u8,
    /// Another process holds the lock.
    pub conflict: u8,
    /// The command line is invalid.
    pub usage: u8,
    /// The lock call failed.
    pub lock_failed: u8,
    /// The lock file could not be opened.
    pub not_opened: u8,
    /// The lock file could not be created.
    pub not_created: u8,
    /// No descriptors, memory, locks or processes are left.
    pub exhausted: u8,
    /// The command does not exist.
    pub not_found: u8,
    /// The command could not be executed.
    pub not_executed: u8,
    /// The command could not be waited for.
    pub lost_child: u8,
}

/// The statuses of `flock`, as in util-linux: 64 and above are those of BSD's `sysexits.h`.
pub static FLOCK: Statuses = Statuses {
    no_output: 1,
    conflict: 1,
    usage: 64,
    lock_failed: 65,
    not_opened: 66,
    not_created: 73,
    exhausted: 71,
    not_found: 69,
    not_executed: 69,
    lost_child: 1,
};

/// Added to the number of a signal in the status of a command that it killed, as in a shell's `$?`.
const SIGNALED: u8 = 128;

/// How this process exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Status(u8),
    /// By this signal, or with its status if the signal does not terminate this process.
    Signal(i32),
}

impl Exit {
    /// Returns the status to exit with, unless it terminates this process by a signal.
    pub fn into_code(self) -> u8 {
        match self {
            Self::Status(status) => status,
            Self::Signal(signal) => {
                run::terminate_by(signal);
                signaled(signal)
            }
        }
    }
}

impl From<ExitReason> for Exit {
    fn from(reason: ExitReason) -> Self {
        match reason {
            ExitReason::Exited(status) => Self::Status(status),
            ExitReason::Signaled(signal) => Self::Status(signaled(signal)),
            ExitReason::SignaledToo(signal) => Self::Signal(signal),
        }
    }
}

fn signaled(signal: i32) -> u8 {
    SIGNALED + signal as u8
}

/// An error that ends a program with a message and an exit status.
pub trait ExitError {
    /// Returns the message, in bytes, because paths are bytes.
    fn message(&self) -> OsString;

    /// Returns the exit status of a program with these statuses.
    fn exit_status(&self, statuses: &Statuses) -> u8;
}

impl Statuses {
    /// Returns all statuses.
    pub fn all(&self) -> [u8; 10] {
        [
            self.no_output,
            self.conflict,
            self.usage,
            self.lock_failed,
            self.not_opened,
            self.not_created,
            self.exhausted,
            self.not_found,
            self.not_executed,
            self.lost_child,
        ]
    }

    /// Returns the status for an error of the lock.
    pub fn for_lock(&self, error: &lock::Error) -> u8 {
        match error {
            lock::Error::Open { error, .. } if is_exhaustion(error) => self.exhausted,
            lock::Error::Open { error, .. } => match errno(error) {
                Some(Errno::ROFS | Errno::NOSPC | Errno::DQUOT) => self.not_created,
                _ => self.not_opened,
            },
            lock::Error::UnsuitableFile { .. } | lock::Error::UnsafeDirectory { .. } => {
                self.not_opened
            }
            lock::Error::Lock { error, .. } => match errno(error).map(Meaning::from_errno) {
                Some(Meaning::Exhausted) => self.exhausted,
                _ => self.lock_failed,
            },
            lock::Error::NotReplaced { .. } => self.conflict,
            lock::Error::UnstableInode { .. }
            | lock::Error::SlotsUnsupported { .. }
            | lock::Error::PlacesUnsupported { .. } => self.lock_failed,
            lock::Error::Remove { .. } | lock::Error::NotRemoved { .. } => self.not_created,
            lock::Error::Timer(_) | lock::Error::Queue(_) => self.exhausted,
        }
    }

    /// Returns the status for an error of `flock --who`.
    pub fn for_holders(&self, error: &holders::Error) -> u8 {
        match error {
            holders::Error::Lock(error) => self.for_lock(error),
            holders::Error::Proc { error, .. } if is_exhaustion(error) => self.exhausted,
            holders::Error::Proc { .. } => self.lock_failed,
        }
    }

    /// Returns the status for an error of a lock elsewhere.
    pub fn for_remote(&self, error: &remote::Error) -> u8 {
        match error {
            remote::Error::NoHelper { .. } | remote::Error::Helper { .. } => self.not_found,
            remote::Error::Start(_) => self.exhausted,
            remote::Error::Late(_) => LOCK_LOST,
            remote::Error::Engine { status, .. } => *status,
        }
    }

    /// Returns the status for an error of a descriptor with a lock elsewhere.
    pub fn for_handle(&self, error: &handle::Error) -> u8 {
        match error {
            handle::Error::Unsuitable { .. } | handle::Error::Hidden(_) => self.lock_failed,
            handle::Error::Start(_) => self.exhausted,
            handle::Error::Lost(_) => LOCK_LOST,
        }
    }

    /// Returns the status for an error of the command.
    pub fn for_run(&self, error: &run::Error) -> u8 {
        match error {
            run::Error::Exec { error, .. } => match errno(error) {
                Some(Errno::NOMEM) => self.exhausted,
                Some(Errno::NOENT | Errno::NOTDIR) => self.not_found,
                _ => self.not_executed,
            },
            run::Error::Fork(_) => self.exhausted,
            run::Error::LockLost(_) => LOCK_LOST,
            run::Error::Interrupted | run::Error::Wait(_) | run::Error::Signal { .. } => {
                self.lost_child
            }
        }
    }
}

/// Whether an error of open(2) means that memory or descriptors are exhausted.
pub fn is_exhaustion(error: &io::Error) -> bool {
    errno(error).is_some_and(sys::errno::is_exhaustion)
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}
