//! A blocking system call that a child process makes in place of this process, which can stop
//! waiting for it without a signal and without a timer.

use std::ffi::{c_int, c_void};
use std::io;
use std::ptr;
use std::sync::atomic::Ordering::Acquire;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::process::{Pid, getpid, test_kill_process};
use rustix::thread::futex;

use super::process::is_exhaustion;
use super::signal::{self, SignalSet};

pub(super) use state::WaitState;
use state::{WAITING, left_until};

mod forked;
mod state;

/// The size of the stack. Only pages that are used take memory.
const STACK_SIZE: usize = 64 * 1024;

/// How often the caller checks where kill(2) is refused.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Makes a system call in a child process that shares the memory and the descriptors of this
/// process, and waits until it has returned, or the deadline has passed. Returns the result of the
/// call, or `None` if it was abandoned.
///
/// A lock of an open file description belongs to this process as well, whichever of the two has
/// acquired it.
///
/// This is for the cases in which there is no timer, or all signals that it could send are blocked
/// by the caller, who may be waiting for any of them. It takes a process, but neither the limit of
/// queued signals nor any signal matters.
///
/// *Race:* the call may be abandoned just when it has succeeded. So the caller must check
/// afterwards whether it has.
///
/// *Race:* this process may be killed, and the child must not acquire a lock after that. It
/// requests to be killed, too, and then checks its parent, like a [sentinel](super::sentinel). If
/// the child alone is killed, the kernel ends the wait, except in the moment before the child has
/// requested that. (musl's clone(3) refuses `CLONE_CHILD_CLEARTID`.)
///
/// Where no process can share memory in this way (qemu-user), the child is forked.
///
/// Where kill(2) is refused (seccomp), a call that blocks could not be abandoned. There, this only
/// waits for some time, and the caller, who checks afterwards, polls.
///
/// # Errors
///
/// `EAGAIN`, `ENOMEM`, `EPERM`: no process can be created.
///
/// # References
///
/// clone(2), futex(2), set_tid_address(2), `PR_SET_PDEATHSIG(2const)`.
pub fn run<T: Copy>(deadline: Option<Instant>, call: impl FnMut() -> T) -> io::Result<Option<T>> {
    run_interruptibly(&WaitState::new(), deadline, call)
}

/// Like [`run`], but another end of the wait is [`WaitState::interrupt`]. The state must have been
/// reset.
pub(super) fn run_interruptibly<T: Copy>(
    state: &WaitState,
    deadline: Option<Instant>,
    mut call: impl FnMut() -> T,
) -> io::Result<Option<T>> {
    if test_kill_process(getpid()).is_err() {
        wait(
            state,
            Some(deadline.map_or(POLL_INTERVAL, |end| left_until(end).min(POLL_INTERVAL))),
        );
        return Ok(None);
    }
    let mut result = None;
    let mut store = || result = Some(call());
    let child = Child::start(state, &mut store);
    if child.as_ref().is_err_and(|error| !is_exhaustion(error)) {
        drop(child);
        return forked::run(state, deadline, call);
    }
    let child = child?;
    while state.0.load(Acquire) == WAITING {
        let left = deadline.map(left_until);
        if left == Some(Duration::ZERO) {
            break;
        }
        wait(state, left);
    }
    drop(child);
    Ok(result)
}

/// Waits until the state has changed. Returns early if a signal handler has run, or the time is up.
fn wait(state: &WaitState, time: Option<Duration>) {
    let timeout = time.map(|time| Timespec {
        tv_sec: time.as_secs().try_into().unwrap_or(i32::MAX.into()),
        tv_nsec: time.subsec_nanos().into(),
    });
    // Not `PRIVATE`, because the kernel does not use that flag when it wakes this process.
    let _ = futex::wait(&state.0, futex::Flags::empty(), WAITING, timeout.as_ref());
}

/// The child, which exists until this value is dropped.
struct Child<'a> {
    pid: Pid,
    /// What the child uses.
    _task: Box<Task<'a>>,
    _stack: Vec<u128>,
}

/// What the child has to do.
struct Task<'a> {
    parent: Pid,
    state: *mut u32,
    call: &'a mut dyn FnMut(),
}

impl<'a> Child<'a> {
    fn start(state: &'a WaitState, call: &'a mut dyn FnMut()) -> io::Result<Self> {
        let parent = getpid();
        let state = state.0.as_ptr();
        let mut task = Box::new(Task {
            parent,
            state,
            call,
        });
        let mut stack = Vec::<u128>::with_capacity(STACK_SIZE / size_of::<u128>());
        let top = stack.as_mut_ptr().wrapping_add(stack.capacity());
        let flags = libc::CLONE_VM | libc::CLONE_FILES;
        // The child blocks all signals from the start: those to the whole group concern only this
        // process.
        let mask = signal::set_mask(SignalSet::ALL);
        // SAFETY: the child runs `child_main` on a stack of its own, with no thread-local storage
        // of its own. The stack, the task and the state outlive the child.
        let pid = super::check(unsafe {
            libc::clone(child_main, top.cast(), flags, (&raw mut *task).cast())
        });
        signal::set_mask(mask);
        let pid = Pid::from_raw(pid?).ok_or(io::ErrorKind::Other)?;
        Ok(Self {
            pid,
            _task: task,
            _stack: stack,
        })
    }
}

impl Drop for Child<'_> {
    /// Kills the child, if it has not exited, and reaps it.
    fn drop(&mut self) {
        let _ = signal::send(self.pid, libc::SIGKILL);
        let pid = self.pid.as_raw_nonzero().get();
        // SAFETY: null means that no status is stored.
        while unsafe { libc::waitpid(pid, ptr::null_mut(), libc::__WALL) } == -1
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
    }
}

/// Runs in the child. It shares errno with the parent, which does not use it while it waits.
extern "C" fn child_main(task: *mut c_void) -> c_int {
    // SAFETY: the parent's task, which the parent does not use before this process has exited.
    let task = unsafe { &mut *task.cast::<Task<'_>>() };
    // SAFETY: takes numbers and the address of the state, which outlives this process.
    let parent = unsafe {
        libc::syscall(libc::SYS_set_tid_address, task.state);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::getppid()
    };
    // 0 means a parent in another PID namespace.
    if parent == 0 || Pid::from_raw(parent) == Some(task.parent) {
        (task.call)();
    }
    0
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};

    use rustix::io::Errno;

    use super::*;

    fn pipe() -> (OwnedFd, OwnedFd) {
        rustix::pipe::pipe().expect("a pipe")
    }

    fn read(pipe: &OwnedFd) -> Result<usize, Errno> {
        rustix::io::read(pipe.as_fd(), &mut [0; 1])
    }

    #[test]
    fn the_result_of_the_call_is_returned() {
        let (reader, writer) = pipe();
        rustix::io::write(&writer, b"xx").expect("a pipe");
        assert_eq!(run(None, || read(&reader)).expect("a process"), Some(Ok(1)));
        let result = forked::run(&WaitState::new(), None, || read(&reader));
        assert_eq!(result.expect("a process"), Some(Ok(1)));
    }

    #[test]
    fn a_call_that_blocks_is_abandoned_at_the_deadline() {
        let (reader, _writer) = pipe();
        let deadline = Instant::now() + Duration::from_millis(1);
        let result = run(Some(deadline), || read(&reader));
        assert_eq!(result.expect("a process"), None);
        assert!(Instant::now() >= deadline);
        let result = forked::run(&WaitState::new(), Some(deadline), || read(&reader));
        assert_eq!(result.expect("a process"), None);
    }

    #[test]
    fn an_interruption_before_the_wait_counts() {
        let (reader, _writer) = pipe();
        let state = WaitState::new();
        state.interrupt();
        let result = run_interruptibly(&state, None, || read(&reader));
        assert_eq!(result.expect("a process"), None);
        let result = forked::run(&state, None, || read(&reader));
        assert_eq!(result.expect("a process"), None);
    }

    #[test]
    fn death_of_the_child_ends_the_wait() {
        let kill = || {
            // SAFETY: takes numbers. The process is the child, which executes this.
            unsafe { libc::kill(libc::syscall(libc::SYS_getpid) as i32, libc::SIGKILL) };
        };
        assert_eq!(run(None, kill).expect("a process"), None);
        let result = forked::run(&WaitState::new(), None, kill);
        assert_eq!(result.expect("a process"), None);
    }
}
