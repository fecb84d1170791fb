//! Existing lock files: whether their owners are alive, and breaking the locks of those that are
//! not.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{FileType, Mode as Permissions, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::Pid;

use super::owner::{self, OwnerState, ProcessIdentity};
use super::remove;
use crate::error::{Error, io_error, open_error};
use fdlock::lock::advisory::{self, LockApi};
use fdlock::lock::at_path::{self, Symlink};
use fdlock::lock::file_id::{Comparison, FileId, ReplacementCheck};
use fdlock::lock::open::is_bad_descriptor;
use fdlock::lock::{self, AcquireError, Acquired, Deadline, Mode, Timeout};
use fdlock::sys::fd::dup_above_stderr;
use fdlock::sys::filesystem::Locality;
use fdlock::sys::init_signals;
use fdlock::sys::procfs::liveness;

/// The permissions of lock files. As in the original, writing is not permitted: a process that
/// finds the file while it creates its own cannot overwrite it.
pub(super) const READ_ONLY: Permissions = Permissions::from_bits_truncate(0o444);

/// How long the flock(2) lock may outlast its owner: until the supervisor has stopped the processes
/// that the owner left running, or until another process has broken the lock.
const STALE_GRACE: Duration = Duration::from_secs(5);

/// The lock file at a path, if there is one.
pub(super) struct ExistingLock<'a> {
    path: &'a OsStr,
    identity: &'a ProcessIdentity,
    /// When [`STALE_GRACE`] is over.
    deadline: Deadline,
    check: ReplacementCheck,
}

/// The state of an existing lock.
pub(super) enum State {
    /// There is no file.
    Absent,
    /// The lock is held, or may be held.
    Contended(Contended),
    /// The owner was dead, and the file has been removed.
    Broken(Pid),
    /// The file was changed by another process at the same time, and must be examined again.
    Changed,
}

/// Why a lock was not acquired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contended {
    /// The owner is alive, or the flock(2) lock shows that the file is in use.
    Held,
    /// The owner seems to be dead, but another process holds the flock(2) lock on the file: a
    /// supervisor that cannot stop the processes that the owner left running, or any process that
    /// can read the file and wants to block us.
    StillLocked {
        /// The path of the file.
        path: OsString,
        /// The process that created it.
        creator: Pid,
    },
    /// Whether the owner is alive cannot be determined from here.
    Unverifiable {
        /// The path of the file.
        path: OsString,
        /// The process that created it, and its host, if the file contains them.
        creator: Option<(Pid, OsString)>,
    },
}

impl Contended {
    /// Returns what the user has to check, if we could not.
    pub fn message(&self) -> Option<OsString> {
        let (path, reason) = match self {
            Self::Held => return None,
            Self::StillLocked { path, creator } => {
                let reason = format!(
                    " is still locked, although process {creator}, which created it, seems to be \
                     dead; lslocks(8) shows the holder",
                );
                (path, reason.into())
            }
            Self::Unverifiable { path, creator } => {
                let reason = match creator {
                    Some((pid, host)) => {
                        let mut reason = format!(" was created by process {pid} on host ").into();
                        OsString::push(&mut reason, host);
                        reason.push("; if that process no longer runs, remove the file");
                        reason
                    }
                    None => " does not contain a process ID; if it is not in use, remove the file"
                        .into(),
                };
                (path, reason)
            }
        };
        Some([path, &*reason].join(OsStr::new("")))
    }
}

impl<'a> ExistingLock<'a> {
    pub(super) fn new(path: &'a OsStr, identity: &'a ProcessIdentity) -> Self {
        Self {
            path,
            identity,
            deadline: Timeout::After(STALE_GRACE).start(),
            check: ReplacementCheck::default(),
        }
    }

    /// Removes the file if its owner is dead.
    ///
    /// *Race:* its owner may remove it between any two of our calls. Over NFS, the server does not
    /// know it any more then (`ESTALE`), or rejects the lock of its descriptor (`EBADF`): the file
    /// has changed. If such an error persists, it has another cause.
    pub(super) fn break_if_stale(&mut self) -> Result<State, Error> {
        match self.examine() {
            Err(Error::Lock(error)) if error.may_be_replacement() && self.check.may_retry() => {
                Ok(State::Changed)
            }
            other => other,
        }
    }

    fn examine(&mut self) -> Result<State, Error> {
        let Some((mut file, opened)) = self.open()? else {
            return Ok(State::Absent);
        };
        let outcome = match self.try_lock(&mut file) {
            Err(lock::Error::Lock { error, .. })
                if is_bad_descriptor(&error)
                    && self.compare_with_path(&file, &opened)? == Comparison::Replaced =>
            {
                return Ok(State::Changed);
            }
            other => other?,
        };
        let contents = owner::read(file.as_fd()).map_err(open_error(self.path))?;
        let locality = Locality::from_fd(&file);
        let owner = self
            .identity
            .owner_state(&contents, locality, liveness::check);
        match outcome {
            Acquired::Held(()) => match self.compare_with_path(&file, &opened)? {
                Comparison::Same => self.remove_if_stale(owner, &opened),
                Comparison::Replaced => Ok(State::Changed),
                Comparison::Unreliable => Err(Error::Lock(lock::Error::UnstableInode {
                    path: self.path.to_owned(),
                })),
            },
            Acquired::NotHeld(_) => {
                let Some(creator) = dead_owner(&owner) else {
                    return Ok(State::Contended(Contended::Held));
                };
                // The supervisor is about to release the lock, or another process to break it.
                match self.wait_for_lock(file.as_fd())? {
                    Acquired::Held(()) => Ok(State::Changed),
                    Acquired::NotHeld(_) => Ok(State::Contended(Contended::StillLocked {
                        path: self.path.to_owned(),
                        creator,
                    })),
                }
            }
        }
    }

    /// Removes the file if its owner is dead. The caller must hold the flock(2) lock on the file at
    /// the path.
    fn remove_if_stale(&self, owner: OwnerState, opened: &Stat) -> Result<State, Error> {
        let unverifiable = |creator| {
            State::Contended(Contended::Unverifiable {
                path: self.path.to_owned(),
                creator,
            })
        };
        Ok(match owner {
            OwnerState::Dead(pid) | OwnerState::CheckFlock(pid) => {
                match remove::remove(self.path, FileId::from_stat(opened)) {
                    Ok(true) => State::Broken(pid),
                    // The original was faster.
                    Ok(false) => State::Changed,
                    Err(errno) => return Err(io_error("remove lock file", self.path)(errno)),
                }
            }
            OwnerState::Alive(_) => State::Contended(Contended::Held),
            OwnerState::Remote { pid, host } => unverifiable(Some((pid, host))),
            OwnerState::Unknown => unverifiable(None),
        })
    }

    /// Opens the file. Anything but a regular file is left alone: merely opening a FIFO could wake
    /// a writer, whose data would be lost, and the target of a symbolic link is not ours to remove
    /// or to create.
    fn open(&self) -> Result<Option<(OwnedFd, Stat)>, lock::Error> {
        let stat = match rustix::fs::lstat(self.path) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            other => other.map_err(open_error(self.path))?,
        };
        self.check_file_type(&stat)?;
        let flags =
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match rustix::fs::open(self.path, flags, Permissions::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.and_then(dup_above_stderr),
        }
        .map_err(open_error(self.path))?;
        let stat = rustix::fs::fstat(&file).map_err(open_error(self.path))?;
        self.check_file_type(&stat)?;
        Ok(Some((file, stat)))
    }

    fn check_file_type(&self, stat: &Stat) -> Result<(), lock::Error> {
        let what = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => return Ok(()),
            FileType::Directory => "a directory",
            FileType::Symlink => "a symbolic link",
            FileType::Fifo => "a FIFO",
            FileType::Socket => "a socket",
            _ => "a device",
        };
        Err(lock::Error::UnsuitableFile {
            path: self.path.to_owned(),
            what,
            expected: "a regular file",
        })
    }

    /// Tries to acquire the flock(2) lock.
    ///
    /// NFS clients turn flock(2) into a lock of fcntl(2), for which an exclusive lock requires a
    /// descriptor that is open for writing. The file has no write permission, so it cannot be
    /// opened like that. A shared lock shows whether another process holds the lock. Only if none
    /// does, the file's owner gets write permission, for the moment in which we open the file
    /// again. The new descriptor takes the place of the old one.
    fn try_lock(&self, file: &mut OwnedFd) -> Result<Acquired<()>, lock::Error> {
        let try_mode =
            |file: &OwnedFd, mode| advisory::try_acquire(file.as_fd(), LockApi::Flock, mode);
        match try_mode(file, Mode::Exclusive) {
            Err(AcquireError::Lock(error)) if is_bad_descriptor(&error) => {
                if let Ok(conflict @ Acquired::NotHeld(_)) = try_mode(file, Mode::Shared) {
                    return Ok(conflict);
                }
                let _ = rustix::fs::fchmod(&file, READ_ONLY | Permissions::WUSR);
                let proc_path = format!("/proc/self/fd/{}", file.as_raw_fd());
                let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY;
                let writable = rustix::fs::open(proc_path, flags, Permissions::empty());
                let _ = rustix::fs::fchmod(&file, READ_ONLY);
                // This releases our shared lock, which would conflict with the exclusive one.
                *file = writable.map_err(open_error(self.path))?;
                try_mode(file, Mode::Exclusive)
            }
            other => other,
        }
        .map_err(|error| self.lock_error(error, file.as_fd()))
    }

    /// Waits until the flock(2) lock is released. Over NFS, only a shared lock may be possible (see
    /// [`try_lock`](Self::try_lock)), and it is enough: the file is examined again afterwards.
    fn wait_for_lock(&self, file: BorrowedFd<'_>) -> Result<Acquired<()>, lock::Error> {
        let lock = |mode| {
            let on_wait = &mut init_signals::die_of_signals;
            advisory::acquire(file, LockApi::Flock, mode, &self.deadline, on_wait)
        };
        let outcome = match lock(Mode::Exclusive) {
            Err(AcquireError::Lock(error)) if is_bad_descriptor(&error) => lock(Mode::Shared),
            other => other,
        };
        outcome.map_err(|error| self.lock_error(error, file))
    }

    fn lock_error(&self, error: AcquireError, file: BorrowedFd<'_>) -> lock::Error {
        let hint = advisory::hint(&error, file);
        error.for_target(self.path, hint)
    }

    /// Compares the opened file with the one at the path.
    fn compare_with_path(
        &mut self,
        file: &OwnedFd,
        opened: &Stat,
    ) -> Result<Comparison, lock::Error> {
        let opened = FileId::from_stat(opened);
        let at_path = match at_path::stat(self.path, Symlink::NoFollow, file, opened) {
            Ok(stat) => Some(FileId::from_stat(&stat)),
            Err(Errno::NOENT | Errno::NOTDIR) => None,
            Err(errno) => return Err(open_error(self.path)(errno)),
        };
        Ok(self.check.compare(opened, at_path))
    }
}

/// Returns the owner if it is dead, or as good as dead: it has been killed and does nothing any
/// more, but has not quite exited.
fn dead_owner(owner: &OwnerState) -> Option<Pid> {
    match owner {
        OwnerState::Dead(pid) => Some(*pid),
        OwnerState::Alive(pid) => liveness::is_exiting(*pid).then_some(*pid),
        _ => None,
    }
}
