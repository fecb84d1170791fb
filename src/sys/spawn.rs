//! Starting a program, in a child process or in place of this process.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use rustix::process::Pid;

use super::clock::since_boot;
use super::execve::{EXECVE_KEEPS_ERRNO, execve};
use super::shared_memory::SharedU64;
use super::signal::{self, Disposition, SignalSet};

/// The shell that runs a script without `#!`, as in execvp(3).
const SHELL: &CStr = c"/bin/sh";

/// A program that is ready to be executed. All memory is allocated in advance, so that a child
/// process need not allocate.
#[derive(Debug)]
pub struct ExecImage {
    /// Where the program may be, in order of preference.
    paths: Vec<CString>,
    /// Owns the strings that `argv` points to.
    _args: Vec<CString>,
    /// The shell, followed by the program's own argument vector, which ends with null. To run a
    /// script by the shell, the name in that vector is replaced by the path of the script.
    argv: Vec<*const c_char>,
}

impl ExecImage {
    /// Creates the image of a program that is at the first of these paths where it can be executed,
    /// with its arguments, name first.
    pub fn new(paths: Vec<CString>, args: Vec<CString>) -> Self {
        let argv = [SHELL.as_ptr()]
            .into_iter()
            .chain(args.iter().map(|arg| arg.as_ptr()))
            .chain([ptr::null()]);
        let argv = argv.collect();
        Self {
            paths,
            _args: args,
            argv,
        }
    }

    /// Returns the paths where the program may be.
    pub fn paths(&self) -> &[CString] {
        &self.paths
    }

    /// Replaces this process by the program, with the current environment. Returns only on error.
    ///
    /// Behaves like execvp(3) of glibc: skips paths where there is no program, and runs a file
    /// whose format the kernel does not know with `/bin/sh`. If no path can be executed, returns
    /// `EACCES` if any attempt failed with it, and otherwise the last error.
    ///
    /// Async-signal-safe.
    ///
    /// # References
    ///
    /// execve(2), execvp(3).
    pub fn exec(&mut self) -> io::Error {
        let mut worst = libc::ENOENT;
        for path in &self.paths {
            // SAFETY: a string, and a vector of strings that ends with null.
            let mut error = unsafe { execve(path, &self.argv[1..]) };
            if error == libc::ENOEXEC {
                let name = std::mem::replace(&mut self.argv[1], path.as_ptr());
                // SAFETY: as above; the vector now starts with the shell and the script.
                error = unsafe { execve(SHELL, &self.argv) };
                self.argv[1] = name;
                return io::Error::from_raw_os_error(error);
            }
            match error {
                libc::EACCES => worst = error,
                libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {
                    worst = if worst == libc::EACCES { worst } else { error };
                }
                _ => return io::Error::from_raw_os_error(error),
            }
        }
        io::Error::from_raw_os_error(worst)
    }
}

/// How a child process differs from this process when its program starts.
#[derive(Clone, Copy, Debug)]
pub struct SpawnOptions<'a> {
    /// The signal mask of the child.
    pub mask: SignalSet,
    /// The disposition of `SIGCHLD` in the child.
    pub sigchld: Disposition,
    /// Descriptors that are closed in the child.
    pub close_fds: &'a [BorrowedFd<'a>],
    /// Where the child stores its PID before it does anything else.
    pub report_pid: Option<&'a SharedU64>,
    /// What happens to the child when its parent exits.
    pub parent_death: ParentDeath<'a>,
}

/// What happens to a child process when its parent exits.
#[derive(Clone, Copy, Debug)]
pub enum ParentDeath<'a> {
    /// The child continues to run.
    Survive,
    /// The kernel kills the child with `SIGKILL`, unless it has executed a program that runs with
    /// other privileges (set-user-ID). The program may have to be executed before a certain time.
    Kill(Option<StartLimit<'a>>),
}

/// Until when a child may execute its program. If it is too late, the error of execve(2) is
/// [`TOO_LATE`].
///
/// *Race:* the child, or its parent before, may be stopped for any time. So the child looks itself,
/// after anything else. If it is stopped after that, the parent can kill it before it goes on.
#[derive(Clone, Copy, Debug)]
pub struct StartLimit<'a> {
    /// Not zero if the program may not be executed at all any more.
    pub is_forbidden: &'a SharedU64,
    /// The end, by `CLOCK_BOOTTIME`, in nanoseconds.
    pub end: &'a SharedU64,
    /// How long before the end it is too late.
    pub margin: Duration,
}

impl StartLimit<'_> {
    fn has_passed(&self) -> bool {
        let end = Duration::from_nanos(self.end.get());
        self.is_forbidden.get() != 0 || since_boot() >= end.saturating_sub(self.margin)
    }
}

/// Not an error of execve(2).
pub const TOO_LATE: i32 = libc::ECANCELED;

/// A child process. Its program may have failed to execute.
#[derive(Debug)]
pub struct Child<'a> {
    /// The PID of the child.
    pub pid: Pid,
    /// What the child uses until it executes the program. It is leaked, with the stack, unless the
    /// child is known to have exited.
    task: ManuallyDrop<Box<Task<'a>>>,
    stack: ManuallyDrop<Vec<u128>>,
}

impl Child<'_> {
    /// Returns the error of execve(2), if that is why the child exited.
    ///
    /// The child must have exited, and must have been waited for.
    pub fn into_exec_error(self) -> Option<io::Error> {
        let task = ManuallyDrop::into_inner(self.task);
        drop(ManuallyDrop::into_inner(self.stack));
        let errno = task.exec_errno();
        (errno != 0).then(|| io::Error::from_raw_os_error(errno))
    }
}

/// Starts a program in a child process, with clone(2) and execve(2).
///
/// The child shares this process's memory until it executes the program, so that nothing is copied,
/// and runs at the same time. vfork(2), or `CLONE_VFORK`, would suspend this process until then:
/// between unblocking signals and execve(2), Ctrl-Z can stop the child; this process could not stop
/// with it, and the terminal would hang. An error of execve(2) comes back in memory, because a pipe
/// takes two descriptors, and the user may have none left.
///
/// *Race:* both processes use the memory at once. The child reads the environment, which this
/// process does not change, and its own task and stack, which this process does not touch until
/// it has reaped the child. If that fails, they are leaked. Both have one errno, which the child
/// does not set: of its system calls only execve(2) and close(2) can fail, and neither is made
/// through the C library. The child blocks all signals until shortly before execve(2); then the only
/// handlers are those of process 1 ([`init_signals`](super::init_signals)), which do not set errno
/// either. (Up to Linux 5.15, a signal that dumps core at this moment also kills this process. It
/// would have died of the same signal.)
///
/// Where memory cannot be shared in this way (qemu-user), the child gets a copy, as by fork(2).
///
/// # Errors
///
/// `EAGAIN`, `ENOMEM`: no process or no memory is left.
///
/// # References
///
/// clone(2), execve(2).
pub fn spawn<'a>(image: ExecImage, options: &SpawnOptions<'a>) -> io::Result<Child<'a>> {
    let mut task = Box::new(Task {
        image,
        options: *options,
        parent: rustix::process::getpid(),
        errno: AtomicI32::new(0),
        errno_of_copy: None,
    });
    let mut stack = Vec::<u128>::with_capacity(STACK_SIZE / size_of::<u128>());
    let pid = match start_sharing_memory(&mut task, &mut stack) {
        Some(pid) => pid,
        None => start_copying_memory(&mut task)?,
    };
    Ok(Child {
        pid,
        task: ManuallyDrop::new(task),
        stack: ManuallyDrop::new(stack),
    })
}

/// Returns `None` if no such process can be created here.
fn start_sharing_memory(task: &mut Task<'_>, stack: &mut Vec<u128>) -> Option<Pid> {
    if !EXECVE_KEEPS_ERRNO {
        return None;
    }
    let top = stack.as_mut_ptr().wrapping_add(stack.capacity());
    let flags = libc::CLONE_VM | libc::SIGCHLD;
    // SAFETY: the child runs `child_main` on a stack of its own. The stack and the task outlive it:
    // see `Child`.
    let pid = unsafe { libc::clone(child_main, top.cast(), flags, ptr::from_mut(task).cast()) };
    Pid::from_raw(pid.max(0))
}

fn start_copying_memory(task: &mut Task<'_>) -> io::Result<Pid> {
    task.errno_of_copy = Some(SharedU64::new()?);
    // SAFETY: the child calls only async-signal-safe functions until it executes the program or
    // exits.
    let pid = super::check(unsafe { libc::fork() })?;
    Pid::from_raw(pid).ok_or_else(|| {
        let status = task.run();
        // SAFETY: exits without running any of the parent's cleanup.
        unsafe { libc::_exit(status) }
    })
}

/// Enough for a few system calls.
const STACK_SIZE: usize = 16 * 1024;

/// What a child has to do.
#[derive(Debug)]
struct Task<'a> {
    image: ExecImage,
    options: SpawnOptions<'a>,
    parent: Pid,
    /// The error of execve(2); 0 if there was none.
    errno: AtomicI32,
    /// The same for a child with a copy of the memory.
    errno_of_copy: Option<SharedU64>,
}

extern "C" fn child_main(task: *mut c_void) -> c_int {
    // SAFETY: the parent does not use the task before this process has exited.
    unsafe { (*task.cast::<Task<'_>>()).run() }
}

impl Task<'_> {
    /// Runs in the child, and returns the status with which it exits if the program cannot be
    /// executed.
    fn run(&mut self) -> c_int {
        let options = &self.options;
        if let Some(pid) = options.report_pid {
            pid.set(rustix::process::getpid().as_raw_nonzero().get() as u64);
        }
        for fd in options.close_fds {
            // SAFETY: the child never returns to the owner of the descriptor.
            unsafe { rustix::io::close(fd.as_raw_fd()) };
        }
        if options.sigchld == Disposition::Ignore {
            signal::set_disposition(libc::SIGCHLD, Disposition::Ignore);
        }
        signal::set_mask(options.mask);
        if let ParentDeath::Kill(limit) = &options.parent_death {
            // A parent that exited before prctl(2) causes no signal, but is no longer the parent.
            // SAFETY: takes numbers.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            if rustix::process::getppid() != Some(self.parent) {
                return c_int::from(u8::MAX);
            }
            if limit.is_some_and(|limit| limit.has_passed()) {
                return self.fail(TOO_LATE);
            }
        }
        let error = self.image.exec();
        self.fail(error.raw_os_error().unwrap_or(libc::EINVAL))
    }

    /// Stores why the program was not executed, and returns the status to exit with.
    fn fail(&self, errno: i32) -> c_int {
        self.errno.store(errno, Ordering::Release);
        if let Some(shared) = &self.errno_of_copy {
            shared.set(errno as u64);
        }
        c_int::from(u8::MAX)
    }

    /// Returns the error that the child has stored.
    fn exec_errno(&self) -> i32 {
        let copied = self.errno_of_copy.as_ref().map(|errno| errno.get() as i32);
        copied.unwrap_or_else(|| self.errno.load(Ordering::Acquire))
    }
}

/// Runs a function in a child process, which exits with the status that the function returns, or
/// with 70 if it panics.
///
/// This process must not have other threads: a lock that another thread held at the moment of the
/// fork, such as the allocator's, would be held in the child forever.
///
/// # Errors
///
/// `EAGAIN`, `ENOMEM`: no process or no memory is left.
///
/// # References
///
/// fork(2).
pub fn fork_with(run: impl FnOnce() -> u8) -> io::Result<Pid> {
    // SAFETY: without other threads, the child may do whatever the parent may do.
    let pid = super::check(unsafe { libc::fork() })?;
    if let Some(pid) = Pid::from_raw(pid) {
        return Ok(pid);
    }
    let status = panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or(70);
    // SAFETY: exits without running any of the parent's cleanup.
    unsafe { libc::_exit(c_int::from(status)) }
}
