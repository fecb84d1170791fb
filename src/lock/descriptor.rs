//! Locks on a descriptor that the caller opened.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::fs::{Access, OFlags};
use rustix::io::Errno;

use super::{Answer, Deadline, Error, Failure, Grant, Guard, Kind, Mode};
use crate::sys;

/// Brings the caller's descriptor of this number into the mode.
///
/// # Errors
///
/// The lock call failed: the descriptor is not open, or not for what the lock needs; no locks or timers left.
///
/// # References
///
/// flock(2), fcntl_locking(2).
pub fn acquire(number: RawFd, kind: Kind, mode: Mode, deadline: &Deadline) -> Result<Grant, Error> {
    let failed = |error: io::Error, hint| Error::Lock {
        what: number.to_string().into(),
        error,
        hint,
    };
    let Some(fd) = sys::fd::inherited(number) else {
        return Err(failed(Errno::BADF.into(), None));
    };
    match super::acquire(fd, kind, mode, deadline) {
        Ok(Answer::Granted) => Ok(Ok(Guard::Theirs(fd))),
        Ok(refused) => Ok(Err(refused)),
        Err(Failure::Lock(error)) => {
            let hint = if error.raw_os_error() == Some(Errno::BADF.raw_os_error()) {
                why_bad(fd, kind, mode)
            } else {
                None
            };
            Err(failed(error, hint))
        }
        Err(failure) => Err(failure.of(number.to_string())),
    }
}

/// Drops the lock on the caller's descriptor.
pub fn release(fd: BorrowedFd<'_>, kind: Kind) {
    // Unlocking what is open and lockable does not fail, and there is nobody who could do better.
    let _ = super::acquire(fd, kind, Mode::Unlocked, &Deadline::Now);
}

/// Why the kernel calls a descriptor bad that the caller believes to be good.
fn why_bad(fd: BorrowedFd<'_>, kind: Kind, mode: Mode) -> Option<String> {
    let flags = rustix::fs::fcntl_getfl(fd).ok()?;
    let (lock, access) = match mode {
        Mode::Shared => ("a shared", "reading"),
        Mode::Exclusive | Mode::Unlocked => ("an exclusive", "writing"),
    };
    Some(match kind {
        _ if flags.contains(OFlags::PATH) => "it was opened with O_PATH".to_owned(),
        Kind::Ofd { .. } => {
            format!("it is not open for {access}, which {lock} --fcntl lock requires")
        }
        Kind::Flock | Kind::Fair(_) | Kind::Slot { .. } => {
            format!("it is not open for {access}, which {lock} lock over NFS requires")
        }
    })
}

/// The error of [`acquire`] in a program that a shell has started: it may know why the descriptor is not open here. ksh
/// and its kin open descriptors above 2 close-on-exec, so that the shell has them and its commands have not.
#[must_use]
pub fn kept_by_the_shell(error: Error, number: RawFd) -> Error {
    match error {
        Error::Lock {
            what,
            error,
            hint: None,
        } if error.raw_os_error() == Some(Errno::BADF.raw_os_error()) => Error::Lock {
            what,
            error,
            hint: parent_has(number).then(|| format!(
                "the shell does not pass this descriptor to commands (ksh closes those above 2); use: flock {number} {number}>&{number}"
            )),
        },
        other => other,
    }
}

fn parent_has(number: RawFd) -> bool {
    rustix::process::getppid().is_some_and(|parent| {
        let path = format!("/proc/{}/fd/{number}", parent.as_raw_nonzero());
        rustix::fs::access(path, Access::EXISTS).is_ok()
    })
}
