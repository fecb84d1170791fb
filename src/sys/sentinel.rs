//! A sentinel: a child process that only sleeps, so that other processes can wait for its exit
//! through a pidfd.

use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::time::Duration;

use rustix::process::{Pid, getpid, test_kill_process};
use rustix::thread::futex::{self, Timespec};

use super::process::{is_child, is_exhaustion};
use super::signal::{self, SignalSet};

/// The name of all sentinels, which ps(1) shows.
pub const NAME: &CStr = c"flock-queue";

/// The size of the stack. The sentinel needs little, and only pages that are used take memory.
const STACK_SIZE: usize = 32 * 1024;

/// A child process that sleeps until this value is dropped. A process of any user can wait for its
/// exit (pidfd_open(2)), which means that the value was dropped, or that this process has exited
/// for any reason.
///
/// The sentinel shares its parent's memory (`CLONE_VM`), so that a large parent is not copied, and
/// a small one does not use twice its memory. It runs on a stack of its own and only makes system
/// calls. It has no descriptors and handles no signals, and stopping it has no effect. Its exit
/// raises no `SIGCHLD`, and wait(2) in a host process does not see it (its exit signal is 0).
///
/// qemu-user and some sandboxes refuse a process that shares memory but is neither a thread nor the
/// result of vfork(2). There the sentinel is forked, takes more memory, and shares only its state.
/// Its parent waits for it with `SIGCHLD` blocked and discards that signal. If another process has
/// killed it, the host may see its exit, and may have reaped it.
///
/// *Race:* the parent may exit before the sentinel has requested to be killed when that happens
/// (`PR_SET_PDEATHSIG`). The sentinel requests it first, and then checks its parent: if the parent
/// has exited, the sentinel has another one. The parent waits until the sentinel has done so and
/// has closed its descriptors. Whatever the parent then does on behalf of its sentinel therefore
/// ends with the parent, even if both are stopped at once and the parent is killed.
///
/// The sentinel sleeps on a futex, its state, because kill(2) may be refused (seccomp, AppArmor):
/// then the parent stores the order to exit in the state and wakes the sentinel. A security module
/// that refuses signals also refuses the one that the parent's exit causes, because it counts as
/// sent by the parent. So where signals are refused, the sentinel looks from time to time whether it
/// has another parent.
///
/// # References
///
/// clone(2), `PR_SET_PDEATHSIG(2const)`, futex(2).
#[derive(Debug)]
pub struct Sentinel {
    /// The PID of the process.
    pub pid: Pid,
    kind: Kind,
    stack: Stack,
}

/// How a sentinel is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// With clone(2). It shares the parent's memory, and its exit raises no signal.
    Cloned,
    /// With fork(2).
    Forked,
}

impl Sentinel {
    /// Starts a sentinel.
    ///
    /// # Errors
    ///
    /// `EAGAIN`, `ENOMEM`, `EPERM`: no process can be created.
    pub fn new() -> io::Result<Self> {
        match Self::start(Kind::Cloned) {
            Err(error) if !is_exhaustion(&error) => Self::start(Kind::Forked),
            result => result,
        }
    }

    fn start(kind: Kind) -> io::Result<Self> {
        let stack = Stack::new(kind)?;
        let state = stack.state();
        let starting = getpid().as_raw_nonzero().get() as u32;
        state.store(starting, Release);
        // The sentinel blocks all signals from the start, so that those to the whole group do not
        // affect it.
        let mask = signal::set_mask(SignalSet::ALL);
        // SAFETY: the child runs `sentinel_main` on a stack of its own, which is a copy if it is
        // forked. The stack, and the state in it, outlive the child.
        let pid = super::check(unsafe {
            match kind {
                Kind::Cloned => libc::clone(sentinel_main, stack.top(), libc::CLONE_VM, stack.0),
                Kind::Forked => libc::fork(),
            }
        });
        if matches!(pid, Ok(0)) {
            let status = sentinel_main(stack.0);
            // SAFETY: exits without running any of the parent's cleanup.
            unsafe { libc::_exit(status) }
        }
        signal::set_mask(mask);
        let pid = Pid::from_raw(pid?).ok_or(io::ErrorKind::Other)?;
        wait_while_starting(state, starting);
        Ok(Self { pid, kind, stack })
    }

    /// Ends and reaps the process. No other process can have its PID before it is reaped.
    ///
    /// A sentinel that is stopped and cannot be killed would never exit. It is left behind, with
    /// its stack, and the kernel kills it when this process exits.
    fn end(&mut self) {
        let is_killed = signal::send(self.pid, libc::SIGKILL).is_ok();
        if !is_killed {
            let state = self.stack.state();
            state.store(EXIT, Release);
            wake(state);
        }
        let options = if is_killed { 0 } else { libc::WUNTRACED };
        let (pid, mut status) = (self.pid.as_raw_nonzero().get(), 0);
        // SAFETY: room for the status.
        while unsafe { libc::waitpid(pid, &raw mut status, options | libc::__WALL) } == -1
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
        if libc::WIFSTOPPED(status) {
            self.stack.leak();
        }
    }

    /// Ends and reaps a forked process, without a trace of its `SIGCHLD`.
    ///
    /// *Race:* another process may have killed the sentinel, and the host may reap it just before
    /// its PID is used here. So the host's handler cannot run until it is reaped here, and nothing
    /// happens if it is not a child any more.
    fn end_forked(&mut self) {
        let sigchld = SignalSet::single(libc::SIGCHLD);
        let mask = signal::block(sigchld);
        let was_pending = signal::pending().contains(libc::SIGCHLD);
        if is_child(self.pid) {
            self.end();
            if !was_pending {
                signal::take_pending(sigchld);
            }
        }
        signal::set_mask(mask);
    }
}

impl Drop for Sentinel {
    /// Ends and reaps the sentinel. Nothing uses the stack afterwards.
    fn drop(&mut self) {
        match self.kind {
            Kind::Cloned => self.end(),
            Kind::Forked => self.end_forked(),
        }
    }
}

/// The state of a sentinel that is ready. Before that, its state is the PID of its parent.
const READY: u32 = u32::MAX;

/// How often a sentinel looks for its parent where signals are refused.
const ORPHAN_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The state of a sentinel that has to exit.
const EXIT: u32 = 0;

/// Sleeps until the state has another value, but not forever, because the child may be stopped or
/// killed at this moment.
fn wait_while_starting(state: &AtomicU32, starting: u32) {
    for _ in 0..5 {
        if state.load(Acquire) != starting {
            return;
        }
        wait_while_equal(state, starting, Some(Duration::from_millis(100)));
    }
}

/// Sleeps while the state has this value, at most for the timeout. May return early.
///
/// # References
///
/// futex(2).
fn wait_while_equal(state: &AtomicU32, value: u32, timeout: Option<Duration>) {
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    // Fails if the value has changed, the time is up, or a signal has arrived.
    let _ = futex::wait(state, futex::Flags::empty(), value, timeout.as_ref());
}

/// Wakes the process that sleeps while the state has another value.
fn wake(state: &AtomicU32) {
    let _ = futex::wake(state, futex::Flags::empty(), 1);
}

/// Runs in the child, and returns when it has to exit.
///
/// Parent and child may share errno. Once the sentinel is ready, it makes only system calls of
/// rustix, which do not use errno, and getppid(2), which does not fail.
///
/// *Race:* the parent may order the exit before the sentinel is ready. Then the sentinel must not
/// overwrite the order, so it becomes ready only if its state is still the initial one.
extern "C" fn sentinel_main(state: *mut c_void) -> c_int {
    // SAFETY: at the start of the stack, which is mapped as long as the child exists.
    let state = unsafe { &*state.cast::<AtomicU32>() };
    let parent = state.load(Acquire);
    if parent == EXIT {
        return 0;
    }
    // 0 means a parent in another PID namespace.
    let is_orphan = || {
        // SAFETY: takes nothing.
        let current = unsafe { libc::getppid() } as u32;
        current != 0 && current != parent
    };
    // SAFETY: system calls that take numbers and strings. The child closes its own copies of the
    // descriptors; before Linux 5.9 they stay open.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if is_orphan() {
            return 0;
        }
        libc::prctl(libc::PR_SET_NAME, NAME.as_ptr());
        libc::syscall(libc::SYS_close_range, 0_u32, u32::MAX, 0_u32);
    }
    if state
        .compare_exchange(parent, READY, AcqRel, Acquire)
        .is_ok()
    {
        wake(state);
    }
    let may_be_killed = test_kill_process(getpid()).is_ok();
    let timeout = (!may_be_killed).then_some(ORPHAN_CHECK_INTERVAL);
    while state.load(Acquire) == READY && !is_orphan() {
        wait_while_equal(state, READY, timeout);
    }
    0
}

/// The memory of the child's stack. Null if it is leaked.
#[derive(Debug)]
struct Stack(*mut c_void);

impl Stack {
    /// Maps the memory. A forked sentinel uses only the state, which it has to share.
    fn new(kind: Kind) -> io::Result<Self> {
        let sharing = match kind {
            Kind::Cloned => libc::MAP_PRIVATE,
            Kind::Forked => libc::MAP_SHARED,
        };
        // SAFETY: a new mapping; the kernel chooses the address.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                STACK_SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                sharing | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(start))
    }

    /// Returns the state of the sentinel, which is at the lowest address, where the stack never
    /// grows to.
    fn state(&self) -> &AtomicU32 {
        // SAFETY: mapped, page-aligned, initialized, and accessed only atomically, also by the
        // kernel.
        unsafe { &*self.0.cast::<AtomicU32>() }
    }

    /// Keeps the memory mapped until this process exits.
    fn leak(&mut self) {
        self.0 = ptr::null_mut();
    }

    /// Returns the end of the memory, from which the stack grows down.
    fn top(&self) -> *mut c_void {
        self.0.wrapping_byte_add(STACK_SIZE)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: mapped by `new`, unmapped once.
            unsafe { libc::munmap(self.0, STACK_SIZE) };
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::io::Errno;
    use rustix::process::{PidfdFlags, pidfd_open};

    use super::*;
    use crate::sys::procfs::stat::Stat;

    #[test]
    fn exit_is_seen_when_the_sentinel_is_dropped() {
        for kind in [Kind::Cloned, Kind::Forked] {
            let sentinel = Sentinel::start(kind).expect("a process");
            let pid = sentinel.pid;
            let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("the sentinel exists");
            let no_wait = Some(&Default::default());
            let exited = || poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], no_wait);
            assert_eq!(exited(), Ok(0));
            drop(sentinel);
            assert_eq!(exited(), Ok(1));
            assert_eq!(test_kill_process(pid), Err(Errno::SRCH), "it was reaped");
        }
    }

    #[test]
    fn descriptors_are_closed_and_signals_blocked() {
        for kind in [Kind::Cloned, Kind::Forked] {
            let sentinel = Sentinel::start(kind).expect("a process");
            let path = |file: &str| format!("/proc/{}/{file}", sentinel.pid.as_raw_nonzero());
            let fds = std::fs::read_dir(path("fd")).expect("the sentinel exists");
            assert_eq!(fds.count(), 0);
            let status = std::fs::read_to_string(path("status")).expect("the sentinel exists");
            assert!(status.contains("SigBlk:\tfffffffffffbfeff\n"), "{status}");
            assert!(status.starts_with("Name:\tflock-queue\n"), "{status}");
            let own = Stat::read_own().expect("this process exists");
            let stat = Stat::read(sentinel.pid).expect("the sentinel exists");
            assert_ne!(stat.start, 0);
            assert!(stat.start >= own.start);
        }
    }
}
