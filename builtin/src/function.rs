//! A shell function under a lock, and the cleanup after it.

use std::ffi::{OsStr, OsString};
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{self, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fdlock::exit;
use fdlock::flock::{ExecMode, LockRequest, OnRelease, Target};
use fdlock::lock::advisory::LockApi;
use fdlock::lock::{self, Mode};
use fdlock::report::Report;
use fdlock::sys::fd;
use fdlock::sys::filesystem::Locality;
use fdlock::sys::procfs::fdinfo::FdInfo;
use fdlock::sys::procfs::locks::{LockRecord, LockType};
use rustix::io::{Errno, FdFlags};
use rustix::process::{self, Pid, RawPid};

use crate::ffi::{self, Bash, Job, WordList, Words};
use crate::lock_fds::LockFds;
use crate::remote_lock::{RemoteEnd, RemoteLock};

/// A lock on a file that was opened for it.
#[derive(Debug)]
pub struct HeldLock {
    fds: LockFds,
    api: LockApi,
    mode: Mode,
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

    fn none() -> Self {
        Self {
            paths: Vec::new(),
            api: LockApi::Flock,
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
    /// The lock file as it was given, for the message.
    path: OsString,
    locks: Vec<HeldLock>,
    /// A lock elsewhere.
    remote: Option<RemoteLock>,
    files: FilesToUnlink,
    /// The process that acquired the locks. A child that was forked in the meantime may run its
    /// parent's unwind-protects when it exits. It has copies of the descriptors, but the locks are
    /// not its own.
    owner: Pid,
    /// The process groups of the jobs that the shell had before the call. They have not inherited
    /// the locks.
    jobs_before: Vec<RawPid>,
    /// How many children the shell had forked before the call.
    forked_before: i32,
}

impl Cleanup {
    /// Releases the locks. Returns the status of the call if they were not held until now.
    ///
    /// If a job that was started during the call is stopped, they stay with the processes that have
    /// inherited them: the job may be a command of the function, which has not exited and will
    /// continue.
    fn run(self) -> Option<u8> {
        let is_owner = process::getpid() == self.owner;
        let must_unlock = is_owner && !self.has_stopped_job();
        // The builtin refuses to release the locks, but a program that has inherited them can do it.
        let has_forked = children_forked() != self.forked_before;
        let end = self.remote.map(|lock| lock.finish(is_owner, must_unlock));
        let mut is_held = end != Some(RemoteEnd::GivenUp);
        for lock in self.locks {
            is_held &= lock.release(must_unlock, has_forked);
        }
        if !is_owner {
            return None;
        }
        if !is_held {
            let reason = ": the function released the lock, or closed or replaced its \
                          descriptors, and ran partly without it";
            let message = [self.path.as_os_str(), OsStr::new(reason)].join(OsStr::new(""));
            Report::new(OsStr::new("flock")).error(message);
        }
        self.files.remove();
        match end {
            Some(RemoteEnd::Lost) => Some(exit::LOCK_LOST),
            _ => (!is_held).then_some(exit::FLOCK.lock_failed),
        }
    }

    fn has_stopped_job(&self) -> bool {
        let jobs = jobs().into_iter();
        jobs.filter(|job| job.is_stopped)
            .any(|job| !self.jobs_before.contains(&job.group))
    }
}

/// The cleanup of all active calls, outermost first.
static ACTIVE: Mutex<Vec<Cleanup>> = Mutex::new(Vec::new());

impl GuardedCall {
    /// Registers the cleanup of a new call.
    pub fn start(path: OsString, locks: Vec<HeldLock>, files: FilesToUnlink) -> Self {
        Self::register(path, locks, None, files)
    }

    /// Registers the cleanup of a call under a lock elsewhere, which may still have to be acquired.
    pub fn start_remote(url: OsString, lock: RemoteLock) -> Self {
        Self::register(url, Vec::new(), Some(lock), FilesToUnlink::none())
    }

    fn register(
        path: OsString,
        locks: Vec<HeldLock>,
        remote: Option<RemoteLock>,
        files: FilesToUnlink,
    ) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let call = Self(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        active().push(Cleanup {
            call,
            path,
            locks,
            remote,
            files,
            owner: process::getpid(),
            jobs_before: jobs().into_iter().map(|job| job.group).collect(),
            forked_before: children_forked(),
        });
        call
    }

    /// Has this call's lock elsewhere changed, unless the call has been finished.
    pub fn with_remote<T>(self, change: impl FnOnce(&mut RemoteLock) -> T) -> Option<T> {
        let mut active = active();
        let cleanup = active.iter_mut().find(|cleanup| cleanup.call == self)?;
        cleanup.remote.as_mut().map(change)
    }

    /// Releases the locks after the call, however it ended. Returns the status of the call if they
    /// were not held until now, for which there is a message. Finishing a call again has no effect.
    pub fn finish(self) -> Option<u8> {
        let mut active = active();
        let index = active.iter().position(|cleanup| cleanup.call == self);
        let cleanup = index.map(|index| active.remove(index));
        drop(active);
        cleanup.and_then(Cleanup::run)
    }

    /// Finishes all calls, innermost first, because the shell exits.
    pub extern "C" fn finish_all() {
        for cleanup in mem::take(&mut *active()).into_iter().rev() {
            cleanup.run();
        }
    }
}

fn children_forked() -> i32 {
    ffi::bash().map_or(0, Bash::children_forked)
}

fn jobs() -> Vec<Job> {
    ffi::bash().map(Bash::jobs).unwrap_or_default()
}

/// Checks that a descriptor, perhaps a duplicate, does not keep the lock of an active call: the script
/// must neither release nor convert it.
pub fn check_descriptor(number: RawFd) -> Result<(), lock::Error> {
    let keeps_lock = active().iter().any(|cleanup| {
        let local = cleanup.locks.iter().map(|lock| &lock.fds);
        let remote = cleanup.remote.iter().map(|lock| &lock.fds);
        local.chain(remote).any(|fds| fds.keeps_lock(number))
    });
    if !keeps_lock {
        return Ok(());
    }
    Err(lock::Error::Lock {
        target: number.to_string().into(),
        error: Errno::PERM.into(),
        hint: Some("it keeps the lock of a function".to_owned()),
    })
}

/// Returns the words of a command, which are the end of a list of words, if it is a shell function.
pub fn words(bash: &Bash, list: *mut WordList, args: &[OsString]) -> Option<*mut WordList> {
    // They are not the end if the command was built from `-c LINE`.
    let index = Words(list).count().checked_sub(args.len())?;
    let first = Words(list).nth(index)?;
    let name = ffi::word(first);
    (name.to_bytes() == args[0].as_bytes() && bash.has_function(name)).then_some(first)
}

/// Locks [`ACTIVE`]. Poisoning is impossible: no code panics while it holds the mutex.
fn active() -> MutexGuard<'static, Vec<Cleanup>> {
    ACTIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HeldLock {
    /// Takes over the lock of a descriptor. The commands of the function inherit it, unless the
    /// mode says otherwise, so that the lock outlasts a shell that is killed, for as long as they
    /// run.
    pub fn new(fd: OwnedFd, api: LockApi, mode: Mode, exec_mode: ExecMode) -> Self {
        let flags = match exec_mode {
            ExecMode::ForkAndClose => FdFlags::CLOEXEC,
            ExecMode::Fork | ExecMode::Exec => FdFlags::empty(),
        };
        Self {
            fds: LockFds::new(fd, flags),
            api,
            mode,
        }
    }

    /// Closes the descriptors, and returns whether the lock was held until now. Unlocks, if it
    /// must, even if other processes have inherited a descriptor, because the function has
    /// returned.
    fn release(self, must_unlock: bool, may_be_released: bool) -> bool {
        let mut is_open = false;
        let mut is_held = false;
        for fd in self.fds.open() {
            if !is_open {
                is_held = !may_be_released || !self.is_released(fd);
                if must_unlock {
                    lock::descriptor::release(fd, self.api);
                }
            }
            is_open = true;
            fd::close(fd.as_raw_fd());
        }
        is_held
    }

    /// Returns whether the lock has been released, or converted, although its descriptor is open. On
    /// file systems that manage locks themselves, that is not visible.
    fn is_released(&self, fd: BorrowedFd<'_>) -> bool {
        let is_same = |record: &LockRecord| {
            let lock_type = match self.api {
                LockApi::Flock => LockType::Flock,
                LockApi::Ofd { .. } => LockType::Ofd,
            };
            record.lock_type == lock_type && Mode::from(record.access) == self.mode
        };
        let is_missing = FdInfo::read_own(fd).is_ok_and(|info| !info.locks.iter().any(is_same));
        self.mode != Mode::Unlocked && is_missing && Locality::from_fd(fd) == Locality::Local
    }
}
