//! Telling a helper that this process is stopped (Ctrl-Z) and continued.
//!
//! A waiter that is stopped must not hold up those behind it, and only its helper can let them pass.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{SendFlags, send};

use crate::sys::signal::{self, Disposition, SignalSet, number};

/// While this value exists, `SIGTSTP` makes a descriptor readable, and has its effect in
/// [`Self::stop`].
#[derive(Debug)]
pub struct StopSignal {
    fd: OwnedFd,
}

const SET: SignalSet = SignalSet::single(number::TSTP);

impl StopSignal {
    /// Blocks the signal. Returns `None` if it does not stop this process, or no descriptor is left.
    pub fn block() -> Option<Self> {
        let is_default = signal::disposition(number::TSTP) == Disposition::Default;
        let old = signal::block(SET);
        let fd = match is_default && !old.contains(number::TSTP) {
            true => signal::signalfd(SET).ok(),
            false => None,
        };
        if fd.is_none() {
            signal::set_mask(old);
        }
        Some(Self { fd: fd? })
    }

    /// Returns the descriptor.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// If the signal is pending, stops this process until it is continued, and tells the helper
    /// before and after.
    pub fn stop(&self, socket: BorrowedFd<'_>) {
        if !signal::pending().contains(number::TSTP) {
            return;
        }
        // A helper that has exited is noticed when its answer is read.
        let tell = |line: &[u8]| {
            let _ = send(socket, line, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        };
        tell(b"stopped\n");
        signal::unblock(SET);
        signal::block(SET);
        tell(b"continued\n");
    }
}

impl Drop for StopSignal {
    fn drop(&mut self) {
        signal::unblock(SET);
    }
}
