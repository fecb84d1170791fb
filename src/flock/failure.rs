//! What can fail while a request is carried out.

use std::ffi::OsString;

use crate::exit::{ExitError, Statuses};
use crate::{handle, lock, remote, run};

/// Why `flock` failed.
#[derive(Debug)]
pub enum Failure {
    /// The lock failed.
    Lock(lock::Error),
    /// The lock elsewhere failed.
    Remote(remote::Error),
    /// The descriptor of a lock elsewhere failed.
    Handle(handle::Error),
    /// The command failed.
    Run(run::Error),
}

impl ExitError for Failure {
    fn message(&self) -> OsString {
        match self {
            Self::Lock(error) => error.message(),
            Self::Remote(error) => error.message(),
            Self::Handle(error) => error.message(),
            Self::Run(error) => error.message(),
        }
    }

    fn exit_status(&self, statuses: &Statuses) -> u8 {
        match self {
            Self::Lock(error) => statuses.for_lock(error),
            Self::Remote(error) => statuses.for_remote(error),
            Self::Handle(error) => statuses.for_handle(error),
            Self::Run(error) => statuses.for_run(error),
        }
    }
}

impl From<lock::Error> for Failure {
    fn from(error: lock::Error) -> Self {
        Self::Lock(error)
    }
}

impl From<remote::Error> for Failure {
    fn from(error: remote::Error) -> Self {
        Self::Remote(error)
    }
}

impl From<handle::Error> for Failure {
    fn from(error: handle::Error) -> Self {
        Self::Handle(error)
    }
}

impl From<run::Error> for Failure {
    fn from(error: run::Error) -> Self {
        Self::Run(error)
    }
}
