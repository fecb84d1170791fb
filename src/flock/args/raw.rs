//! The options as they were given.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::time::Duration;

use crate::flock::{OnRelease, ProgressMode, Verbosity};
use crate::lock::Mode;

/// The options as they were given.
#[derive(Debug, Default)]
pub(super) struct RawArgs {
    pub mode: Option<Mode>,
    pub nonblock: bool,
    pub timeout: Option<Duration>,
    pub conflict_status: Option<u8>,
    pub close: bool,
    pub no_fork: bool,
    /// The start and the length of the byte range, if `--fcntl` was given or implied.
    pub range: Option<(i64, i64)>,
    pub descriptor: Option<RawFd>,
    pub name: Option<OsString>,
    pub path: bool,
    pub fair: bool,
    pub slots: Option<u32>,
    pub max_waiters: Option<u32>,
    /// The signal of `--replace`.
    pub replace: Option<i32>,
    pub also: Vec<OsString>,
    pub on_release: OnRelease,
    pub verbosity: Verbosity,
    pub progress: ProgressMode,
    pub terms: TermArgs,
    pub who: WhoArgs,
}

/// The options about the terms of a lock elsewhere as they were given.
#[derive(Debug, Default)]
pub(super) struct TermArgs {
    pub ttl: Option<Duration>,
    pub grace: Option<Duration>,
    pub prints_token: bool,
}

/// The options about `--who` as they were given.
#[derive(Debug, Default)]
pub(super) struct WhoArgs {
    pub who: bool,
    pub json: bool,
    pub pids: bool,
    pub watch: bool,
}

impl WhoArgs {
    /// Returns whether any of them was given.
    pub fn is_given(&self) -> bool {
        self.who || self.json || self.pids || self.watch
    }
}
