//! A shell function under a lock, and the cleanup after it.

use std::ffi::{OsStr, OsString};
use std::mem;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::path::{self, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fdlock::flock::{ExecMode, LockRequest, OnRelease, Target};
use fdlock::lock::advisory::LockApi;
use fdlock::lock::{self, Mode};
use fdlock::report::Report;
use fdlock::sys::fd;
use fdlock::sys::filesystem::Locality;
use fdlock::sys::procfs::fdinfo::FdInfo;
use fdlock::sys::procfs::locks::{LockRecord, LockType};
use rustix::io::{self, FdFlags};
use rustix::process::{self, Pid, RawPid};

use crate::ffi::{self, Bash, Job};

/// The lowest numbers for the two descriptors of a lock, in order of preference. The later ones are
/// for a low limit of open files. A script that opens descriptors by number uses small or round
/// ones (`exec 3>log`, `exec 300>lock`), and `{fd}>file` takes the free ones from 10 on. Numbers
/// below 512 keep the descriptor table small, which every fork copies.
const MIN_LOCK_FDS: [&[RawFd]; 2] = [&[367, 137, 29, 10], &[491, 211, 47]];

/// A lock on a file that was opened for it.
#[derive(Debug)]
pub struct HeldLock {
    /// Two duplicates, far apart: whatever the function opens on one of these numbers, or closes,
    /// the other one keeps the lock.
    fds: [Option<RawFd>; 2],
    /// The [mark](fd::mark) of its open file description.
    mark: i32,
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
    /// Releases the locks, and returns whether they were held until now.
    ///
    /// If a job that was started during the call is stopped, they stay with the processes that have
    /// inherited them: the job may be a command of the function, which has not exited and will
    /// continue.
    fn run(self) -> bool {
        let is_owner = process::getpid() == self.owner;
        let must_unlock = is_owner && !self.has_stopped_job();
        // The builtin refuses to release the locks, but a program that has inherited them can do it.
        let has_forked = children_forked() != self.forked_before;
        let mut is_held = true;
        for lock in self.locks {
            is_held &= lock.release(must_unlock, has_forked);
        }
        if !is_owner {
            return true;
        }
        if !is_held {
            let reason = ": the function released the lock, or closed or replaced its \
                          descriptors, and ran partly without it";
            let message = [self.path.as_os_str(), OsStr::new(reason)].join(OsStr::new(""));
            Report::new(OsStr::new("flock")).error(message);
        }
        self.files.remove();
        is_held
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
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let call = Self(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        active().push(Cleanup {
            call,
            path,
            locks,
            files,
            owner: process::getpid(),
            jobs_before: jobs().into_iter().map(|job| job.group).collect(),
            forked_before: children_forked(),
        });
        call
    }

    /// Releases the locks after the call, however it ended, and returns whether they were held
    /// until now. If not, prints a message. Finishing a call again has no effect.
    pub fn finish(self) -> bool {
        let mut active = active();
        let index = active.iter().position(|cleanup| cleanup.call == self);
        let cleanup = index.map(|index| active.remove(index));
        drop(active);
        cleanup.is_none_or(Cleanup::run)
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

/// Returns whether a descriptor, perhaps a duplicate, keeps the lock of an active call, so that the
/// script must neither release nor convert it.
pub fn keeps_lock(number: RawFd) -> bool {
    let active = active();
    let mut locks = active.iter().flat_map(|cleanup| &cleanup.locks);
    locks.any(|lock| lock.mark != 0 && lock.open_at(number).is_some())
}

/// Returns the mark of the next lock. That it recurs does no harm: locks are not mixed up unless a
/// function duplicates the descriptor of one of them onto the number of another.
fn next_mark() -> i32 {
    static NEXT: AtomicI32 = AtomicI32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).rem_euclid(31) + 1
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
        let duplicate = |min: &RawFd| fd::duplicate(&fd, *min, flags).ok();
        let mark = next_mark();
        // If the kernel has no memory for the mark, every unmarked open file description on one of
        // these numbers counts as that of the lock.
        let mark = fd::set_mark(&fd, mark).map_or(0, |()| mark);
        let [first, mut second] = MIN_LOCK_FDS.map(|mins| mins.iter().find_map(duplicate));
        if second.is_none() {
            // The limit is low. The descriptor stays where it is, among the numbers that the
            // function is likely to use. This does not fail: it is open.
            let _ = io::fcntl_setfd(&fd, flags);
            second = Some(fd);
        }
        Self {
            fds: [first, second].map(|fd| fd.map(IntoRawFd::into_raw_fd)),
            mark,
            api,
            mode,
        }
    }

    /// Returns the descriptor of this number if it is still one of the lock.
    ///
    /// The function may have closed it, and opened another file on its number, or the same one
    /// again. That descriptor belongs to the script; the mark shows the difference.
    fn open_at(&self, number: RawFd) -> Option<BorrowedFd<'static>> {
        fd::inherited(number).filter(|fd| fd::mark(*fd) == Some(self.mark))
    }

    /// Closes the descriptors, and returns whether the lock was held until now. Unlocks, if it
    /// must, even if other processes have inherited a descriptor, because the function has
    /// returned.
    fn release(self, must_unlock: bool, may_be_released: bool) -> bool {
        let mut is_open = false;
        let mut is_held = false;
        for number in self.fds.into_iter().flatten() {
            let Some(fd) = self.open_at(number) else {
                continue;
            };
            if !is_open {
                is_held = !may_be_released || !self.is_released(fd);
                if must_unlock {
                    lock::descriptor::release(fd, self.api);
                }
            }
            is_open = true;
            fd::close(number);
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
