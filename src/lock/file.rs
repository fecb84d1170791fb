//! Locks on a path: opening or making the lock file, and making sure that what was locked is still what the path means.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Access, FileType, Mode as Permissions, OFlags, Stat};
use rustix::io::Errno;

use super::fair::{slots, ticket};
use super::{Answer, Deadline, Error, Failure, Grant, Guard, Kind, Mode};
use crate::sys::fd::above_stderr;

/// Opens the lock file at the path, making it if it is missing, and locks it.
///
/// The descriptor is the lowest free one above 2, and a command that is executed inherits it.
///
/// *The race:* whoever deletes or replaces the file races us between our open(2) and the moment the lock is granted.
/// Then we hold a lock on a file that the path no longer means, while the next to come locks the new one: two holders.
/// So once the lock is granted, descriptor and path are compared (device and inode). If they differ, we drop what we
/// have and begin again, within the same deadline. If they are the same, then whoever opened the path until then opened
/// this very file and waits behind our lock, and whoever replaces the file later breaks a lock that was rightly held,
/// which no locking tool can prevent. An inode number cannot be used again while we compare: our descriptor keeps it.
///
/// # Errors
///
/// The file can be neither opened nor made, is no place for a lock, or the lock call failed.
///
/// # References
///
/// open(2), flock(2), fcntl_locking(2).
pub fn acquire(path: &OsStr, kind: Kind, mode: Mode, deadline: &Deadline) -> Result<Grant, Error> {
    acquire_by(path, kind, mode, |fd| {
        super::acquire(fd, kind, mode, deadline)
    })
}

/// The same for one file only, which is known: `None` as soon as another one is opened at the path. That one is never
/// waited for.
///
/// # Errors
///
/// As for [`acquire`].
pub(super) fn acquire_if(
    path: &OsStr,
    wanted: Id,
    kind: Kind,
    mode: Mode,
    deadline: &Deadline,
) -> Result<Option<Grant>, Error> {
    let mut is_another = false;
    let grant = acquire_by(path, kind, mode, |fd| {
        is_another = id_of(fd) != Some(wanted);
        if is_another {
            return Ok(Answer::Conflict);
        }
        super::acquire(fd, kind, mode, deadline)
    })?;
    Ok((!is_another).then_some(grant))
}

fn acquire_by(
    path: &OsStr,
    kind: Kind,
    mode: Mode,
    mut lock: impl FnMut(BorrowedFd<'_>) -> Result<Answer, Failure>,
) -> Result<Grant, Error> {
    let mut access = access_for(kind, mode);
    let mut identity = Identity::default();
    loop {
        let (fd, opened) = open(path, access).map_err(|why| why.at(path, access))?;
        match lock(fd.as_fd()) {
            Ok(Answer::Granted) if mode == Mode::Unlocked => return Ok(Ok(Guard::Ours(fd))),
            Ok(Answer::Granted) => {
                let at_path = match rustix::fs::stat(path) {
                    Ok(stat) => Some(stat),
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::STALE) => None,
                    Err(error) => return Err(NotOpened::System(error).at(path, access)),
                };
                match identity.compare(id(&opened), at_path.as_ref().map(id)) {
                    Verdict::Same => return Ok(Ok(Guard::Ours(fd))),
                    Verdict::Replaced => {}
                    Verdict::Unknowable => {
                        return Err(Error::Unsteady {
                            path: path.to_owned(),
                        });
                    }
                }
            }
            Ok(refused) => return Ok(Err(refused)),
            Err(Failure::Lock(error))
                if access == OFlags::RDONLY && wants_writing(&error, mode, path) =>
            {
                access = OFlags::RDWR;
            }
            Err(failure) => return Err(failure.of(path)),
        }
    }
}

/// Removes a lock file, unless somebody has the lock: he will remove it.
///
/// For one who has given the lock up. A command that is over may have left something behind that has inherited the
/// descriptor, and with it the lock; if the lock can be had anew, exclusively and at once, nobody has it any more.
///
/// *The race:* somebody who opened the file before it went may lock it when it has gone, while the next to come makes a
/// new one: two holders. He looks at the path once he has the lock ([`acquire`]), finds another file there or none, and
/// begins again. And nobody removes another's file: only who has the exclusive lock on what is at the path removes it,
/// while he has it, so the one that he has looked at is the one that goes.
///
/// What is no regular file stays, and so does one that a symbolic link leads to, with the link.
///
/// # Errors
///
/// It cannot be removed.
///
/// # References
///
/// unlink(2).
pub fn remove(path: &OsStr, kind: Kind) -> Result<(), Error> {
    let access = access_for(kind, Mode::Exclusive) | OFlags::NOFOLLOW;
    let Ok((fd, opened)) = open_as(path, access) else {
        return Ok(());
    };
    if FileType::from_raw_mode(opened.st_mode) != FileType::RegularFile {
        return Ok(());
    }
    let answer = super::acquire(fd.as_fd(), kind, Mode::Exclusive, &Deadline::Now);
    let is_at_path = || rustix::fs::lstat(path).as_ref().map(id) == Ok(id(&opened));
    // Those who queue, or have slots, are not all seen by that lock.
    let is_used = || ticket::somebody_queues(fd.as_fd()) || slots::somebody_is_in(fd.as_fd());
    if !matches!(answer, Ok(Answer::Granted)) || !is_at_path() || is_used() {
        return Ok(());
    }
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::File {
            deed: "remove lock file",
            path: path.to_owned(),
            error: error.into(),
            hint: None,
        }),
    }
}

/// What makes the file at the path itself, which is made if it is missing.
///
/// # Errors
///
/// It can be neither opened nor made, or is no place for a lock.
pub(super) fn identify(path: &OsStr) -> Result<Id, Error> {
    let (_, stat) = open(path, OFlags::RDONLY).map_err(|why| why.at(path, OFlags::RDONLY))?;
    Ok(id(&stat))
}

/// Whether the path leads to anything that could be opened, as far as can be seen.
pub fn exists(path: &OsStr) -> bool {
    rustix::fs::stat(path).map_or_else(|error| error != Errno::NOENT, |_| true)
}

/// flock(2) asks for nothing; a write lock of fcntl(2) wants a descriptor that can write.
fn access_for(kind: Kind, mode: Mode) -> OFlags {
    match (kind, mode) {
        (Kind::Ofd { .. }, Mode::Exclusive) => OFlags::WRONLY,
        _ => OFlags::RDONLY,
    }
}

/// NFS turns flock(2) into a lock of fcntl(2), and then an exclusive one wants a descriptor that can write: the client
/// says `EBADF`, older ones `EIO`.
fn wants_writing(error: &io::Error, mode: Mode, path: &OsStr) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    mode == Mode::Exclusive
        && matches!(code, Some(Errno::BADF | Errno::IO))
        && rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK).is_ok()
}

/// Device and inode: what makes a file itself.
pub type Id = (u64, u64);

/// What makes the file of a descriptor itself; `None` if it is not open.
pub fn id_of(fd: impl AsFd) -> Option<Id> {
    rustix::fs::fstat(fd).as_ref().map(id).ok()
}

/// Returns the device and the inode of a file.
#[allow(clippy::unnecessary_cast)] // Their widths differ between processors.
pub fn id(stat: &Stat) -> Id {
    (stat.st_dev as u64, stat.st_ino as u64)
}

/// How often in a row the same two files may be mistaken for each other.
const MISTAKEN: u32 = 16;

/// Compares what was opened with what the path means. A file that was replaced is a new one when it is opened next; a
/// file system on which the same two stay different, time after time, cannot say which file is which, and going on
/// would mean to go on for ever.
#[derive(Default)]
pub struct Identity {
    before: Option<(Id, Id)>,
    mistaken: u32,
}

/// The result of comparing an opened file with the file at its path.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is one file.
    Same,
    /// It is another one by now, or gone.
    Replaced,
    /// It seems to be another one, again and again.
    Unknowable,
}

impl Identity {
    /// Compares the opened file with the file at the path, if there is one.
    pub fn compare(&mut self, opened: Id, at_path: Option<Id>) -> Verdict {
        let Some(at_path) = at_path else {
            return Verdict::Replaced;
        };
        if opened == at_path {
            return Verdict::Same;
        }
        let now = Some((opened, at_path));
        self.mistaken = if self.before == now {
            self.mistaken + 1
        } else {
            0
        };
        self.before = now;
        if self.mistaken < MISTAKEN {
            Verdict::Replaced
        } else {
            Verdict::Unknowable
        }
    }
}

/// Why there is no lock file.
enum NotOpened {
    System(Errno),
    Unsuitable(&'static str),
}

impl NotOpened {
    fn at(self, path: &OsStr, access: OFlags) -> Error {
        let path = path.to_owned();
        match self {
            Self::Unsuitable(what) => Error::Unsuitable {
                path,
                what,
                wanted: "a regular file or directory",
            },
            Self::System(error) => {
                let for_writing = access == OFlags::WRONLY
                    && matches!(
                        error,
                        Errno::ACCESS | Errno::ISDIR | Errno::ROFS | Errno::PERM
                    );
                let needed =
                    for_writing.then_some("an exclusive --fcntl lock requires a writable file");
                Error::Open {
                    path,
                    error: error.into(),
                    needed,
                }
            }
        }
    }
}

/// Opens the file, and makes it only when it is missing: `O_CREAT` would refuse a directory, a file on a read-only
/// file system, and (`fs.protected_regular`) somebody else's file in a sticky directory, all of which can be locked.
///
/// *The race:* the file may appear or vanish between the two calls. If it appears, `O_CREAT` opens it, unless it is one
/// of those; so a refusal is followed by one more look.
fn open(path: &OsStr, access: OFlags) -> Result<(OwnedFd, Stat), NotOpened> {
    match open_as(path, access) {
        Err(NotOpened::System(Errno::NOENT)) => {
            open_as(path, access | OFlags::CREATE).or_else(|refused| match refused {
                NotOpened::System(Errno::ISDIR) => open_as(path, access),
                NotOpened::System(Errno::ACCESS) => open_as(path, access).map_err(|_| refused),
                _ => Err(refused),
            })
        }
        other => other,
    }
}

/// `O_NONBLOCK` only while opening, so that a FIFO or a terminal line cannot hold us there; with it, a file under a
/// lease is refused instead of waited for, and opened again without.
fn open_as(path: &OsStr, flags: OFlags) -> Result<(OwnedFd, Stat), NotOpened> {
    let flags = flags | OFlags::NOCTTY;
    let permissions = Permissions::from_raw_mode(0o666);
    let fd = match rustix::fs::open(path, flags | OFlags::NONBLOCK, permissions) {
        Err(Errno::WOULDBLOCK) => rustix::fs::open(path, flags, permissions),
        // What a socket says, and a FIFO that nobody reads.
        Err(Errno::NXIO) => Err(match rustix::fs::stat(path) {
            Ok(stat) => {
                return Err(
                    unsuitable(&stat).map_or(NotOpened::System(Errno::NXIO), NotOpened::Unsuitable)
                );
            }
            Err(_) => Errno::NXIO,
        }),
        other => other,
    }
    .map_err(NotOpened::System)?;
    let stat = rustix::fs::fstat(&fd).map_err(NotOpened::System)?;
    if let Some(what) = unsuitable(&stat) {
        return Err(NotOpened::Unsuitable(what));
    }
    rustix::fs::fcntl_setfl(&fd, flags).map_err(NotOpened::System)?;
    Ok((above_stderr(fd).map_err(NotOpened::System)?, stat))
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

    #[test]
    fn a_file_that_is_replaced_again_and_again_is_never_given_up() {
        let mut identity = Identity::default();
        for inode in 0..100 {
            assert_eq!(
                identity.compare((1, inode), Some((1, inode + 1))),
                Verdict::Replaced
            );
        }
        for _ in 0..100 {
            assert_eq!(identity.compare((1, 5), None), Verdict::Replaced);
        }
        assert_eq!(identity.compare((1, 5), Some((1, 5))), Verdict::Same);
    }

    #[test]
    fn a_file_system_that_cannot_tell_files_apart_is_given_up() {
        let mut identity = Identity::default();
        let mut compare = || identity.compare((1, 5), Some((2, 5)));
        assert_eq!(compare(), Verdict::Replaced);
        assert!(
            (0..MISTAKEN)
                .map(|_| compare())
                .any(|verdict| verdict == Verdict::Unknowable)
        );
    }

    /// A file name in a scratch folder.
    fn scratch() -> (tempfile::TempDir, OsString) {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("lock").into_os_string();
        (folder, path)
    }

    fn refuse(errno: Errno) -> Result<Answer, Failure> {
        Err(Failure::Lock(errno.into()))
    }

    #[test]
    fn a_file_that_is_deleted_or_replaced_before_the_lock_is_granted_is_opened_again() {
        let (_folder, path) = scratch();
        let mut meddling = vec!["replace", "delete"];
        let grant = acquire_by(&path, Kind::Flock, Mode::Exclusive, |_| {
            let meddle = meddling.pop();
            if meddle.is_some() {
                fs::remove_file(&path).expect("it is there");
            }
            if meddle == Some("replace") {
                fs::write(&path, "new").expect("it can be written");
            }
            Ok(Answer::Granted)
        });
        let Ok(Ok(guard)) = grant else {
            panic!("{grant:?}")
        };
        assert!(meddling.is_empty());
        let held = rustix::fs::fstat(guard.as_fd()).expect("it is open");
        assert_eq!(
            id(&held),
            id(&rustix::fs::stat(&path).expect("it is there"))
        );
    }

    #[test]
    fn a_lock_that_wants_a_writable_descriptor_gets_one_as_on_nfs() {
        for errno in [Errno::BADF, Errno::IO] {
            let (_folder, path) = scratch();
            let grant = acquire_by(&path, Kind::Flock, Mode::Exclusive, |fd| {
                let flags = rustix::fs::fcntl_getfl(fd).expect("it is open");
                if flags.contains(OFlags::RDWR) {
                    Ok(Answer::Granted)
                } else {
                    refuse(errno)
                }
            });
            assert!(matches!(grant, Ok(Ok(_))), "{grant:?}");
        }
    }

    #[test]
    fn a_lock_call_that_fails_for_good_is_reported_and_not_tried_for_ever() {
        let (_folder, path) = scratch();
        for (mode, errno) in [
            (Mode::Exclusive, Errno::BADF),
            (Mode::Shared, Errno::BADF),
            (Mode::Exclusive, Errno::NOLCK),
        ] {
            let grant = acquire_by(&path, Kind::Flock, mode, |_| refuse(errno));
            assert!(matches!(grant, Err(Error::Lock { .. })), "{grant:?}");
        }
    }

    #[test]
    fn the_flag_that_keeps_open_from_blocking_is_gone_afterwards() {
        let (_folder, path) = scratch();
        let Ok((fd, _)) = open(&path, OFlags::RDONLY) else {
            panic!("it can be made")
        };
        let flags = rustix::fs::fcntl_getfl(&fd).expect("it is open");
        assert!(!flags.contains(OFlags::NONBLOCK));
    }
}
