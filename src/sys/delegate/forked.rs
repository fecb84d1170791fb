//! The child where no process may share memory: it gets a copy of this process, by fork(2).

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Acquire;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, PidfdFlags, WaitId, WaitIdOptions, getpid, getppid, pidfd_open, waitid,
};

use super::state::{WAITING, WaitState, left_until};
use crate::sys::process::{exited_child, set_parent_death_signal};
use crate::sys::shared_memory::ChildResult;
use crate::sys::signal::{self, SignalSet};

/// Like [`run_interruptibly`](super::run_interruptibly), but with a child that shares the open file
/// descriptions, not the memory. The result comes back in memory of its own. The child's exit is
/// seen through a pidfd: an address in this memory, where the kernel could store it, has no meaning
/// in the copy.
///
/// *Race:* a signal handler may interrupt the wait just before this process blocks. So all signals
/// are blocked, except while ppoll(2) waits: a handler that runs in there ends the wait, and the
/// state is checked before each wait.
///
/// *Race:* the host's handler for `SIGCHLD`, if it has one, may run when the child exits, and reap
/// it. So the child is killed and reaped only through the pidfd, which never means another process.
///
/// *Race:* this process may be killed: as with a child that shares the memory.
///
/// # Errors
///
/// `EAGAIN`, `ENOMEM`: no process can be created. `ENOSYS`: there are no pidfds.
pub(super) fn run<T: Copy>(
    state: &WaitState,
    deadline: Option<Instant>,
    call: impl FnMut() -> T,
) -> io::Result<Option<T>> {
    let result = ChildResult::new()?;
    let mask = signal::set_mask(SignalSet::ALL);
    let was_pending = signal::pending().contains(libc::SIGCHLD);
    let ended = fork(&result, call).and_then(|child| wait_and_reap(child, state, deadline, mask));
    if !was_pending {
        discard_child_signal();
    }
    signal::set_mask(mask);
    ended.map(|()| result.into_value())
}

/// Starts the child, which makes the call. All signals are blocked.
fn fork<T: Copy>(result: &ChildResult<T>, call: impl FnMut() -> T) -> io::Result<Pid> {
    let parent = getpid();
    // SAFETY: the child makes only system calls, and exits.
    let pid = crate::sys::check(unsafe { libc::fork() })?;
    Pid::from_raw(pid).ok_or_else(|| {
        child_main(parent, result, call);
        // SAFETY: exits without running any of the parent's cleanup.
        unsafe { libc::_exit(0) }
    })
}

/// Runs in the child. A panic aborts, because the frames below belong to the parent.
extern "C" fn child_main<T: Copy>(
    parent: Pid,
    result: &ChildResult<T>,
    mut call: impl FnMut() -> T,
) {
    set_parent_death_signal(libc::SIGKILL);
    // None means a parent in another PID namespace.
    if getppid().is_none_or(|current| current == parent) {
        result.set(call());
    }
}

/// Waits until the child has exited, the wait is interrupted, or the deadline has passed. In any
/// case, the child has exited afterwards.
fn wait_and_reap(
    child: Pid,
    state: &WaitState,
    deadline: Option<Instant>,
    mask: SignalSet,
) -> io::Result<()> {
    let pidfd = pidfd_open(child, PidfdFlags::empty());
    if let Ok(pidfd) = &pidfd {
        while state.0.load(Acquire) == WAITING {
            let left = deadline.map(left_until);
            let is_over = left == Some(Duration::ZERO);
            if is_over || signal::poll_with_mask(pidfd.as_fd(), left, mask) {
                break;
            }
        }
    }
    // Without a pidfd, no signal was unblocked: nothing has reaped the child, and the PID is its own.
    let id = match &pidfd {
        Ok(pidfd) => {
            let _ = crate::sys::pidfd::send_signal(pidfd, libc::SIGKILL);
            WaitId::PidFd(pidfd.as_fd())
        }
        Err(_) => {
            let _ = signal::send(child, libc::SIGKILL);
            WaitId::Pid(child)
        }
    };
    // Fails if the host has reaped it, or ignores `SIGCHLD`: then it has exited, too.
    let _ = waitid(id, WaitIdOptions::EXITED);
    pidfd.map(drop).map_err(io::Error::from)
}

/// Takes the `SIGCHLD` of the child, which is not the host's, unless it stands for another child of
/// the host, too.
fn discard_child_signal() {
    let taken = signal::take_pending(SignalSet::single(libc::SIGCHLD));
    if taken.is_some() && exited_child().is_some() {
        let _ = signal::send(getpid(), libc::SIGCHLD);
    }
}
