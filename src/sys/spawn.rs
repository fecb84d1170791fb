//! Starting a program, in a child process or in place of this process.

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::panic::{self, AssertUnwindSafe};
use std::ptr;

use rustix::process::Pid;

use super::shared_memory::SharedU64;
use super::signal::{self, Disposition, SignalSet};

unsafe extern "C" {
    static environ: *const *const c_char;
}

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
            // SAFETY: a string, a vector that ends with null, and the environment. None is
            // modified.
            unsafe { libc::execve(path.as_ptr(), self.argv[1..].as_ptr(), environ) };
            let mut error = io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(libc::ENOENT);
            if error == libc::ENOEXEC {
                let name = std::mem::replace(&mut self.argv[1], path.as_ptr());
                // SAFETY: as above; the vector now starts with the shell and the script.
                unsafe { libc::execve(SHELL.as_ptr(), self.argv.as_ptr(), environ) };
                error = io::Error::last_os_error()
                    .raw_os_error()
                    .unwrap_or(libc::ENOENT);
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
#[derive(Debug)]
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
    pub parent_death: ParentDeath,
}

/// What happens to a child process when its parent exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParentDeath {
    /// The child continues to run.
    Survive,
    /// The kernel kills the child with `SIGKILL`, unless it has executed a program that runs with
    /// other privileges (set-user-ID).
    Kill,
}

/// A child process. Its program may have failed to execute.
#[derive(Debug)]
pub struct Child {
    /// The PID of the child.
    pub pid: Pid,
    exec_errno: SharedU64,
}

impl Child {
    /// Returns the error of execve(2), if that is why the child exited. Must be called after the
    /// exit.
    pub fn exec_error(&self) -> Option<io::Error> {
        let errno = self.exec_errno.get() as i32;
        (errno != 0).then(|| io::Error::from_raw_os_error(errno))
    }
}

/// Starts a program in a child process, with fork(2) and execve(2).
///
/// Does not use vfork(2) or `CLONE_VFORK`: between unblocking signals and execve(2), Ctrl-Z can
/// stop the child. The parent, which would be waiting in the kernel for that very execve(2), could
/// not stop with it, and the terminal would hang. Does not use a pipe for the error of execve(2)
/// either: a pipe takes two descriptors, and the user may have none left. The error comes back in
/// shared memory.
///
/// # Errors
///
/// `EAGAIN`, `ENOMEM`: no process or no memory is left.
pub fn spawn(image: &mut ExecImage, options: &SpawnOptions<'_>) -> io::Result<Child> {
    let exec_errno = SharedU64::new()?;
    let parent = rustix::process::getpid();
    // SAFETY: the child calls only async-signal-safe functions until it executes the program or
    // exits.
    let pid = super::check(unsafe { libc::fork() })?;
    if let Some(pid) = Pid::from_raw(pid) {
        return Ok(Child { pid, exec_errno });
    }
    if let Some(pid) = options.report_pid {
        pid.set(rustix::process::getpid().as_raw_nonzero().get() as u64);
    }
    for fd in options.close_fds {
        // SAFETY: the child never returns to the owner of the descriptor.
        unsafe { libc::close(fd.as_raw_fd()) };
    }
    if options.sigchld == Disposition::Ignore {
        signal::set_disposition(libc::SIGCHLD, Disposition::Ignore);
    }
    signal::set_mask(options.mask);
    if options.parent_death == ParentDeath::Kill {
        // A parent that exited before prctl(2) causes no signal, but is no longer the parent.
        // SAFETY: takes numbers.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        if rustix::process::getppid() != Some(parent) {
            // SAFETY: exits without running any of the parent's cleanup.
            unsafe { libc::_exit(c_int::from(u8::MAX)) }
        }
    }
    let error = image.exec();
    exec_errno.set(error.raw_os_error().unwrap_or(libc::EINVAL) as u64);
    // SAFETY: exits without running any of the parent's cleanup.
    unsafe { libc::_exit(c_int::from(u8::MAX)) }
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
