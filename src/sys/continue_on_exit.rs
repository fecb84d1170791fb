//! Continuing this process when another process exits, even if this one is stopped then.

use std::io;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open};

use super::signal;

/// A child process that waits for the exit of another process and then continues this one. Dropping
/// the guard kills the child.
///
/// The child blocks in poll(2) on a pidfd. It dies with this process.
///
/// # References
///
/// pidfd_open(2), `PR_SET_PDEATHSIG(2const)`.
#[derive(Debug)]
pub struct ContinueOnExit(Pid);

impl ContinueOnExit {
    /// Watches a child of this process, which must not be reaped before the guard is dropped. Every
    /// signal must be blocked. Before Linux 5.3, which introduced pidfds, nothing is watched.
    ///
    /// # Errors
    ///
    /// `EAGAIN`, `ENOMEM`: no process can be created.
    pub fn watch(watched: Pid) -> io::Result<Self> {
        let parent = rustix::process::getpid();
        // SAFETY: the child only makes system calls, and exits.
        let pid = super::check(unsafe { libc::fork() })?;
        if let Some(pid) = Pid::from_raw(pid) {
            return Ok(Self(pid));
        }
        // The child needs none of the parent's descriptors, and would keep them open, including the
        // lock's. The parent may also have no descriptor left for the pidfd.
        // SAFETY: takes numbers.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if libc::syscall(libc::SYS_close_range, 0_u32, u32::MAX, 0_u32) == -1 {
                (0..3).for_each(|fd| {
                    libc::close(fd);
                });
            }
        }
        // A parent that exited before prctl(2) causes no signal, but is no longer the parent.
        if rustix::process::getppid() == Some(parent)
            && let Ok(pidfd) = pidfd_open(watched, PidfdFlags::empty())
        {
            while poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None) == Err(Errno::INTR) {}
            let _ = signal::send(parent, libc::SIGCONT);
        }
        // SAFETY: exits without running any of the parent's cleanup.
        unsafe { libc::_exit(0) }
    }
}

impl Drop for ContinueOnExit {
    fn drop(&mut self) {
        // The child has not been reaped, so no other process can have its PID. Where kill(2) is
        // refused, the child exits after the process that it watches, or with this process.
        if signal::send(self.0, libc::SIGKILL).is_ok() {
            // Not interrupted, because every signal is blocked.
            let _ = rustix::process::waitpid(Some(self.0), WaitOptions::empty());
        }
    }
}
