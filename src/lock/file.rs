//! Locks on a path: opening or creating the lock file, and making sure that the locked file is
//! still the one that the path leads to.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Access, FileType, Mode as Permissions, OFlags, Stat};
use rustix::io::Errno;

use super::acquire::{self, LockKind};
use super::advisory::{self, LockApi};
use super::file_id::{Comparison, FileId, ReplacementCheck};
use super::{AcquireError, Acquired, Deadline, Error, Guard, Mode, Refusal, open_hint};
use crate::sys;
use crate::sys::fd::dup_above_stderr;

/// Opens the lock file at the path, creates it if it is missing, and locks it. Calls `on_wait`
/// before each wait.
///
/// The descriptor is the lowest free one above 2, and a command that is executed inherits it.
///
/// *Race:* another process deletes or replaces the file between our open(2) and the moment at which
/// the lock is granted. We would then hold a lock on a file that the path no longer leads to, while
/// the next process locks the new one: two holders. Therefore, once the lock is granted, descriptor
/// and path are compared (device and inode). If they differ, we release the lock and start again,
/// within the same deadline. If they are equal, every process that opened the path until then
/// opened this very file and waits for our lock; a process that replaces the file later breaks a
/// lock that was rightfully held, which no locking tool can prevent. The inode number cannot be
/// reused during the comparison, because our descriptor keeps the inode alive.
///
/// # Errors
///
/// The file can be neither opened nor created, is not suitable for a lock, or the lock call failed.
///
/// # References
///
/// open(2), flock(2), fcntl_locking(2).
pub fn acquire(
    path: &OsStr,
    kind: LockKind,
    mode: Mode,
    deadline: &Deadline,
    on_wait: &mut dyn FnMut(),
) -> Result<Acquired<Guard>, Error> {
    acquire_with(path, kind, mode, |fd| {
        acquire::acquire(fd, kind, mode, deadline, on_wait)
    })
}

fn acquire_with(
    path: &OsStr,
    kind: LockKind,
    mode: Mode,
    mut lock: impl FnMut(BorrowedFd<'_>) -> Result<Acquired<()>, AcquireError>,
) -> Result<Acquired<Guard>, Error> {
    let mut check = ReplacementCheck::default();
    loop {
        let mut file = LockFile::open(path, kind.api(), mode)?;
        let at_path = match file.lock_with(mode, &mut lock)? {
            Locked::Yes if mode == Mode::Unlocked => return Ok(Acquired::Held(file.into_guard())),
            Locked::Yes => file.id_at_path()?,
            Locked::No(refusal) => return Ok(Acquired::NotHeld(refusal)),
            Locked::Replaced(by) => Some(by),
        };
        match check.compare(file.id, at_path) {
            Comparison::Same => return Ok(Acquired::Held(file.into_guard())),
            Comparison::Replaced => {}
            Comparison::Unreliable => {
                return Err(Error::UnstableInode {
                    path: path.to_owned(),
                });
            }
        }
    }
}

/// An open lock file, perhaps locked.
pub(super) struct LockFile<'p> {
    pub(super) path: &'p OsStr,
    fd: OwnedFd,
    pub(super) id: FileId,
    access: OFlags,
}

/// The result of locking an open file.
pub(super) enum Locked {
    /// It is locked.
    Yes,
    /// It is not locked, for this reason.
    No(Refusal),
    /// It is not locked, because the path leads to this other file now.
    Replaced(FileId),
}

impl<'p> LockFile<'p> {
    /// Opens the file as the lock requires, and creates it if it is missing.
    pub(super) fn open(path: &'p OsStr, api: LockApi, mode: Mode) -> Result<Self, Error> {
        Self::open_with(path, access_for(api, mode))
    }

    fn open_with(path: &'p OsStr, access: OFlags) -> Result<Self, Error> {
        let (fd, stat) = open(path, access).map_err(|error| error.for_path(path, access))?;
        Ok(Self {
            path,
            fd,
            id: FileId::from_stat(&stat),
            access,
        })
    }

    /// stat(2) – returns the identity of the file that the path leads to, if there is one.
    pub(super) fn id_at_path(&self) -> Result<Option<FileId>, Error> {
        match rustix::fs::stat(self.path) {
            Ok(stat) => Ok(Some(FileId::from_stat(&stat))),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::STALE) => Ok(None),
            Err(errno) => Err(OpenError::System(errno).for_path(self.path, self.access)),
        }
    }

    /// Locks the open file. If the lock needs a descriptor that is open for writing (NFS), opens
    /// the file again.
    pub(super) fn lock_with(
        &mut self,
        mode: Mode,
        mut lock: impl FnMut(BorrowedFd<'_>) -> Result<Acquired<()>, AcquireError>,
    ) -> Result<Locked, Error> {
        loop {
            return Ok(match lock(self.fd.as_fd()) {
                Ok(Acquired::Held(())) => Locked::Yes,
                Ok(Acquired::NotHeld(refusal)) => Locked::No(refusal),
                Err(AcquireError::Lock(error))
                    if self.access == OFlags::RDONLY
                        && requires_writing(&error, mode, self.path) =>
                {
                    let writable = Self::open_with(self.path, OFlags::RDWR)?;
                    if writable.id == self.id {
                        *self = writable;
                        continue;
                    }
                    Locked::Replaced(writable.id)
                }
                Err(error) => {
                    let hint = advisory::hint(&error, self.fd.as_fd());
                    return Err(error.for_target(self.path, hint));
                }
            });
        }
    }

    pub(super) fn into_guard(self) -> Guard {
        Guard::Owned(self.fd)
    }
}

/// Returns whether the path leads to anything that could be opened, as far as can be seen.
pub fn exists(path: &OsStr) -> bool {
    rustix::fs::stat(path).map_or_else(|errno| errno != Errno::NOENT, |_| true)
}

/// flock(2) accepts any descriptor; a write lock of fcntl(2) requires one that is open for writing.
pub(super) fn access_for(api: LockApi, mode: Mode) -> OFlags {
    match (api, mode) {
        (LockApi::Ofd { .. }, Mode::Exclusive) => OFlags::WRONLY,
        _ => OFlags::RDONLY,
    }
}

/// NFS clients turn flock(2) into a lock of fcntl(2), for which an exclusive lock requires a
/// descriptor that is open for writing: they report `EBADF`, older ones `EIO`.
fn requires_writing(error: &io::Error, mode: Mode, path: &OsStr) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    mode == Mode::Exclusive
        && matches!(errno, Some(Errno::BADF | Errno::IO))
        && rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK).is_ok()
}

/// Why a lock file was not opened.
pub(super) enum OpenError {
    System(Errno),
    Unsuitable(&'static str),
}

impl OpenError {
    fn for_path(self, path: &OsStr, access: OFlags) -> Error {
        let path = path.to_owned();
        match self {
            Self::Unsuitable(what) => Error::UnsuitableFile {
                path,
                what,
                expected: "a regular file or directory",
            },
            Self::System(errno) => {
                let error = errno.into();
                let requirement = "an exclusive --fcntl lock requires a writable file";
                let hint = match errno {
                    // A directory can be opened, but not have such a lock.
                    Errno::ISDIR if access == OFlags::WRONLY => {
                        return Error::Lock {
                            target: path,
                            error,
                            hint: Some(requirement.into()),
                        };
                    }
                    Errno::ACCESS | Errno::ROFS | Errno::PERM if access == OFlags::WRONLY => {
                        Some(requirement.into())
                    }
                    _ => open_hint::for_path(&path, errno),
                };
                Error::Open { path, error, hint }
            }
        }
    }
}

/// Opens the file, and creates it only if it is missing: with `O_CREAT` the kernel refuses a
/// directory, a file on a read-only file system, and (`fs.protected_regular`) another user's file
/// in a sticky directory, all of which can be locked.
///
/// *Race:* the file may appear or disappear between the two calls. If it appears, `O_CREAT` opens
/// it, unless it is one of those; therefore a refusal is followed by one more attempt without it.
fn open(path: &OsStr, access: OFlags) -> Result<(OwnedFd, Stat), OpenError> {
    match open_as(path, access) {
        Err(OpenError::System(Errno::NOENT)) => {
            open_as(path, access | OFlags::CREATE).or_else(|refused| match refused {
                OpenError::System(Errno::ISDIR) => open_as(path, access),
                OpenError::System(Errno::ACCESS) => open_as(path, access).map_err(|_| refused),
                _ => Err(refused),
            })
        }
        other => other,
    }
}

/// `O_NONBLOCK` is set only while opening, so that a FIFO or a terminal line does not block
/// open(2). With it, a file under a lease is refused, and then opened again without.
pub(super) fn open_as(path: &OsStr, flags: OFlags) -> Result<(OwnedFd, Stat), OpenError> {
    let flags = flags | OFlags::NOCTTY;
    let permissions = Permissions::from_raw_mode(0o666);
    let open = || rustix::fs::open(path, flags | OFlags::NONBLOCK, permissions);
    let fd = match sys::repeat_if_interrupted(open) {
        Err(Errno::WOULDBLOCK) => rustix::fs::open(path, flags, permissions),
        // A socket, or a FIFO without a reader.
        Err(Errno::NXIO) => Err(match rustix::fs::stat(path) {
            Ok(stat) => {
                return Err(
                    unsuitable(&stat).map_or(OpenError::System(Errno::NXIO), OpenError::Unsuitable)
                );
            }
            Err(_) => Errno::NXIO,
        }),
        other => other,
    }
    .map_err(OpenError::System)?;
    let stat = rustix::fs::fstat(&fd).map_err(OpenError::System)?;
    if let Some(what) = unsuitable(&stat) {
        return Err(OpenError::Unsuitable(what));
    }
    let set_flags = || rustix::fs::fcntl_setfl(&fd, flags);
    sys::repeat_if_interrupted(set_flags).map_err(OpenError::System)?;
    Ok((dup_above_stderr(fd).map_err(OpenError::System)?, stat))
}

fn unsuitable(stat: &Stat) -> Option<&'static str> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => Some("a FIFO"),
        FileType::Socket => Some("a socket"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;

    use super::*;

    const FLOCK: LockKind = LockKind::Advisory(LockApi::Flock);

    /// A path in a temporary directory.
    fn temporary_path() -> (tempfile::TempDir, OsString) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("lock").into_os_string();
        (dir, path)
    }

    fn fail(errno: Errno) -> Result<Acquired<()>, AcquireError> {
        Err(AcquireError::Lock(errno.into()))
    }

    #[test]
    fn a_file_replaced_before_the_lock_is_granted_is_reopened() {
        let (_dir, path) = temporary_path();
        let mut changes = vec!["replace", "delete"];
        let outcome = acquire_with(&path, FLOCK, Mode::Exclusive, |_| {
            let change = changes.pop();
            if change.is_some() {
                fs::remove_file(&path).expect("the file exists");
            }
            if change == Some("replace") {
                fs::write(&path, "new").expect("a new file");
            }
            Ok(Acquired::Held(()))
        });
        let Ok(Acquired::Held(guard)) = outcome else {
            panic!("{outcome:?}")
        };
        assert!(changes.is_empty());
        let at_path = rustix::fs::stat(&path).expect("the file exists");
        let at_path = Some(FileId::from_stat(&at_path));
        assert_eq!(FileId::from_fd(guard.as_fd()), at_path);
    }

    #[test]
    fn a_lock_that_requires_writing_reopens_the_file() {
        for errno in [Errno::BADF, Errno::IO] {
            let (_dir, path) = temporary_path();
            let outcome = acquire_with(&path, FLOCK, Mode::Exclusive, |fd| {
                let flags = rustix::fs::fcntl_getfl(fd).expect("an open descriptor");
                if flags.contains(OFlags::RDWR) {
                    Ok(Acquired::Held(()))
                } else {
                    fail(errno)
                }
            });
            assert!(matches!(outcome, Ok(Acquired::Held(_))), "{outcome:?}");
        }
    }

    #[test]
    fn a_persistent_error_of_the_lock_call_is_reported() {
        let (_dir, path) = temporary_path();
        for (mode, errno) in [
            (Mode::Exclusive, Errno::BADF),
            (Mode::Shared, Errno::BADF),
            (Mode::Exclusive, Errno::NOLCK),
        ] {
            let outcome = acquire_with(&path, FLOCK, mode, |_| fail(errno));
            assert!(matches!(outcome, Err(Error::Lock { .. })), "{outcome:?}");
        }
    }

    #[test]
    fn the_descriptor_is_not_left_in_nonblocking_mode() {
        let (_dir, path) = temporary_path();
        let file = LockFile::open(&path, LockApi::Flock, Mode::Exclusive).expect("a new file");
        let flags = rustix::fs::fcntl_getfl(&file.fd).expect("an open descriptor");
        assert!(!flags.contains(OFlags::NONBLOCK));
    }
}
