//! Locks on a descriptor that the caller opened.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::fs::{Access, OFlags};
use rustix::io::Errno;

use super::acquire::{self, LockKind};
use super::advisory::{self, LockApi};
use super::{AcquireError, Acquired, Deadline, Error, Guard, Mode};
use crate::sys;

/// Acquires or releases a lock on the caller's descriptor. Calls `on_wait` before it waits.
///
/// # Errors
///
/// The lock call failed: the descriptor is not open, or not open as the lock requires; no locks or
/// timers are left.
///
/// # References
///
/// flock(2), fcntl_locking(2).
pub fn acquire(
    number: RawFd,
    kind: LockKind,
    mode: Mode,
    deadline: &Deadline,
    on_wait: &mut dyn FnMut(),
) -> Result<Acquired<Guard>, Error> {
    let failed = |error: io::Error, hint| Error::Lock {
        target: number.to_string().into(),
        error,
        hint,
    };
    let Some(fd) = sys::fd::inherited(number) else {
        return Err(failed(Errno::BADF.into(), None));
    };
    match acquire::acquire(fd, kind, mode, deadline, on_wait) {
        Ok(outcome) => Ok(outcome.map(|()| Guard::Borrowed(fd))),
        Err(AcquireError::Lock(error)) if Errno::from_io_error(&error) == Some(Errno::BADF) => {
            Err(failed(error, bad_descriptor_hint(fd, kind, mode)))
        }
        Err(error) => {
            let hint = advisory::hint(&error, fd);
            Err(error.for_target(number.to_string(), hint))
        }
    }
}

/// Releases the lock on the caller's descriptor.
pub fn release(fd: BorrowedFd<'_>, api: LockApi) {
    // Unlocking an open descriptor does not fail, and there would be nothing to do about it.
    let _ = advisory::try_acquire(fd, api, Mode::Unlocked);
}

/// Explains why the kernel rejects a descriptor that is open.
fn bad_descriptor_hint(fd: BorrowedFd<'_>, kind: LockKind, mode: Mode) -> Option<String> {
    let flags = rustix::fs::fcntl_getfl(fd).ok()?;
    let (lock, access) = match mode {
        Mode::Shared => ("a shared", "reading"),
        Mode::Exclusive | Mode::Unlocked => ("an exclusive", "writing"),
    };
    let kind = match kind.api() {
        _ if flags.contains(OFlags::PATH) => return Some("it was opened with O_PATH".to_owned()),
        LockApi::Ofd { .. } => "--fcntl lock",
        LockApi::Flock => "lock over NFS",
    };
    Some(format!(
        "it is not open for {access}, which {lock} {kind} requires"
    ))
}

/// Adds a hint to the error of [`acquire()`] if the descriptor is closed here but open in the
/// calling shell: ksh and its relatives open descriptors above 2 with close-on-exec, so that their
/// commands do not inherit them.
#[must_use]
pub fn hint_if_closed_by_shell(mut failure: Error, number: RawFd) -> Error {
    if let Error::Lock { error, hint, .. } = &mut failure
        && hint.is_none()
        && error.raw_os_error() == Some(Errno::BADF.raw_os_error())
        && is_open_in_parent(number)
    {
        *hint = Some(format!(
            "the shell does not pass this descriptor to commands (ksh closes those above 2); use: flock {number} {number}>&{number}"
        ));
    }
    failure
}

fn is_open_in_parent(number: RawFd) -> bool {
    rustix::process::getppid().is_some_and(|parent| {
        let path = format!("/proc/{}/fd/{number}", parent.as_raw_nonzero());
        rustix::fs::access(path, Access::EXISTS).is_ok()
    })
}
