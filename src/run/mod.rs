//! Running a command under a lock: the command sees the environment that the caller set up, and
//! gets the signals that are sent to this process. This process exits in the same way as the
//! command.

mod descendants;
mod error;
mod exec_hint;
mod forward;
pub mod lease;
mod path_lookup;
mod supervisor;
mod terminal;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;

use crate::sys::deferred_signals::{DeferredSignals, STOP_SIGNALS};
use crate::sys::signal::{self, Disposition, SignalSet};
use crate::sys::spawn::{self, ExecImage, ParentDeath, SpawnOptions};

use error::SpawnError;
use forward::SignalForwarder;
use lease::Lease;
use path_lookup::Lookup;

pub use error::Error;
pub use forward::{ExitReason, terminate_by};

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    args: Vec<OsString>,
    lookup: Lookup,
}

/// How a command is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions<'a> {
    /// Descriptors that the command does not inherit.
    pub close_fds: &'a [BorrowedFd<'a>],
    /// What happens to the command when this process is killed.
    pub supervision: Supervision<'a>,
    /// The signals that the caller defers until it has cleaned up after the command. If one is
    /// pending before the command is started, the command is not started. One that arrives after
    /// the command has exited stays pending.
    pub deferred: Option<&'a DeferredSignals>,
}

/// What happens to a command when this process is killed.
#[derive(Clone, Copy, Debug, Default)]
pub enum Supervision<'a> {
    /// Signals that can be caught are forwarded to the command. After `SIGKILL` it continues to
    /// run.
    #[default]
    Direct,
    /// The command is killed, and so are all processes that it has left behind in the session of
    /// this process, before the descriptors that it does not inherit are closed. So a lock that
    /// these descriptors hold outlasts the command.
    Supervised,
    /// All processes of the command are stopped when this lease runs out, and killed when this
    /// process is killed. Only when all of them have exited, this process returns.
    Leased(&'a Lease<'a>),
}

impl Command {
    /// Creates a command from its arguments, name first. Returns `None` if there is no name.
    pub fn new(args: Vec<OsString>) -> Option<Self> {
        Self::with_lookup(Lookup::Path, args)
    }

    /// Like [`Command::new`], but a name without a slash may also be that of a program in the
    /// working directory.
    pub fn in_working_directory(args: Vec<OsString>) -> Option<Self> {
        Self::with_lookup(Lookup::WorkingDirectory, args)
    }

    fn with_lookup(lookup: Lookup, args: Vec<OsString>) -> Option<Self> {
        (!args.is_empty()).then_some(Self { args, lookup })
    }

    /// Creates a command that runs a line with `/bin/sh -c`, as system(3) does.
    pub fn system(line: OsString) -> Self {
        Self::line("/bin/sh".into(), line)
    }

    /// Creates a command that runs a line with `$SHELL -c`, or with `/bin/sh -c` if `SHELL` is
    /// unset or empty.
    pub fn shell(line: OsString) -> Self {
        match std::env::var_os("SHELL") {
            Some(shell) if !shell.is_empty() => Self::line(shell, line),
            _ => Self::system(line),
        }
    }

    fn line(shell: OsString, line: OsString) -> Self {
        Self {
            args: vec![shell, "-c".into(), line],
            lookup: Lookup::Path,
        }
    }

    /// Returns the name of the program, as given.
    pub fn name(&self) -> &OsStr {
        &self.args[0]
    }

    /// Returns the arguments, name first, as they will be executed.
    pub fn args(&self) -> &[OsString] {
        &self.args
    }

    /// Checks that the program can be found as execvp(3) would find it, without executing anything.
    ///
    /// # Errors
    ///
    /// There is no such program, or none that may be executed.
    pub fn find(&self) -> Result<(), Error> {
        path_lookup::find(&self.image()).map_err(|error| self.exec_error(error))
    }

    /// Runs the command in a child process, forwards the signals that are sent to this process, and
    /// waits until the command exits. When the command stops, so does this process, and both
    /// continue together.
    ///
    /// Calls `warn` with errors that do not keep the command from running.
    ///
    /// # Errors
    ///
    /// The command could not be started, executed or waited for.
    pub fn run(
        &self,
        options: RunOptions<'_>,
        warn: &mut dyn FnMut(Error),
    ) -> Result<ExitReason, Error> {
        let image = self.image();
        // If SIGCHLD were ignored, the kernel would discard the status of the command.
        let sigchld = signal::set_disposition(signal::number::CHLD, Disposition::Default);
        // From here on, no signal that can be blocked terminates this process between the start and
        // the exit of the command: all wait for the forwarder.
        let mask = signal::set_mask(SignalSet::ALL);
        // A signal that has arrived until now is meant for this process alone: there is no command
        // yet. It terminates this process here or not at all, or, if it is deferred, when the
        // caller permits it.
        match options.deferred {
            Some(deferred) if deferred.is_pending() => return Err(Error::Interrupted),
            None if signal::pending().difference(mask) != SignalSet::EMPTY => {
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
                Supervision::Supervised | Supervision::Leased(_) => ParentDeath::Kill(None),
            },
        };
        let result = match options.supervision {
            Supervision::Direct => run_directly(image, &spawn_options, warn),
            Supervision::Supervised => supervisor::run(image, &spawn_options, warn),
            Supervision::Leased(lease) => lease::run(image, &spawn_options, lease, warn),
        };
        // A signal that arrived after the command exited is meant for this process alone again:
        // Ctrl-C between two iterations of a loop ends the loop.
        match options.deferred {
            Some(deferred) => deferred.keep_stop_signals(),
            None => {
                signal::unblock(SignalSet::from_signals(&STOP_SIGNALS).difference(mask));
            }
        }
        result.map_err(|error| match error {
            SpawnError::Fork(error) => Error::Fork(error),
            SpawnError::Exec(error) => self.exec_error(error),
            SpawnError::Wait(error) => Error::Wait(error),
            SpawnError::LockLost(why) => Error::LockLost(why),
        })
    }

    /// Replaces this process by the command. Returns only on error.
    pub fn exec(&self) -> Error {
        self.exec_error(self.image().exec())
    }

    fn image(&self) -> ExecImage {
        path_lookup::exec_image(&self.args, self.lookup)
    }

    fn exec_error(&self, error: io::Error) -> Error {
        Error::Exec {
            name: self.name().to_owned(),
            hint: exec_hint::explain(self.name(), &self.image(), &error),
            error,
        }
    }
}

/// Runs the command as a child of this process.
fn run_directly(
    image: ExecImage,
    options: &SpawnOptions<'_>,
    warn: &mut dyn FnMut(Error),
) -> Result<ExitReason, SpawnError> {
    let child = spawn::spawn(image, options).map_err(SpawnError::Fork)?;
    let mut forwarder = SignalForwarder::new(child.pid, None);
    let reason = forwarder.wait_for_exit(warn).map_err(SpawnError::Wait)?;
    match child.into_exec_error() {
        Some(error) => Err(SpawnError::Exec(error)),
        None => Ok(forwarder.classify(reason)),
    }
}
