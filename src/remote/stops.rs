//! Telling a helper that this process is stopped (Ctrl-Z) and continued.
//!
//! A waiter that is stopped must not hold up those behind it, and only its helper can let them pass.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{SendFlags, send};

use crate::sys::signal::{self, Disposition, SignalSet, number};

/// While this value exists, `SIGTSTP` makes a descriptor readable, and has its effect in
/// [`Self::handle`]. `SIGCONT`, which continues this process at once, makes it readable, too.
#[derive(Debug)]
pub struct StopSignals {
    fd: OwnedFd,
    /// Whether `SIGTSTP` is one of them.
    includes_stop: bool,
    old_mask: SignalSet,
}

const STOP: SignalSet = SignalSet::single(number::TSTP);
const CONTINUE: SignalSet = SignalSet::single(number::CONT);

impl StopSignals {
    /// Blocks the signals, `SIGTSTP` only if it would stop this process. Returns `None` if no
    /// descriptor is left.
    pub fn block() -> Option<Self> {
        let is_default = signal::disposition(number::TSTP) == Disposition::Default;
        let old_mask = signal::block(CONTINUE);
        let includes_stop = is_default && !old_mask.contains(number::TSTP);
        let set = match includes_stop {
            true => STOP.union(CONTINUE),
            false => CONTINUE,
        };
        signal::block(set);
        let fd = signal::signalfd(set).ok();
        if fd.is_none() {
            signal::set_mask(old_mask);
        }
        Some(Self {
            fd: fd?,
            includes_stop,
            old_mask,
        })
    }

    /// Returns the descriptor.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Stops this process if `SIGTSTP` is pending, until it is continued, and tells the helper before
    /// and after. If another signal has stopped this process, only the end of that can be told.
    pub fn handle(&self, socket: BorrowedFd<'_>) {
        // A helper that has exited is noticed when its answer is read.
        let tell = |line: &[u8]| {
            let _ = send(socket, line, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        };
        if self.includes_stop && signal::pending().contains(number::TSTP) {
            tell(b"stopped\n");
            signal::unblock(STOP);
            signal::block(STOP);
        }
        signal::take_pending(CONTINUE);
        tell(b"continued\n");
    }
}

impl Drop for StopSignals {
    fn drop(&mut self) {
        signal::set_mask(self.old_mask);
    }
}
