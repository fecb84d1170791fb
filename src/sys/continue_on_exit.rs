//! Somebody who stays awake while this process is stopped.

use std::io;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open};

use super::signal;

/// A child that waits for another process's end, and then continues this one. Dropping it ends it.
///
/// It blocks in poll(2) on the other's pidfd. It ends with this process, whatever ends that.
///
/// # References
///
/// pidfd_open(2), `PR_SET_PDEATHSIG(2const)`.
#[derive(Debug)]
pub struct ContinueOnExit(Pid);

impl ContinueOnExit {
    /// Watches over a child of this process's, which must not be waited for before the watcher is dropped. Every signal
    /// must be blocked. Before Linux 5.3, which has no pidfd, it ends at once and nobody watches.
    ///
    /// # Errors
    ///
    /// `EAGAIN`, `ENOMEM`: no process can be had.
    pub fn watch(watched: Pid) -> io::Result<Self> {
        let us = rustix::process::getpid();
        // SAFETY: the child makes system calls only, and exits.
        let pid = super::check(unsafe { libc::fork() })?;
        if let Some(pid) = Pid::from_raw(pid) {
            return Ok(Self(pid));
        }
        // SAFETY: takes numbers. Nothing that the parent has open is of use here, and all of it, the lock too, would
        // be held open; besides, the parent may have no descriptor left for the one that is needed.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if libc::syscall(libc::SYS_close_range, 0_u32, u32::MAX, 0_u32) == -1 {
                (0..3).for_each(|fd| {
                    libc::close(fd);
                });
            }
        }
        // A parent that died before that sends nothing, but is no longer the parent.
        if rustix::process::getppid() == Some(us)
            && let Ok(end) = pidfd_open(watched, PidfdFlags::empty())
        {
            while poll(&mut [PollFd::new(&end, PollFlags::IN)], None) == Err(Errno::INTR) {}
            let _ = signal::send(us, libc::SIGCONT);
        }
        // SAFETY: ends the child, running nothing of the parent's.
        unsafe { libc::_exit(0) }
    }
}

impl Drop for ContinueOnExit {
    fn drop(&mut self) {
        // It is our child until it is waited for here, so the number is its own.
        let _ = signal::send(self.0, libc::SIGKILL);
        // Not interrupted, as every signal is blocked.
        let _ = rustix::process::waitpid(Some(self.0), WaitOptions::empty());
    }
}
