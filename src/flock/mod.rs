//! `flock`: its requests.
//!
//! * [`args`] – from arguments to a request.
//! * [`run`] – carries out a request.
//! * [`verbose`] – the output of `--verbose`.
//! * `progress` – the display of `--progress`.
//! * [`print_path`] – carries out `--path`.
//! * [`replace`] – stops the holders of a lock, and takes their place.
//! * `missing_queue` – its warnings where there is no order.
//! * `directory_scope` – its warning about directories on file servers.
//! * [`remote`] – carries out a request for a lock elsewhere.
//! * [`who`] – carries out `--who`.
//! * `terminal` – what the displays know about a terminal.
//! * [`failure`] – what can fail.
//! * `exec_hint` – explains commands that do not exist.

pub mod args;
mod directory_scope;
mod exec_hint;
pub mod failure;
mod missing_queue;
pub mod print_path;
mod progress;
pub mod remote;
pub mod replace;
pub mod run;
mod terminal;
pub mod verbose;
pub mod who;

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::time::Duration;

use crate::lock::advisory::LockApi;
use crate::lock::{Mode, Timeout};
use crate::remote::terms::Terms;
use crate::remote::url::Url;
use crate::run::Command;

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Acquire or release a lock.
    Lock(LockRequest),
    /// Acquire a lock elsewhere.
    Remote(RemoteRequest),
    /// List the holders and waiters of locks.
    Who(WhoRequest),
    /// List the holders and waiters of a lock elsewhere.
    RemoteWho(RemoteWhoRequest),
    /// Print the path of the lock file that is given by name.
    PrintPath(OsString),
}

/// A lock to acquire or release, and the command to run under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRequest {
    /// What to lock.
    pub target: Target,
    /// Whether the target is the path of a lock file that is given by name.
    pub is_named: bool,
    /// More files to lock.
    pub also: Vec<OsString>,
    /// What to do with the lock files after the lock has been released.
    pub on_release: OnRelease,
    /// The system call.
    pub api: LockApi,
    /// The order in which waiters acquire the lock.
    pub fairness: Fairness,
    /// How many processes may wait, including this one.
    pub max_waiters: Option<u32>,
    /// How to stop the processes that hold the lock, if they are to be stopped.
    pub replace: Option<Replace>,
    /// The lock that is to be held.
    pub mode: Mode,
    /// How long to wait for the lock.
    pub timeout: Timeout,
    /// The command to run; `None` for a descriptor whose lock the caller keeps.
    pub job: Option<Job>,
    /// Whether programs that the caller starts later are not to inherit the descriptor that it
    /// keeps. Only the bash builtin can see to that: the caller is its own process.
    pub close_on_exec: bool,
    /// The exit status on a conflict or a timeout.
    pub conflict_status: u8,
    /// Whether to report progress.
    pub verbosity: Verbosity,
    /// Whether to show the progress of a wait.
    pub progress: ProgressMode,
}

/// A lock elsewhere to acquire or release, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteRequest {
    /// The lock.
    pub url: Url,
    /// More locks, with the same scheme.
    pub also: Vec<Url>,
    /// How long the lock outlasts its last renewal, and the like.
    pub terms: Terms,
    /// The number of holders that are allowed at once, instead of one.
    pub slots: Option<u32>,
    /// The lock that is to be held.
    pub mode: Mode,
    /// How long to wait for the lock.
    pub timeout: Timeout,
    /// What it is for.
    pub job: RemoteJob,
    /// Whether the token is printed.
    pub prints_token: bool,
    /// The exit status on a conflict or a timeout.
    pub conflict_status: u8,
    /// Whether to report progress.
    pub verbosity: Verbosity,
}

/// What a lock elsewhere is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteJob {
    /// It is held while this command runs.
    Command(Command),
    /// It is tied to this descriptor of the caller's.
    Descriptor(RawFd),
}

/// The files to list, and the output format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhoRequest {
    /// A descriptor, or files; missing files are not created. Without any, all locks of the
    /// machine are listed.
    pub targets: Vec<Target>,
    /// The output format.
    pub format: OutputFormat,
    /// Whether the list is printed again and again.
    pub watch: bool,
}

/// A request to list the holders and waiters of a lock elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteWhoRequest {
    /// The lock.
    pub url: Url,
    /// The output format.
    pub format: OutputFormat,
}

/// The output format of `--who`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputFormat {
    /// A table.
    #[default]
    Table,
    /// A JSON array of objects.
    Json,
    /// The PIDs of the holders, for kill(1).
    Pids,
}

/// What to lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A descriptor that the caller has opened.
    Descriptor(RawFd),
    /// A file, which is created if it is missing.
    Path(OsString),
}

impl Target {
    /// Whether other processes may have the open file description, too.
    fn may_be_shared(&self) -> bool {
        matches!(self, Self::Descriptor(_))
    }
}

/// A command, and how to run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The command.
    pub command: Command,
    /// How to run it.
    pub exec_mode: ExecMode,
}

/// How a command is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExecMode {
    /// In a child process that inherits the lock.
    #[default]
    Fork,
    /// In a child process that does not inherit the lock.
    ForkAndClose,
    /// In place of this process.
    Exec,
}

/// Whether progress is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// Report errors only.
    #[default]
    Quiet,
    /// Report the holder, the wait time and the command, too.
    Verbose,
}

/// How the processes that hold the lock are stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replace {
    /// The signal that asks them to stop.
    pub signal: i32,
    /// How long they may take before they are killed.
    pub grace: Duration,
}

/// Whether the progress of a wait is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProgressMode {
    /// If the environment says so.
    #[default]
    FromEnvironment,
    /// Always.
    Shown,
}

/// What happens to a lock file after its last holder has exited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRelease {
    /// It stays.
    #[default]
    Keep,
    /// It is removed.
    Unlink,
}

/// The order in which waiters acquire the lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fairness {
    /// The kernel decides.
    #[default]
    None,
    /// In arrival order among all processes that ask for it.
    Fifo,
    /// In arrival order, with this many holders at once.
    Slots(u32),
}
