//! Opening a lock file: which access a lock requires, and what cannot be a lock file.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode as Permissions, OFlags, Stat};
use rustix::io::Errno;

use super::advisory::LockApi;
use super::{Error, Mode, open_hint};
use crate::sys;
use crate::sys::fd::dup_above_stderr;

/// flock(2) accepts any descriptor; a write lock of fcntl(2) requires one that is open for writing.
pub(super) fn access_for(api: LockApi, mode: Mode) -> OFlags {
    match (api, mode) {
        (LockApi::Ofd { .. }, Mode::Exclusive) => OFlags::WRONLY,
        _ => OFlags::RDONLY,
    }
}

/// Whether the error may mean that the descriptor is not open for writing, or that the file was
/// replaced.
pub fn is_bad_descriptor(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::BADF | Errno::IO))
}

/// Why a lock file was not opened.
pub(super) enum OpenError {
    System(Errno),
    Unsuitable(&'static str),
}

impl OpenError {
    pub(super) fn for_path(self, path: &OsStr, access: OFlags) -> Error {
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
///
/// Returns whether the file seems to be new, too.
pub(super) fn open(path: &OsStr, access: OFlags) -> Result<(OwnedFd, Stat, bool), OpenError> {
    let mut is_new = false;
    let opened = match open_as(path, access) {
        Err(OpenError::System(Errno::NOENT)) => match open_as(path, access | OFlags::CREATE) {
            Err(OpenError::System(Errno::ISDIR)) => open_as(path, access),
            Err(refused @ OpenError::System(Errno::ACCESS)) => {
                open_as(path, access).map_err(|_| refused)
            }
            other => {
                is_new = true;
                other
            }
        },
        other => other,
    };
    opened.map(|(fd, stat)| (fd, stat, is_new))
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
