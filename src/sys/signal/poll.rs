//! Waiting for a descriptor, with signals.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::Duration;

use super::kernel_set::KernelSet;
use super::set::SignalSet;

/// Waits until a descriptor can be read, with another signal mask meanwhile. Returns whether it can
/// be; false if the time is up or a signal handler has run.
///
/// # References
///
/// ppoll(2).
pub fn poll_with_mask(fd: BorrowedFd<'_>, timeout: Option<Duration>, mask: SignalSet) -> bool {
    let mut fds = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(i32::MAX.into()),
        tv_nsec: timeout.subsec_nanos() as libc::c_long,
    });
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // The C library passes a set on as it is, and the kernel's comes first in it.
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: one descriptor, a timespec or null, and a set, which is larger than the kernel's.
    unsafe {
        set.as_mut_ptr().cast::<KernelSet>().write(mask.0.into());
        libc::ppoll(&raw mut fds, 1, timeout, set.as_ptr()) == 1
    }
}
