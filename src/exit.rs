//! How the programs end: every error as a status, and the only tables of exit numbers.

use rustix::io::Errno;

use crate::{holders, lock, run};

/// Done.
pub const SUCCESS: u8 = 0;
/// Nobody holds the lock that `flock --who` asks about.
pub const NOBODY: u8 = 1;
/// `EX_SOFTWARE`: a defect in this program.
pub const DEFECT: u8 = 70;

/// The statuses of a program's own, besides [`SUCCESS`] and [`DEFECT`].
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Standard output could not be written.
    pub no_output: u8,
    /// Somebody else has the lock.
    pub conflict: u8,
    /// The words make no request.
    pub usage: u8,
    /// The lock call failed.
    pub lock_failed: u8,
    /// The lock file could not be opened.
    pub not_opened: u8,
    /// The lock file could not be made.
    pub not_created: u8,
    /// Out of descriptors, memory, locks or processes.
    pub exhausted: u8,
    /// There is no such command.
    pub not_found: u8,
    /// The command could not be executed.
    pub not_executed: u8,
    /// The command could not be waited for.
    pub lost_child: u8,
}

/// `flock`: as util-linux has it, where 64 and above are those of BSD's `sysexits.h`.
pub static FLOCK: Table = Table {
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

impl Table {
    /// All of them.
    pub fn statuses(&self) -> [u8; 10] {
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

    /// The status for an error of the lock.
    pub fn of_lock(&self, error: &lock::Error) -> u8 {
        match error {
            lock::Error::Open { error, .. } => match errno(error) {
                Some(Errno::NOMEM | Errno::MFILE | Errno::NFILE) => self.exhausted,
                Some(Errno::ROFS | Errno::NOSPC | Errno::DQUOT) => self.not_created,
                _ => self.not_opened,
            },
            lock::Error::Unsuitable { .. } | lock::Error::Names { .. } => self.not_opened,
            lock::Error::Create { error, .. } => match errno(error) {
                Some(Errno::NOMEM | Errno::MFILE | Errno::NFILE) => self.exhausted,
                _ => self.not_created,
            },
            lock::Error::Lock { error, .. } => match errno(error) {
                Some(Errno::NOLCK | Errno::NOMEM) => self.exhausted,
                _ => self.lock_failed,
            },
            lock::Error::Unsteady { .. } | lock::Error::Socket(_) | lock::Error::NoSlots { .. } => {
                self.lock_failed
            }
            lock::Error::File { .. } | lock::Error::SameFile { .. } => self.not_created,
            // The page of `me-only`, the only one that takes names, has one status for all that bind(2) may say.
            lock::Error::Bind { .. } => self.conflict,
            lock::Error::Timer(_) | lock::Error::Turn(_) => self.exhausted,
        }
    }

    /// The status when it cannot be told who holds a lock.
    pub fn of_holders(&self, error: &holders::Error) -> u8 {
        match error {
            holders::Error::Lock(error) => self.of_lock(error),
            holders::Error::Proc { .. } => self.lock_failed,
        }
    }

    /// The status for an error of the command.
    pub fn of_run(&self, error: &run::Error) -> u8 {
        match error {
            run::Error::Exec { error, .. } => match errno(error) {
                Some(Errno::NOMEM) => self.exhausted,
                Some(Errno::NOENT | Errno::NOTDIR) => self.not_found,
                _ => self.not_executed,
            },
            run::Error::Fork(_) => self.exhausted,
            run::Error::Interrupted | run::Error::Wait(_) | run::Error::Signal { .. } => {
                self.lost_child
            }
        }
    }
}

fn errno(error: &std::io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}
