//! A lock elsewhere for a shell function, as the shell sees it.

use std::os::fd::AsRawFd;

use fdlock::handle::Locks;
use fdlock::sys::fd;
use fdlock::sys::interruptible::InterruptibleCall;
use rustix::io::{self, Errno, FdFlags};

use crate::ffi::{self, Bash, Detached};
use crate::lock_fds::LockFds;

/// A lock elsewhere that belongs to two descriptors of one file, or will do so.
#[derive(Clone, Copy, Debug)]
pub struct RemoteLock {
    /// The descriptors.
    pub fds: LockFds,
    /// The program that acquires it, as long as it does so.
    pub program: Option<Detached>,
    is_held: bool,
}

/// How the time of a lock elsewhere has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteEnd {
    /// It was held until now, or this is for another process to decide.
    Released,
    /// It was lost. The guards have printed why.
    Lost,
    /// The function has closed the descriptors or released it.
    GivenUp,
}

impl RemoteLock {
    /// Takes over the descriptors.
    pub fn new(fds: LockFds) -> Self {
        Self {
            fds,
            program: None,
            is_held: false,
        }
    }

    /// Stores that the lock is held: what the function starts inherits the descriptors.
    pub fn set_held(&mut self) {
        self.is_held = true;
        for fd in self.fds.open() {
            // This does not fail: it is open.
            let _ = io::fcntl_setfd(fd, FdFlags::empty());
        }
    }

    /// Closes the descriptors. Only the process that has acquired the lock releases it, if it must,
    /// although other processes may have the descriptors, or ends the wait for it.
    pub fn finish(self, is_owner: bool, must_release: bool) -> RemoteEnd {
        let end = match is_owner {
            true => self.release(must_release),
            false => RemoteEnd::Released,
        };
        for fd in self.fds.open() {
            fd::close(fd.as_raw_fd());
        }
        end
    }

    fn release(self, must_release: bool) -> RemoteEnd {
        if let Some(program) = self.program {
            program.end();
        }
        let fd = self.fds.open().next();
        let locks = fd.map(Locks::of).filter(|locks| !locks.is_empty());
        let Some(locks) = locks else {
            return match self.is_held {
                true => RemoteEnd::GivenUp,
                false => RemoteEnd::Released,
            };
        };
        let is_lost = locks.is_any_lost();
        if must_release {
            locks.release();
            wait(&locks);
        }
        match is_lost {
            true => RemoteEnd::Lost,
            false => RemoteEnd::Released,
        }
    }
}

/// Waits until the other system has the lock back, or a signal ends what the shell does. The guards go
/// on without this process.
fn wait(locks: &Locks<'_>) {
    fn interrupt_pending() -> bool {
        ffi::bash().is_some_and(Bash::interrupt_pending)
    }
    loop {
        let Ok(Some(call)) = InterruptibleCall::begin(None, interrupt_pending) else {
            return;
        };
        if !matches!(call.run(|| locks.wait()), Ok(Err(Errno::INTR))) {
            return;
        }
    }
}
