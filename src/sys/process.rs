//! Starting a program, in a child or in place.

use std::ffi::{CString, c_char, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::process::Pid;

use super::signal::{self, Disposition, Set};

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// The shell that runs a program without `#!`, as execvp(3) has it.
const SHELL: &std::ffi::CStr = c"/bin/sh";

/// A program that is ready to be executed: everything that needs memory is done, so that a child need not allocate.
#[derive(Debug)]
pub struct Image {
    /// Where it may be, in order of preference.
    paths: Vec<CString>,
    /// Owns what `argv` points to.
    _words: Vec<CString>,
    /// The shell, a free place for the path of a script, then the words after the name, then null. From the second
    /// place on it is the program's own vector.
    argv: Vec<*const c_char>,
}

impl Image {
    /// A program that is at the first of these paths where it can be executed, with its words, name first.
    pub fn new(paths: Vec<CString>, words: Vec<CString>) -> Self {
        let argv = [SHELL.as_ptr()]
            .into_iter()
            .chain(words.iter().map(|word| word.as_ptr()))
            .chain([ptr::null()]);
        let argv = argv.collect();
        Self {
            paths,
            _words: words,
            argv,
        }
    }

    /// Where it may be.
    pub fn paths(&self) -> &[CString] {
        &self.paths
    }

    /// execve(2) with the environment as it stands – replaces this process. Returns only the error.
    ///
    /// As execvp(3) of glibc: a path that leads nowhere is passed over, and what has no format that the kernel knows is
    /// run by `/bin/sh`. If there is nothing to execute, the last error counts, or `EACCES` if it came before.
    ///
    /// Async-signal-safe.
    pub fn exec(&mut self) -> io::Error {
        let mut worst = libc::ENOENT;
        for path in &self.paths {
            // SAFETY: a string, a vector that ends in null, and the environment, of which nothing is changed.
            unsafe { libc::execve(path.as_ptr(), self.argv[1..].as_ptr(), environ) };
            let mut error = io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(libc::ENOENT);
            if error == libc::ENOEXEC {
                let name = std::mem::replace(&mut self.argv[1], path.as_ptr());
                // SAFETY: as above; the vector now begins with the shell and the script.
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

/// The world that a child is to see, where it differs from this process's.
#[derive(Debug)]
pub struct World<'a> {
    /// Its signal mask.
    pub mask: Set,
    /// Its disposition of `SIGCHLD`.
    pub sigchld: Disposition,
    /// Descriptors that it does not get.
    pub without: &'a [BorrowedFd<'a>],
}

/// A child that has been started, perhaps only to find that it cannot execute its program.
#[derive(Debug)]
pub struct Child {
    /// Its process.
    pub pid: Pid,
    failure: Shared,
}

impl Child {
    /// The error of execve(2), once the child is known to have ended: it ended because of it.
    pub fn exec_error(&self) -> Option<io::Error> {
        let error = self.failure.cell().load(Ordering::Acquire);
        (error != 0).then(|| io::Error::from_raw_os_error(error))
    }
}

/// fork(2) and execve(2) – starts the program in a child.
///
/// Not vfork(2) or `CLONE_VFORK`: between unblocking signals and execve(2) a child can be stopped by Ctrl-Z, and the
/// parent, which would be waiting in the kernel for that very execve(2), could not stop with it: the terminal would
/// hang. Nor a pipe for the error of execve(2), as it takes two descriptors where the user may have none left: the
/// error comes back in a page of shared memory.
///
/// # Errors
///
/// `EAGAIN`, `ENOMEM`: no process or no memory can be had.
pub fn start(image: &mut Image, world: &World<'_>) -> io::Result<Child> {
    let failure = Shared::new()?;
    // SAFETY: the child calls only async-signal-safe functions until it execs or exits.
    let pid = super::check(unsafe { libc::fork() })?;
    if let Some(pid) = Pid::from_raw(pid) {
        return Ok(Child { pid, failure });
    }
    for fd in world.without {
        // SAFETY: in the child, which never returns to whoever lent the descriptor.
        unsafe { libc::close(fd.as_raw_fd()) };
    }
    if world.sigchld == Disposition::Ignore {
        signal::set_disposition(libc::SIGCHLD, Disposition::Ignore);
    }
    signal::set_mask(world.mask);
    let error = image.exec();
    failure.cell().store(
        error.raw_os_error().unwrap_or(libc::EINVAL),
        Ordering::Release,
    );
    // SAFETY: ends the child, running nothing of the parent's.
    unsafe { libc::_exit(c_int::from(u8::MAX)) }
}

/// A page that a process shares with its children.
#[derive(Debug)]
struct Shared(ptr::NonNull<AtomicI32>);

impl Shared {
    fn new() -> io::Result<Self> {
        // SAFETY: a new mapping; the kernel chooses where, and fills it with zeroes.
        let page = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size_of::<AtomicI32>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(
            ptr::NonNull::new(page.cast()).expect("mmap(2) does not place a page at null unasked"),
        ))
    }

    fn cell(&self) -> &AtomicI32 {
        // SAFETY: mapped, aligned to a page, zeroed, and touched only as an atomic by both sides.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, unmapped once.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<AtomicI32>()) };
    }
}
