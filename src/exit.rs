//! How the program ends: every error as a status, and the only table of exit numbers.
//!
//! The numbers above 1 are those of BSD's `sysexits.h`, as in util-linux.

use rustix::io::Errno;

use crate::{lock, run};

/// Done.
pub const SUCCESS: u8 = 0;
/// Somebody else has the lock; the default, which `-E` changes.
pub const CONFLICT: u8 = 1;
/// Standard output could not be written.
pub const NO_OUTPUT: u8 = 1;
/// The command could not be waited for.
pub const LOST_CHILD: u8 = 1;
/// `EX_USAGE`: the words make no request.
pub const USAGE: u8 = 64;
/// `EX_DATAERR`: the lock call failed.
pub const LOCK_FAILED: u8 = 65;
/// `EX_NOINPUT`: the lock file could not be opened.
pub const NOT_OPENED: u8 = 66;
/// `EX_UNAVAILABLE`: the command could not be executed.
pub const NOT_EXECUTED: u8 = 69;
/// `EX_SOFTWARE`: a defect in this program.
pub const DEFECT: u8 = 70;
/// `EX_OSERR`: out of descriptors, memory, locks or processes.
pub const EXHAUSTED: u8 = 71;
/// `EX_CANTCREAT`: the lock file could not be made.
pub const NOT_CREATED: u8 = 73;

/// The status of a shell's child that died of signal 0; `$?` is this plus the signal's number.
const KILLED: u8 = 128;

/// How to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Status(u8),
    /// By this signal, or with its status where it does not end us.
    Signal(i32),
}

impl Exit {
    /// The status to exit with, unless this ends the process by a signal at once.
    pub fn take(self) -> u8 {
        match self {
            Self::Status(status) => status,
            Self::Signal(signal) => {
                run::end_like(signal);
                killed(signal)
            }
        }
    }
}

impl From<run::Ended> for Exit {
    fn from(ended: run::Ended) -> Self {
        match ended {
            run::Ended::Exited(status) => Self::Status(status),
            run::Ended::KilledAlone(signal) => Self::Status(killed(signal)),
            run::Ended::KilledWithUs(signal) => Self::Signal(signal),
        }
    }
}

fn killed(signal: i32) -> u8 {
    KILLED + signal as u8
}

/// The status for an error of the lock.
pub fn of_lock(error: &lock::Error) -> u8 {
    match error {
        lock::Error::Open { error, .. } => match errno(error) {
            Some(Errno::NOMEM | Errno::MFILE | Errno::NFILE) => EXHAUSTED,
            Some(Errno::ROFS | Errno::NOSPC | Errno::DQUOT) => NOT_CREATED,
            _ => NOT_OPENED,
        },
        lock::Error::Unsuitable { .. } => NOT_OPENED,
        lock::Error::Lock { error, .. } => match errno(error) {
            Some(Errno::NOLCK | Errno::NOMEM) => EXHAUSTED,
            _ => LOCK_FAILED,
        },
        lock::Error::Unsteady { .. } => LOCK_FAILED,
        lock::Error::Timer(_) => EXHAUSTED,
    }
}

/// The status for an error of the command.
pub fn of_run(error: &run::Error) -> u8 {
    match error {
        run::Error::Exec { error, .. } if errno(error) == Some(Errno::NOMEM) => EXHAUSTED,
        run::Error::Exec { .. } => NOT_EXECUTED,
        run::Error::Fork(_) => EXHAUSTED,
        run::Error::Wait(_) | run::Error::Signal { .. } => LOST_CHILD,
    }
}

fn errno(error: &std::io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}
