//! Errors of running a command.

use std::ffi::OsString;
use std::io;

use crate::sys::errno;

/// Why a command did not run as it should.
#[derive(Debug)]
pub enum Error {
    /// A deferred signal was pending before the command was started.
    Interrupted,
    /// No process could be created for the command.
    Fork(io::Error),
    /// The command could not be executed.
    Exec {
        /// The name of the command, as given.
        name: OsString,
        /// The error of the system.
        error: io::Error,
        /// What the error does not say.
        hint: Option<OsString>,
    },
    /// The command could not be waited for.
    Wait(io::Error),
    /// The lock of the command was about to be lost, for this reason, and the command was stopped.
    LockLost(String),
    /// A signal that this process received could not be forwarded to the command.
    Signal {
        /// The number of the signal.
        signal: i32,
        /// The PID of the command.
        pid: i32,
        /// The error of the system.
        error: io::Error,
    },
}

impl Error {
    /// Returns whether the command was started nevertheless.
    pub fn command_has_run(&self) -> bool {
        match self {
            Self::Interrupted | Self::Fork(_) | Self::Exec { .. } => false,
            Self::Wait(_) | Self::LockLost(_) | Self::Signal { .. } => true,
        }
    }

    /// Returns the message, in bytes, because names are bytes.
    pub fn message(&self) -> OsString {
        match self {
            Self::Interrupted => "interrupted before the command was started".into(),
            Self::Fork(error) => format!("fork failed: {}", errno::text(error)).into(),
            Self::Exec { name, error, hint } => {
                let mut message = OsString::from("failed to execute ");
                message.push(name);
                message.push(": ");
                message.push(errno::text(error));
                if let Some(hint) = hint {
                    message.push(": ");
                    message.push(hint);
                }
                message
            }
            Self::Wait(error) => format!("waitpid failed: {}", errno::text(error)).into(),
            Self::LockLost(why) => format!("lock lost, command stopped: {why}").into(),
            Self::Signal { signal, pid, error } => format!(
                "cannot forward signal {signal} to the command (process {pid}): {}",
                errno::text(error)
            )
            .into(),
        }
    }
}

/// Why a process did not run, before the name of the command is known.
#[derive(Debug)]
pub(super) enum SpawnError {
    Fork(io::Error),
    Exec(io::Error),
    Wait(io::Error),
    LockLost(String),
}
