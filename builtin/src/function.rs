//! A shell function under a lock, and the cleanup after it.

use std::ffi::{OsStr, OsString};
use std::mem;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::path::{self, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fdlock::flock::{ExecMode, LockRequest, OnRelease, Target};
use fdlock::lock;
use fdlock::lock::advisory::LockApi;
use fdlock::lock::file_id::FileId;
use fdlock::report::Report;
use fdlock::sys::fd;
use rustix::io::{self, FdFlags};
use rustix::process::{self, Pid};

use crate::ffi::{self, Bash};

/// The lowest descriptors for a lock, in order of preference: `exec 3>log` or `200>file` in a
/// function must not close the lock.
const MIN_LOCK_FDS: [RawFd; 2] = [300, 10];

/// A lock on a file that was opened for it.
#[derive(Clone, Copy, Debug)]
pub struct HeldLock {
    fd: RawFd,
    /// The file that is open there, or `None` if it could not be determined.
    file: Option<FileId>,
    api: LockApi,
    /// The process that acquired the lock.
    owner: Pid,
}

/// The lock files to remove once no process holds them.
#[derive(Debug)]
pub struct FilesToUnlink {
    paths: Vec<OsString>,
    api: LockApi,
}

impl FilesToUnlink {
    /// Returns the files that a request wants to be removed. The paths are absolute, because a
    /// function may change the working directory.
    pub fn from_request(request: &LockRequest) -> Self {
        let absolute = |path: &OsString| {
            path::absolute(path).map_or_else(|_| path.clone(), PathBuf::into_os_string)
        };
        let paths = match &request.target {
            Target::Path(path) if request.on_release == OnRelease::Unlink => {
                let paths = [path].into_iter().chain(&request.also);
                paths.map(absolute).collect()
            }
            _ => Vec::new(),
        };
        Self {
            paths,
            api: request.api,
        }
    }

    fn remove(self) {
        for path in &self.paths {
            if let Err(error) = lock::unlink::remove(path, self.api) {
                Report::new(OsStr::new("flock")).error(error.message());
            }
        }
    }
}

/// A call of a shell function, possibly under locks. It identifies the [`Cleanup`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardedCall(u64);

/// What remains to be done after a call.
#[derive(Debug)]
struct Cleanup {
    call: GuardedCall,
    locks: Vec<HeldLock>,
    files: FilesToUnlink,
}

impl Cleanup {
    fn run(self) {
        let is_owner = self.locks.iter().all(HeldLock::is_owner);
        self.locks.into_iter().for_each(HeldLock::release);
        if is_owner {
            self.files.remove();
        }
    }
}

/// The cleanup of all active calls, outermost first.
static ACTIVE: Mutex<Vec<Cleanup>> = Mutex::new(Vec::new());

impl GuardedCall {
    /// Registers the cleanup of a new call.
    pub fn start(locks: Vec<HeldLock>, files: FilesToUnlink) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let call = Self(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        active().push(Cleanup { call, locks, files });
        call
    }

    /// Releases the locks after the call, however it ended. Finishing it again has no effect.
    pub fn finish(self) {
        let mut active = active();
        let index = active.iter().position(|cleanup| cleanup.call == self);
        let cleanup = index.map(|index| active.remove(index));
        drop(active);
        if let Some(cleanup) = cleanup {
            cleanup.run();
        }
    }

    /// Finishes all calls, innermost first, because the shell exits.
    pub extern "C" fn finish_all() {
        let all = mem::take(&mut *active());
        all.into_iter().rev().for_each(Cleanup::run);
    }
}

/// Locks [`ACTIVE`]. Poisoning is impossible: no code panics while it holds the mutex.
fn active() -> MutexGuard<'static, Vec<Cleanup>> {
    ACTIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HeldLock {
    /// Takes over the lock of a descriptor. The commands of the function inherit it, unless the
    /// mode says otherwise, so that the lock outlasts a shell that is killed, for as long as they
    /// run.
    pub fn new(fd: OwnedFd, api: LockApi, exec_mode: ExecMode) -> Self {
        let moved = MIN_LOCK_FDS
            .into_iter()
            .find_map(|min| io::fcntl_dupfd_cloexec(&fd, min).ok());
        // If no higher descriptor is available, it stays where it is: a lock that the function may
        // close by accident is better than none.
        let fd = moved.unwrap_or(fd);
        let flags = match exec_mode {
            ExecMode::ForkAndClose => FdFlags::CLOEXEC,
            ExecMode::Fork | ExecMode::Exec => FdFlags::empty(),
        };
        // This does not fail: the descriptor is open.
        let _ = io::fcntl_setfd(&fd, flags);
        Self {
            file: FileId::from_fd(&fd),
            fd: fd.into_raw_fd(),
            api,
            owner: process::getpid(),
        }
    }

    /// Returns whether this process acquired the lock.
    fn is_owner(&self) -> bool {
        process::getpid() == self.owner
    }

    /// Releases the lock even if other processes have inherited its descriptor, because the
    /// function has returned. If a job is stopped, however, the lock stays with the processes that
    /// inherited it: the job may be a command of the function, which has not exited and will
    /// continue.
    ///
    /// A child that was forked in the meantime may run its parent's unwind-protects when it exits.
    /// It has a copy of the descriptor, but the lock is not its own. And the function may have
    /// closed the descriptor: then its number may belong to another file.
    fn release(self) {
        let Some(fd) = fd::inherited(self.fd).filter(|fd| FileId::from_fd(fd) == self.file) else {
            return;
        };
        let is_complete = !ffi::bash().is_some_and(Bash::has_stopped_job);
        if is_complete && self.is_owner() {
            lock::descriptor::release(fd, self.api);
        }
        fd::close(self.fd);
    }
}
