//! bash's jobs and the numbers of its children.

#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};

/// The start of `JOB`: the working directory, the processes, the process group, the state.
#[repr(C)]
pub(super) struct BashJob {
    _dir: *mut c_char,
    _processes: *mut c_void,
    group: libc::pid_t,
    state: c_int,
}

/// The start of `struct jobstats`.
#[repr(C)]
pub(super) struct JobStats {
    _child_limit: libc::c_long,
    _children: [c_int; 3],
    /// How many children the shell has forked.
    pub(super) forked: c_int,
    /// How many children have exited and were reaped.
    pub(super) reaped: c_int,
    /// The length of the array of jobs.
    slots: c_int,
}

/// `JSTOPPED`: the state of a stopped job.
const JOB_STOPPED: c_int = 2;

/// A job of bash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// The process group.
    pub group: libc::pid_t,
    /// Whether it is stopped, by Ctrl-Z or otherwise.
    pub is_stopped: bool,
}

impl Job {
    /// Returns the jobs of bash's array.
    ///
    /// # Safety
    ///
    /// Both are variables of bash. Its signal handler may change the state of a job, but adds and
    /// removes none.
    pub(super) unsafe fn list(
        jobs: *const *const *const BashJob,
        stats: *const JobStats,
    ) -> Vec<Self> {
        // SAFETY: the array has that many elements, which are null or a job.
        let jobs = unsafe {
            let slots = usize::try_from((*stats).slots).unwrap_or_default();
            (0..slots).filter_map(|index| (*(*jobs).add(index)).as_ref())
        };
        jobs.map(|job| Self {
            group: job.group,
            is_stopped: job.state == JOB_STOPPED,
        })
        .collect()
    }
}
