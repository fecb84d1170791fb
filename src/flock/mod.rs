//! What `flock` is asked for.

pub mod args;
pub mod failure;
pub mod run;
pub mod who;

use std::ffi::OsString;
use std::os::fd::RawFd;

use crate::lock::{Kind, Mode, Wait};
use crate::run::Command;

/// One of the two things that `flock` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To take a lock, or to drop it.
    Lock(Lock),
    /// To say who has it.
    Who(Who),
}

/// A lock to take or to drop, and what to do under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// What is locked.
    pub target: Target,
    /// The files that are locked too.
    pub also: Vec<OsString>,
    /// What becomes of lock files.
    pub afterwards: Afterwards,
    /// By which system call.
    pub kind: Kind,
    /// Who is served first.
    pub order: Order,
    /// What it is to hold.
    pub mode: Mode,
    /// How long the lock may keep us waiting.
    pub wait: Wait,
    /// What is run under it; nothing, for a descriptor whose lock the caller keeps.
    pub job: Option<Job>,
    /// The status on a conflict or a timeout.
    pub on_conflict: u8,
    /// Whether the story is told.
    pub verbosity: Verbosity,
}

/// Whose locks are looked at, and how the answer is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// One descriptor, or files, at least one, none of which is made.
    pub targets: Vec<Target>,
    /// For whom the answer is.
    pub form: Form,
}

/// For whom an answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// A table for people.
    #[default]
    Table,
    /// An array of objects for programs.
    Json,
    /// The numbers of the processes that hold a lock, for `kill`.
    Pids,
}

/// What is locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A descriptor that the caller has open.
    Descriptor(RawFd),
    /// A file, which is made if it is missing.
    Path(OsString),
}

/// A command and how it is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What is run.
    pub command: Command,
    /// How.
    pub manner: Manner,
}

/// How a command is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// In a child that inherits the lock.
    #[default]
    Child,
    /// In a child that does not inherit the lock.
    ChildWithoutLock,
    /// In place of this process.
    InPlace,
}

/// Whether the story is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// Only what went wrong.
    #[default]
    Quiet,
    /// How long the lock took, why there is none, and what is run.
    Verbose,
}

/// What becomes of a lock file when nobody holds it any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Afterwards {
    /// It stays.
    #[default]
    Keep,
    /// It is removed.
    Unlink,
}

/// Who of several that wait is served first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Whom the kernel chooses.
    #[default]
    Kernel,
    /// Who came first, of those who ask for it so.
    Arrival,
    /// The same, and so many have the lock at the same time.
    Slots(u32),
}
