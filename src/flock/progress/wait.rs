//! A wait, as the companion knows it.

use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::flock::who::{WaitStatus, wait_status};
use crate::flock::{LockRequest, Target};
use crate::holders::{File, TimeLimit};
use crate::lock::Timeout;
use crate::report::Report;
use crate::sys::companion::Stage;
use crate::sys::procfs::shows_own_pids;

/// How much processor time a search for the holder takes. It delays only the display.
const MAX_LOOKUP: Duration = Duration::from_secs(1);

/// On a busy machine, the search takes as many times longer.
const MAX_SLOWDOWN: u32 = 16;

/// What the companion knows.
pub(super) struct Wait<'w> {
    pub target: &'w Target,
    pub request: &'w LockRequest,
    pub started: Instant,
    /// Whether nothing has been shown yet.
    pub is_first: bool,
    pub stage: &'w Stage<'w>,
    pub report: &'w Report,
}

impl Wait<'_> {
    /// Returns how long the wait has lasted.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns how long it may last.
    pub fn limit(&self) -> Option<Duration> {
        match self.request.timeout {
            Timeout::After(limit) => Some(limit),
            Timeout::Infinite | Timeout::NonBlocking => None,
        }
    }

    /// Looks up who holds the lock. At a path there may be another file than before. At the first
    /// time, the parent may not have joined the queue yet.
    pub fn look_up(&self, file: Option<&File>, is_first: bool) -> WaitStatus {
        let limit = TimeLimit::start(MAX_LOOKUP, MAX_LOOKUP * MAX_SLOWDOWN);
        let waiter = Some(self.stage.parent).filter(|_| shows_own_pids());
        let look_up = |file: &File, waiter: Option<Pid>| {
            wait_status(file, self.request, waiter, is_first, limit).unwrap_or_default()
        };
        match (file, self.target) {
            (Some(file), _) => look_up(file, waiter),
            (None, Target::Path(path)) => match File::from_path(path) {
                Ok(file) => look_up(&file, waiter),
                Err(_) => WaitStatus::default(),
            },
            (None, Target::Descriptor(_)) => WaitStatus::default(),
        }
    }
}
