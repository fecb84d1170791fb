//! Locks on a descriptor that the caller opened.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::fs::{Access, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use super::acquire::{self, LockKind};
use super::advisory::{self, LockApi};
use super::{AcquireError, Acquired, Deadline, Error, Guard, Mode};
use crate::sys::{self, procfs};

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

/// Adds a hint to the error of [`acquire()`] if the descriptor is closed here, but the parent
/// process has it open: it did not pass the descriptor on.
#[must_use]
pub fn hint_if_open_in_parent(mut failure: Error, number: RawFd) -> Error {
    if let Error::Lock { error, hint, .. } = &mut failure
        && hint.is_none()
        && error.raw_os_error() == Some(Errno::BADF.raw_os_error())
        && let Some(parent) = rustix::process::getppid()
    {
        *hint = closed_descriptor_hint(parent, number);
    }
    failure
}

/// Explains why a descriptor is not open here, if the parent process is the reason.
#[cold]
fn closed_descriptor_hint(parent: Pid, number: RawFd) -> Option<String> {
    let pid = parent.as_raw_nonzero();
    let comm = procfs::status::comm(parent).ok()?;
    let comm = String::from_utf8_lossy(&comm);
    // sudo itself has closed it, too.
    if comm == "sudo" && number > 2 {
        return Some(format!(
            "sudo closes descriptors above 2; call flock outside of sudo, or use sudo -C {}, if \
             its configuration permits that",
            i64::from(number) + 1
        ));
    }
    rustix::fs::access(format!("/proc/{pid}/fd/{number}"), Access::EXISTS).ok()?;
    let mut hint = format!("{comm} (PID {pid}) has it open but did not pass it on");
    // A script with an interpreter has a name of its own.
    let program = procfs::program_name(parent).unwrap_or_default();
    let is_any = |names: &[&str]| {
        let stem = |name: &str| name.trim_end_matches(is_version).to_owned();
        names.contains(&&*stem(&comm)) || names.contains(&&*stem(&program))
    };
    if number > 2 && is_any(KORN_SHELLS) {
        // They open descriptors above 2 with close-on-exec, except those of redirections.
        hint.push_str(&format!("; use: flock {number} {number}>&{number}"));
    } else if is_any(&["python", "pypy"]) {
        hint.push_str(&format!("; pass it with pass_fds=[{number}]"));
    }
    Some(hint)
}

/// ksh and its relatives, without version numbers.
const KORN_SHELLS: &[&str] = &[
    "ksh",
    "loksh",
    "lksh",
    "mksh",
    "mksh-static",
    "oksh",
    "pdksh",
    "rksh",
];

fn is_version(letter: char) -> bool {
    letter.is_ascii_digit() || letter == '.'
}
