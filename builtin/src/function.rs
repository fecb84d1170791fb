//! A shell function under a lock, and what is to be done when it is over.

use std::ffi::{OsStr, OsString};
use std::mem;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fdlock::flock::{ExecMode, LockRequest, OnRelease, Target};
use fdlock::lock::file::{Id, id_of};
use fdlock::lock::{self, Kind};
use fdlock::report::Report;
use fdlock::sys::fd;
use rustix::io::{self, FdFlags};
use rustix::process::{self, Pid};

use crate::ffi::{self, Bash};

/// Where its descriptor is: a function that says `exec 3>log` or `200>file` must not close the lock by that.
const OUT_OF_THE_WAY: [i32; 2] = [300, 10];

/// A lock on a file that was opened for it.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    number: RawFd,
    /// What is open there: `None` if that cannot be told.
    file: Option<Id>,
    kind: Kind,
    /// The process that took it.
    owner: Pid,
}

/// Lock files that are to go when nobody holds them any more.
#[derive(Debug, Default)]
pub struct Files {
    paths: Vec<OsString>,
    kind: Option<Kind>,
}

impl Files {
    /// Those of a request, if it wants that. A function may change the working directory, so the paths are made absolute.
    pub fn of(request: &LockRequest) -> Self {
        let Target::Path(path) = &request.target else {
            return Self::default();
        };
        if request.on_release == OnRelease::Keep {
            return Self::default();
        }
        let absolute = |path: &OsString| {
            std::path::absolute(path).map_or_else(|_| path.clone(), PathBuf::into_os_string)
        };
        Self {
            paths: [path]
                .into_iter()
                .chain(&request.also)
                .map(absolute)
                .collect(),
            kind: Some(request.kind),
        }
    }

    fn remove(self) {
        for path in &self.paths {
            if let Some(Err(error)) = self.kind.map(|kind| lock::file::remove(path, kind)) {
                Report::new(OsStr::new("flock")).error(error.message());
            }
        }
    }
}

/// A function that bash runs on our account, perhaps under locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errand(u64);

/// What is to be done when an errand is over.
#[derive(Debug)]
struct Afterwork {
    errand: Errand,
    locks: Vec<Held>,
    files: Files,
}

impl Afterwork {
    fn be_done(self) {
        let is_ours = self.locks.iter().all(Held::is_ours);
        self.locks.into_iter().for_each(Held::release);
        if is_ours {
            self.files.remove();
        }
    }
}

/// For all that are under way, in the order in which they began.
static UNDER_WAY: Mutex<Vec<Afterwork>> = Mutex::new(Vec::new());

impl Errand {
    /// It begins.
    pub fn begin(locks: Vec<Held>, files: Files) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let errand = Self(LAST.fetch_add(1, Ordering::Relaxed));
        list().push(Afterwork {
            errand,
            locks,
            files,
        });
        errand
    }

    /// It is over, however it ended: its locks are released. To say so again changes nothing.
    pub fn end(self) {
        let mut list = list();
        let place = list.iter().position(|afterwork| afterwork.errand == self);
        let afterwork = place.map(|place| list.remove(place));
        drop(list);
        if let Some(afterwork) = afterwork {
            afterwork.be_done();
        }
    }

    /// All are over: the shell ends.
    pub extern "C" fn end_all() {
        let all = mem::take(&mut *list());
        all.into_iter().rev().for_each(Afterwork::be_done);
    }
}

/// Nobody can have panicked with it.
fn list() -> MutexGuard<'static, Vec<Afterwork>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Held {
    /// Takes charge of the lock that the descriptor has. What the function starts inherits it, unless the exec_mode says
    /// otherwise, so that the lock outlasts a shell that is killed, for as long as its commands run.
    pub fn new(fd: OwnedFd, kind: Kind, exec_mode: ExecMode) -> Self {
        let raised = OUT_OF_THE_WAY
            .into_iter()
            .find_map(|least| io::fcntl_dupfd_cloexec(&fd, least).ok());
        // Where there is no number above, it stays where it is: a lock in the way is better than none.
        let fd = raised.unwrap_or(fd);
        let flags = match exec_mode {
            ExecMode::ForkAndClose => FdFlags::CLOEXEC,
            ExecMode::Fork | ExecMode::Exec => FdFlags::empty(),
        };
        // It is open, so this does not fail.
        let _ = io::fcntl_setfd(&fd, flags);
        Self {
            file: FileId::from_fd(&fd),
            number: fd.into_raw_fd(),
            kind,
            owner: process::getpid(),
        }
    }

    /// Whether this process took it.
    fn is_ours(&self) -> bool {
        process::getpid() == self.owner
    }

    /// Releases the lock, whoever has inherited its descriptor: the function is over. Only when a job is stopped it stays
    /// with them, as that may be a command of the function, which is not over and will go on.
    ///
    /// A child that was forked in the meantime may undo what its parent has protected, when it ends; it has a copy of the
    /// descriptor, but the lock is not its own. And a function may close descriptors that are not its own: what is at
    /// that number then is somebody else's.
    fn release(self) {
        let Some(fd) = fd::inherited(self.number).filter(|fd| FileId::from_fd(fd) == self.file)
        else {
            return;
        };
        let is_over = !ffi::bash().is_some_and(Bash::has_stopped_job);
        if is_over && self.is_ours() {
            lock::descriptor::release(fd, self.kind);
        }
        fd::close(self.number);
    }
}
