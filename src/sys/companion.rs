//! A companion: a child process that does something while this process blocks in a system call.

use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, getpid};
use rustix::thread::futex::{self, Timespec};

use super::procfs;
use super::signal;

/// The name of all companions, which ps(1) shows.
const NAME: &CStr = c"flock-progress";

/// The size of the stack. Only pages that are used take memory.
const STACK_SIZE: usize = 1 << 20;

/// A child process, until this value is dropped. It has a copy of the memory of this process, which
/// must have a single thread, and no other descriptors than those that it asks for. Its exit raises
/// no `SIGCHLD`, and wait(2) does not see it (its exit signal is 0). It stops and continues with the
/// process group, and dies with this process.
///
/// *Race:* this process may be killed before the child has requested to be killed as well. The child
/// requests it first, and then checks its parent, like a [sentinel](super::sentinel).
///
/// *Race:* the child must not keep a lock alive that this process releases by exiting. Its copies of
/// the descriptors are closed before the constructor returns, which waits for the end of a pipe: the
/// child has closed it together with all others, or has exited. If this process is killed before
/// that, so is the child.
///
/// *Race:* nothing may happen after the end. The child is killed and reaped, so no other process
/// can have its PID before. Where kill(2) is refused (seccomp), it exits before its next action, and
/// is not waited for.
///
/// # References
///
/// clone(2), `PR_SET_PDEATHSIG(2const)`, futex(2).
#[derive(Debug)]
pub struct Companion {
    /// `None` after its end.
    pid: Option<Pid>,
    memory: Memory,
}

/// What the child knows of its parent.
#[derive(Debug)]
pub struct Stage<'m> {
    /// The PID of the parent.
    pub parent: Pid,
    memory: &'m Memory,
    writer: RawFd,
}

/// What the child does.
struct Task<'t> {
    stage: Stage<'t>,
    body: &'t mut dyn FnMut(&Stage<'_>),
}

impl Companion {
    /// Starts a child that executes `body`, and returns when the child has called
    /// [`Stage::close_descriptors`] or has exited.
    ///
    /// # Errors
    ///
    /// No process, descriptor or memory is left, or a sandbox does not allow it.
    pub fn start(body: &mut dyn FnMut(&Stage<'_>)) -> io::Result<Self> {
        let memory = Memory::new()?;
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        let parent = getpid();
        let mut task = Task {
            stage: Stage {
                parent,
                memory: &memory,
                writer: writer.as_raw_fd(),
            },
            body,
        };
        // SAFETY: the child runs `child_main` on a stack of its own, in a copy of this process's
        // memory, where everything in the task is valid as long as the child exists.
        let pid = super::check(unsafe {
            libc::clone(child_main, memory.top(), 0, (&raw mut task).cast())
        })?;
        let pid = Pid::from_raw(pid);
        drop(writer);
        while rustix::io::read(&reader, &mut [0; 1]) == Err(rustix::io::Errno::INTR) {}
        Ok(Self { pid, memory })
    }

    /// Ends the child, and returns whether it has called [`Stage::leave_mark`].
    pub fn end(mut self) -> bool {
        self.stop();
        self.memory.mark().load(Acquire) != 0
    }

    fn stop(&mut self) {
        let Some(pid) = self.pid.take() else {
            return;
        };
        self.memory.order().store(EXIT, Release);
        let _ = futex::wake(self.memory.order(), futex::Flags::empty(), 1);
        if signal::send(pid, libc::SIGKILL).is_ok() {
            let pid = pid.as_raw_nonzero().get();
            // SAFETY: null means that no status is stored.
            while unsafe { libc::waitpid(pid, ptr::null_mut(), libc::__WALL) } == -1
                && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
            {}
        }
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Stage<'_> {
    /// Closes all descriptors but standard error and this one.
    pub fn close_descriptors(&self, kept: Option<BorrowedFd<'_>>) {
        let kept = [libc::STDERR_FILENO, kept.map_or(2, |fd| fd.as_raw_fd())];
        let (low, high) = (kept[0].min(kept[1]), kept[0].max(kept[1]));
        let gaps = [(0, low - 1), (low + 1, high - 1), (high + 1, RawFd::MAX)];
        let mut is_done = true;
        for (first, last) in gaps.into_iter().filter(|(first, last)| first <= last) {
            // SAFETY: takes numbers. Nothing in this process uses the descriptors.
            let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
            is_done &= result == 0;
        }
        if !is_done {
            // Before Linux 5.9. The pipe is the last one.
            let fds =
                procfs::numeric_entries(&format!("{}/self/fd", procfs::PATH)).unwrap_or_default();
            let others = fds.into_iter().map(|fd| fd as RawFd);
            let others = others.filter(|fd| !kept.contains(fd) && *fd != self.writer);
            for fd in others.chain([self.writer]) {
                // SAFETY: as above.
                unsafe { libc::close(fd) };
            }
        }
    }

    /// Sleeps, and returns whether the parent still wants the child to go on.
    pub fn sleep(&self, time: Duration) -> bool {
        let order = self.memory.order();
        let timeout = Timespec::try_from(time).ok();
        // Fails if the order has been given, the time is up, or a signal has arrived.
        let _ = futex::wait(order, futex::Flags::empty(), GO_ON, timeout.as_ref());
        self.is_wanted()
    }

    /// Returns whether the parent still wants the child to go on.
    pub fn is_wanted(&self) -> bool {
        self.memory.order().load(Acquire) == GO_ON
    }

    /// Tells the parent that there is something to clean up.
    pub fn leave_mark(&self) {
        self.memory.mark().store(1, Release);
    }
}

const GO_ON: u32 = 0;
const EXIT: u32 = 1;

/// Runs in the child.
extern "C" fn child_main(task: *mut c_void) -> c_int {
    // SAFETY: the child's own copy of the task.
    let task = unsafe { &mut *task.cast::<Task<'_>>() };
    // SAFETY: takes numbers and a string.
    let parent = unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::prctl(libc::PR_SET_NAME, NAME.as_ptr());
        libc::getppid()
    };
    // 0 means a parent in another PID namespace.
    if parent == 0 || Pid::from_raw(parent) == Some(task.stage.parent) {
        // A panic must not unwind into the C library.
        let _ = panic::catch_unwind(AssertUnwindSafe(|| (task.body)(&task.stage)));
    }
    // SAFETY: exits without running any of the parent's cleanup.
    unsafe { libc::_exit(0) }
}

/// Memory that both processes share: two numbers, and the stack of the child above them.
#[derive(Debug)]
struct Memory(*mut c_void);

impl Memory {
    fn new() -> io::Result<Self> {
        // SAFETY: a new mapping; the kernel chooses the address, and fills it with zeroes.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                STACK_SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(start))
    }

    /// Returns the order to the child.
    fn order(&self) -> &AtomicU32 {
        self.number(0)
    }

    /// Returns whether the child has left a mark.
    fn mark(&self) -> &AtomicU32 {
        self.number(1)
    }

    /// Returns a number at the lowest addresses, where the stack never grows to.
    fn number(&self, index: usize) -> &AtomicU32 {
        // SAFETY: mapped, aligned, initialized, and accessed only atomically, also by the kernel.
        unsafe { &*self.0.cast::<AtomicU32>().wrapping_add(index) }
    }

    /// Returns the end of the memory, from which the stack grows down.
    fn top(&self) -> *mut c_void {
        self.0.wrapping_byte_add(STACK_SIZE)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, unmapped once. The child has a mapping of its own.
        unsafe { libc::munmap(self.0, STACK_SIZE) };
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::process::test_kill_process;

    use super::*;

    /// A companion that only sleeps: other threads of this process may have locks, for instance
    /// those of the allocator.
    fn sleeper() -> Companion {
        let mut body = |stage: &Stage<'_>| {
            stage.close_descriptors(None);
            while stage.sleep(Duration::from_secs(60)) {}
        };
        Companion::start(&mut body).expect("a process")
    }

    #[test]
    fn it_has_no_descriptors_but_standard_error() {
        let companion = sleeper();
        let pid = companion.pid.expect("a process").as_raw_nonzero();
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).expect("it exists");
        let names = fds.map(|fd| fd.expect("an entry").file_name());
        assert_eq!(Vec::from_iter(names), ["2"]);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it exists");
        assert!(status.starts_with("Name:\tflock-progress\n"), "{status}");
    }

    #[test]
    fn it_is_reaped_at_its_end() {
        let companion = sleeper();
        let pid = companion.pid.expect("a process");
        assert!(test_kill_process(pid).is_ok());
        assert!(!companion.end());
        assert!(test_kill_process(pid).is_err());
    }

    #[test]
    fn its_mark_is_seen() {
        let companion = Companion::start(&mut |stage| {
            stage.leave_mark();
            stage.close_descriptors(None);
        });
        assert!(companion.expect("a process").end());
    }
}
