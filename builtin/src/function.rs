//! The lock that a shell function is called under.

use std::os::fd::{AsFd, IntoRawFd, OwnedFd};

use fdlock::lock::{self, Kind};
use fdlock::request::flock::Manner;
use rustix::io::{self, FdFlags};
use rustix::process::{self, Pid};

/// Where its descriptor is: a function that says `exec 3>log` or `200>file` must not close the lock by that.
const OUT_OF_THE_WAY: [i32; 2] = [300, 10];

/// A lock on a file that was opened for it.
#[derive(Debug)]
pub struct Held {
    fd: OwnedFd,
    file: (u64, u64),
    kind: Kind,
    /// The process that took it.
    owner: Pid,
}

impl Held {
    /// Takes charge of the lock that the descriptor has. What the function starts inherits it, unless the manner says
    /// otherwise, so that the lock outlasts a shell that is killed, for as long as its commands run.
    pub fn new(fd: OwnedFd, kind: Kind, manner: Manner) -> Self {
        let raised = OUT_OF_THE_WAY
            .into_iter()
            .find_map(|least| io::fcntl_dupfd_cloexec(&fd, least).ok());
        // Where there is no number above, it stays where it is: a lock in the way is better than none.
        let fd = raised.unwrap_or(fd);
        let flags = match manner {
            Manner::ChildWithoutLock => FdFlags::CLOEXEC,
            Manner::Child | Manner::InPlace => FdFlags::empty(),
        };
        // It is open, so this does not fail.
        let _ = io::fcntl_setfd(&fd, flags);
        Self {
            file: file(&fd),
            fd,
            kind,
            owner: process::getpid(),
        }
    }

    /// Releases the lock, whoever has inherited its descriptor: the function is over.
    ///
    /// A child that was forked in the meantime may undo what its parent has protected, when it ends; it has a copy of the
    /// descriptor, but the lock is not its own. And a function may close descriptors that are not its own: what is at
    /// that number then is somebody else's.
    pub fn release(self) {
        if file(&self.fd) != self.file {
            let _ = self.fd.into_raw_fd();
            return;
        }
        if process::getpid() == self.owner {
            lock::descriptor::release(self.fd.as_fd(), self.kind);
        }
    }
}

/// Device and inode, or what no file has.
#[allow(clippy::unnecessary_cast)] // Their widths differ between processors.
fn file(fd: &OwnedFd) -> (u64, u64) {
    rustix::fs::fstat(fd).map_or((u64::MAX, u64::MAX), |stat| {
        (stat.st_dev as u64, stat.st_ino as u64)
    })
}
