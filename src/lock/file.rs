//! Locks on a path: opening or creating the lock file, and making sure that the locked file is
//! still the one that the path leads to.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::acquire::{self, LockKind};
use super::advisory::{self, LockApi};
use super::at_path::{self, Symlink};
use super::file_id::{Comparison, FileId, ReplacementCheck};
use super::open::{OpenError, access_for, is_bad_descriptor, open};
use super::{AcquireError, Acquired, Deadline, Error, Guard, Mode, Refusal, unlink};

/// Opens the lock file at the path, creates it if it is missing, and locks it. Calls `on_wait`
/// before each wait.
///
/// The descriptor is the lowest free one above 2, and a command that is executed inherits it.
///
/// *Race:* another process deletes or replaces the file between our open(2) and the moment at which
/// the lock is granted: we would hold a lock on a file that the path no longer leads to, while the
/// next process locks the new one. Therefore, once the lock is granted, descriptor and path are
/// compared (device and inode), and if they differ, we start again, within the same deadline. Our
/// descriptor keeps the inode number from being reused until then. A process that replaces the file
/// later breaks a lock that was rightfully held, which no locking tool can prevent. A model visits
/// all cases: see `docs/design/protocols.md`.
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
        match attempt(path, kind, mode, &mut lock, &mut check) {
            Ok(Some(outcome)) => return Ok(outcome),
            Ok(None) => {}
            Err(error) if error.may_be_replacement() && check.may_retry() => {}
            Err(error) => return Err(error),
        }
    }
}

/// Opens and locks the file once. Returns `None` if it was replaced.
fn attempt(
    path: &OsStr,
    kind: LockKind,
    mode: Mode,
    mut lock: impl FnMut(BorrowedFd<'_>) -> Result<Acquired<()>, AcquireError>,
    check: &mut ReplacementCheck,
) -> Result<Option<Acquired<Guard>>, Error> {
    let mut file = LockFile::open(path, kind.api(), mode)?;
    let locked = match file.lock_with(mode, &mut lock) {
        Err(error @ (Error::SlotsUnsupported { .. } | Error::PlacesUnsupported { .. })) => {
            let is_new = file.is_new;
            drop(file);
            if is_new {
                unlink::remove_new(path);
            }
            return Err(error);
        }
        other => other?,
    };
    let at_path = match locked {
        Locked::Yes if mode == Mode::Unlocked => {
            return Ok(Some(Acquired::Held(file.into_guard())));
        }
        Locked::Yes => file.id_at_path()?,
        Locked::No(refusal) => return Ok(Some(Acquired::NotHeld(refusal))),
        Locked::Replaced(by) => by,
    };
    match check.compare(file.id, at_path) {
        Comparison::Same => Ok(Some(Acquired::Held(file.into_guard()))),
        Comparison::Replaced => Ok(None),
        Comparison::Unreliable => Err(Error::UnstableInode {
            path: path.to_owned(),
        }),
    }
}

/// An open lock file, perhaps locked.
pub(super) struct LockFile<'p> {
    pub(super) path: &'p OsStr,
    fd: OwnedFd,
    pub(super) id: FileId,
    access: OFlags,
    is_new: bool,
}

/// The result of locking an open file.
pub(super) enum Locked {
    /// It is locked.
    Yes,
    /// It is not locked, for this reason.
    No(Refusal),
    /// It is not locked, because the path leads to this other file now, or to none.
    Replaced(Option<FileId>),
}

impl<'p> LockFile<'p> {
    /// Opens the file as the lock requires, and creates it if it is missing.
    pub(super) fn open(path: &'p OsStr, api: LockApi, mode: Mode) -> Result<Self, Error> {
        Self::open_with(path, access_for(api, mode))
    }

    fn open_with(path: &'p OsStr, access: OFlags) -> Result<Self, Error> {
        let (fd, stat, is_new) =
            open(path, access).map_err(|error| error.for_path(path, access))?;
        Ok(Self {
            path,
            fd,
            id: FileId::from_stat(&stat),
            access,
            is_new,
        })
    }

    /// Returns the identity of the file that the path leads to [now](at_path), if there is one.
    pub(super) fn id_at_path(&self) -> Result<Option<FileId>, Error> {
        match at_path::stat(self.path, Symlink::Follow, &self.fd, self.id) {
            Ok(stat) => Ok(Some(FileId::from_stat(&stat))),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(OpenError::System(errno).for_path(self.path, self.access)),
        }
    }

    /// Locks the open file. If the lock needs a descriptor that is open for writing (NFS), opens
    /// the file again.
    ///
    /// NFS clients turn flock(2) into a lock of fcntl(2), for which an exclusive lock requires a
    /// descriptor that is open for writing: they report `EBADF`, older ones `EIO`. They also report
    /// these if the server has forgotten the file because it was replaced.
    pub(super) fn lock_with(
        &mut self,
        mode: Mode,
        mut lock: impl FnMut(BorrowedFd<'_>) -> Result<Acquired<()>, AcquireError>,
    ) -> Result<Locked, Error> {
        loop {
            return Ok(match lock(self.fd.as_fd()) {
                Ok(Acquired::Held(())) => Locked::Yes,
                Ok(Acquired::NotHeld(refusal)) => Locked::No(refusal),
                Err(AcquireError::Lock(error)) if is_bad_descriptor(&error) => {
                    match self.explain_bad_descriptor(error, mode)? {
                        None => continue,
                        Some(replaced) => replaced,
                    }
                }
                Err(error) => {
                    let hint = advisory::hint(&error, self.fd.as_fd());
                    return Err(error.for_target(self.path, hint));
                }
            });
        }
    }

    /// Finds out why the lock call rejected the descriptor: it was not open for writing and now is
    /// (`None`), or the file was replaced.
    fn explain_bad_descriptor(
        &mut self,
        error: io::Error,
        mode: Mode,
    ) -> Result<Option<Locked>, Error> {
        let mut hint = None;
        if mode == Mode::Exclusive && self.access == OFlags::RDONLY {
            match Self::open_with(self.path, OFlags::RDWR) {
                Ok(writable) if writable.id == self.id => {
                    *self = writable;
                    return Ok(None);
                }
                Ok(writable) => return Ok(Some(Locked::Replaced(Some(writable.id)))),
                Err(failed) if failed.may_be_replacement() => return Err(failed),
                Err(failed) => hint = failed.not_writable_hint(&error),
            }
        }
        let at_path = self.id_at_path()?;
        if at_path != Some(self.id) {
            return Ok(Some(Locked::Replaced(at_path)));
        }
        Err(AcquireError::Lock(error).for_target(self.path, hint))
    }

    pub(super) fn into_guard(self) -> Guard {
        Guard::Owned(self.fd)
    }
}

/// Returns whether the path leads to anything that could be opened, as far as can be seen.
pub fn exists(path: &OsStr) -> bool {
    rustix::fs::stat(path).map_or_else(|errno| errno != Errno::NOENT, |_| true)
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
