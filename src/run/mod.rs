//! Running a command under a lock: it sees the spawn_options as the caller left it, gets the signals that are sent to us, and
//! we end as it does.

mod descendants;
mod forward;
mod path_lookup;
mod supervisor;
mod terminal;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;

use crate::sys::deferred_signals::{DeferredSignals, STOP_SIGNALS};
use crate::sys::errno;
use crate::sys::process::{self, ExecImage, ParentDeath, SpawnOptions};
use crate::sys::signal::{self, Disposition, SignalSet};

use forward::SignalForwarder;

pub use forward::terminate_by;

/// A command to run: its words, name first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    args: Vec<OsString>,
    lookup: Lookup,
}

/// Where a program is that is named without a slash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lookup {
    /// In `PATH`, as execvp(3) has it.
    Path,
    /// In the working directory, as execv(2) has it; and if not there, in `PATH`.
    WorkingDirectory,
}

/// Under what terms a command runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions<'a> {
    /// Descriptors that it does not inherit.
    pub close_fds: &'a [BorrowedFd<'a>],
    /// What becomes of it when this process is killed.
    pub supervision: Supervision,
    /// The signals that the caller holds back until he has tidied up after the command. If one has come before the
    /// command is started, it is not started; what comes after its end waits.
    pub deferred: Option<&'a DeferredSignals>,
}

/// What happens to a command when this process is killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Supervision {
    /// Signals that can be caught are forwarded to it. After `SIGKILL` it continues to run.
    #[default]
    Direct,
    /// It is stopped, together with all processes that it has left behind in our session, before the
    /// descriptors that it does not inherit are closed. A lock that they hold outlasts the command.
    Supervised,
}

impl Command {
    /// A program and its arguments, untouched. `None` when there is not even a name.
    pub fn new(args: Vec<OsString>) -> Option<Self> {
        Self::with_lookup(Lookup::Path, args)
    }

    /// The same for a program that may be named by a path of the working directory without a slash.
    pub fn in_working_directory(args: Vec<OsString>) -> Option<Self> {
        Self::with_lookup(Lookup::WorkingDirectory, args)
    }

    fn with_lookup(lookup: Lookup, args: Vec<OsString>) -> Option<Self> {
        (!args.is_empty()).then_some(Self { args, lookup })
    }

    /// A line for `/bin/sh -c`, as system(3) runs it.
    pub fn system(line: OsString) -> Self {
        Self {
            args: vec!["/bin/sh".into(), "-c".into(), line],
            lookup: Lookup::Path,
        }
    }

    /// A line for the caller's shell: `$SHELL -c line`, or `/bin/sh` where `SHELL` is unset or empty.
    pub fn shell(line: OsString) -> Self {
        let shell = std::env::var_os("SHELL")
            .filter(|shell| !shell.is_empty())
            .unwrap_or_else(|| "/bin/sh".into());
        Self {
            args: vec![shell, "-c".into(), line],
            lookup: Lookup::Path,
        }
    }

    /// The program's name, as given.
    pub fn name(&self) -> &OsStr {
        &self.args[0]
    }

    /// Its words, name first, as they will be executed.
    pub fn args(&self) -> &[OsString] {
        &self.args
    }

    /// Looks for the program in `PATH`, as execvp(3) would, without executing anything.
    ///
    /// # Errors
    ///
    /// There is none, or none that may be executed.
    pub fn find(&self) -> Result<(), Error> {
        path_lookup::find(&self.image()).map_err(|error| self.not_executed(error))
    }

    /// Runs it in a child and waits for its end, passing on the signals that are sent to this process. When it stops,
    /// so do we, and we go on together.
    ///
    /// `warn` is told what went wrong on the way.
    ///
    /// # Errors
    ///
    /// It could not be started or executed.
    pub fn run(
        &self,
        options: RunOptions<'_>,
        warn: &mut dyn FnMut(Error),
    ) -> Result<ExitReason, Error> {
        let mut image = self.image();
        // With SIGCHLD ignored the kernel would keep the command's status to itself.
        let sigchld = signal::set_disposition(signal::number::CHLD, Disposition::Default);
        // From here on nothing can end us between the command's start and its end: whatever is sent waits for `forwarder`.
        let mask = signal::set_mask(SignalSet::ALL);
        // What came while we were at it is for us alone: there is no command yet. It ends us here or never, or when the
        // caller lets it.
        match options.deferred {
            Some(deferred) if deferred.is_pending() => return Err(Error::Interrupted),
            None if signal::pending().minus(mask) != SignalSet::EMPTY => {
                signal::set_mask(mask);
                signal::set_mask(SignalSet::ALL);
            }
            _ => {}
        }
        let spawn_options = SpawnOptions {
            mask: options.deferred.map_or(mask, DeferredSignals::mask),
            sigchld,
            close_fds: options.close_fds,
            report_pid: None,
            parent_death: match options.supervision {
                Supervision::Direct => ParentDeath::Survive,
                Supervision::Supervised => ParentDeath::Kill,
            },
        };
        let outcome = match options.supervision {
            Supervision::Direct => run_directly(&mut image, &spawn_options, warn),
            Supervision::Supervised => supervisor::run(&mut image, &spawn_options, warn),
        };
        // What came after the command's end is for us alone again: Ctrl-C between two rounds of a loop ends the loop.
        match options.deferred {
            Some(deferred) => deferred.keep_stop_signals(),
            None => {
                signal::unblock(SignalSet::from_signals(&STOP_SIGNALS).minus(mask));
            }
        }
        outcome.map_err(|error| match error {
            SpawnError::Fork(error) => Error::Fork(error),
            SpawnError::Exec(error) => self.not_executed(error),
            SpawnError::Wait(error) => Error::Wait(error),
        })
    }

    /// Replaces this process by the command. Returns only the error.
    pub fn exec(&self) -> Error {
        self.not_executed(self.image().exec())
    }

    fn image(&self) -> ExecImage {
        path_lookup::image(&self.args, self.lookup)
    }

    fn not_executed(&self, error: io::Error) -> Error {
        Error::Exec {
            name: self.name().to_owned(),
            error,
        }
    }
}

/// Runs it as our own child.
fn run_directly(
    image: &mut ExecImage,
    spawn_options: &SpawnOptions<'_>,
    warn: &mut dyn FnMut(Error),
) -> Result<ExitReason, SpawnError> {
    let child = process::spawn(image, spawn_options).map_err(SpawnError::Fork)?;
    let mut forwarder = SignalForwarder::new(child.pid, signal::pending());
    let end = forwarder.wait_for_exit(warn).map_err(SpawnError::Wait)?;
    match child.exec_error() {
        Some(error) => Err(SpawnError::Exec(error)),
        None => Ok(forwarder.classify(end)),
    }
}

/// Why a command did not run, before its name is known.
#[derive(Debug)]
enum SpawnError {
    Fork(io::Error),
    Exec(io::Error),
    Wait(io::Error),
}

/// Why a command exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// It exited with this status.
    Exited(u8),
    /// It was killed by a signal that was sent to it alone.
    Signaled(i32),
    /// It was killed by a signal that was sent to this process, too.
    SignaledToo(i32),
}

/// Why a command did not run as it should.
#[derive(Debug)]
pub enum Error {
    /// A signal that the caller holds back has come before.
    Interrupted,
    /// No process could be had for it.
    Fork(io::Error),
    /// It could not be executed.
    Exec {
        /// Its name, as given.
        name: OsString,
        /// What the system says.
        error: io::Error,
    },
    /// It could not be waited for.
    Wait(io::Error),
    /// A signal that was sent to us could not be passed on to it.
    Signal {
        /// The signal's number.
        signal: i32,
        /// The command's process.
        pid: i32,
        /// What the system says.
        error: io::Error,
    },
}

impl Error {
    /// The message, in bytes, as names are.
    pub fn message(&self) -> OsString {
        match self {
            Self::Interrupted => "interrupted before the command was started".into(),
            Self::Fork(error) => format!("fork failed: {}", errno::text(error)).into(),
            Self::Exec { name, error } => {
                let mut message = OsString::from("failed to execute ");
                message.push(name);
                message.push(": ");
                message.push(errno::text(error));
                message
            }
            Self::Wait(error) => format!("waitpid failed: {}", errno::text(error)).into(),
            Self::Signal { signal, pid, error } => format!(
                "cannot forward signal {signal} to the command (process {pid}): {}",
                errno::text(error)
            )
            .into(),
        }
    }
}
