//! Starting a program, in a child or in place.

use std::ffi::{CString, c_char, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::Pid;

use super::signal::{self, Disposition, SignalSet};

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// The shell that runs a program close_fds `#!`, as execvp(3) has it.
const SHELL: &std::ffi::CStr = c"/bin/sh";

/// A program that is ready to be executed: everything that needs memory is done, so that a child need not allocate.
#[derive(Debug)]
pub struct ExecImage {
    /// Where it may be, in order of preference.
    paths: Vec<CString>,
    /// Owns what `argv` points to.
    _words: Vec<CString>,
    /// The shell, a free place for the path of a script, then the words after the name, then null. From the second
    /// place on it is the program's own vector.
    argv: Vec<*const c_char>,
}

impl ExecImage {
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

/// The options that a child is to see, where it differs from this process's.
#[derive(Debug)]
pub struct SpawnOptions<'a> {
    /// Its signal mask.
    pub mask: SignalSet,
    /// Its disposition of `SIGCHLD`.
    pub sigchld: Disposition,
    /// Descriptors that it does not get.
    pub close_fds: &'a [BorrowedFd<'a>],
    /// Where it leaves its process number before anything else.
    pub report_pid: Option<&'a SharedWord>,
    /// Whether it can outlive its parent.
    pub parent_death: ParentDeath,
}

/// When a child ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParentDeath {
    /// By itself.
    Survive,
    /// At the latest when its parent ends, by `SIGKILL`. The kernel forgets that when it executes a program that runs with
    /// other rights (set-user-ID).
    Kill,
}

/// A child that has been started, perhaps only to find that it cannot execute its program.
#[derive(Debug)]
pub struct Child {
    /// Its process.
    pub pid: Pid,
    failure: SharedWord,
}

impl Child {
    /// The error of execve(2), once the child is known to have ended: it ended because of it.
    pub fn exec_error(&self) -> Option<io::Error> {
        let error = self.failure.get() as i32;
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
pub fn spawn(image: &mut ExecImage, options: &SpawnOptions<'_>) -> io::Result<Child> {
    let failure = SharedWord::new()?;
    let parent = rustix::process::getpid();
    // SAFETY: the child calls only async-signal-safe functions until it execs or exits.
    let pid = super::check(unsafe { libc::fork() })?;
    if let Some(pid) = Pid::from_raw(pid) {
        return Ok(Child { pid, failure });
    }
    if let Some(number) = options.report_pid {
        number.set(rustix::process::getpid().as_raw_nonzero().get() as u64);
    }
    for fd in options.close_fds {
        // SAFETY: in the child, which never returns to whoever lent the descriptor.
        unsafe { libc::close(fd.as_raw_fd()) };
    }
    if options.sigchld == Disposition::Ignore {
        signal::set_disposition(libc::SIGCHLD, Disposition::Ignore);
    }
    signal::set_mask(options.mask);
    if options.parent_death == ParentDeath::Kill {
        // A parent that died before that sends nothing, but is no longer the parent.
        // SAFETY: takes numbers.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        if rustix::process::getppid() != Some(parent) {
            // SAFETY: ends the child, running nothing of the parent's.
            unsafe { libc::_exit(c_int::from(u8::MAX)) }
        }
    }
    let error = image.exec();
    failure.set(error.raw_os_error().unwrap_or(libc::EINVAL) as u64);
    // SAFETY: ends the child, running nothing of the parent's.
    unsafe { libc::_exit(c_int::from(u8::MAX)) }
}

/// fork(2) – does the run in a child, which then ends with the status that the run returns, and with 70 if it panics.
///
/// This process must have no other thread: what another one held in the moment of the fork (the lock of the allocator, for
/// one) would be held in the child for ever.
///
/// # Errors
///
/// `EAGAIN`, `ENOMEM`: no process or no memory can be had.
pub fn fork_with(run: impl FnOnce() -> u8) -> io::Result<Pid> {
    // SAFETY: in a process with one thread, the child is as good as the parent.
    let pid = super::check(unsafe { libc::fork() })?;
    if let Some(pid) = Pid::from_raw(pid) {
        return Ok(pid);
    }
    let status = panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or(70);
    // SAFETY: ends the child, running nothing of the parent's.
    unsafe { libc::_exit(c_int::from(status)) }
}

/// `PR_SET_PDEATHSIG(2const)` – sends this process the signal when its parent ends. Before the call that was missed; ask
/// getppid(2) afterwards.
pub fn set_parent_death_signal(signal: i32) {
    // SAFETY: takes numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) };
}

/// `PR_SET_NAME(2const)` – what ps(1) shows, and pkill(1) looks for. At most 15 bytes.
pub fn set_name(name: &str) {
    let mut bytes = [0_u8; 16];
    let length = name.len().min(15);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    // SAFETY: takes a string, which ends in NUL.
    unsafe { libc::prctl(libc::PR_SET_NAME, bytes.as_ptr()) };
}

/// `PR_SET_CHILD_SUBREAPER(2const)` – makes this process the parent of whatever its descendants leave behind. Says whether
/// it is.
pub fn become_subreaper() -> bool {
    // SAFETY: takes numbers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) == 0 }
}

/// getppid(2) – whether this process has lost its parent, which was this one.
///
/// *The race:* the parent's end against our asking for a signal at that moment. It is asked for first, and then who our
/// parent is: one that ended before is no longer that.
///
/// One in another pid namespace (`unshare -p` close_fds `-f`) has no number here, and its end goes unnoticed.
pub fn is_orphaned_by(parent: Pid) -> bool {
    rustix::process::getppid().is_some_and(|now| now != parent)
}

/// getsid(2) – the session of a process, or of this one; 0 if it was made outside of this pid namespace, for which rustix
/// has no place. `None` where there is no such process.
pub fn session_of(pid: Option<Pid>) -> Option<i32> {
    let pid = pid.map_or(0, |pid| pid.as_raw_nonzero().get());
    // SAFETY: takes a number.
    super::check(unsafe { libc::getsid(pid) }).ok()
}

/// getpgid(2) – the process group of a process, or of this one; 0 if it was made outside of this pid namespace, for which
/// rustix has no place. `None` where there is no such process.
pub fn process_group_of(pid: Option<Pid>) -> Option<i32> {
    let pid = pid.map_or(0, |pid| pid.as_raw_nonzero().get());
    // SAFETY: takes a number.
    super::check(unsafe { libc::getpgid(pid) }).ok()
}

/// waitid(2) – whether a process is a child of this one, be it that it has ended and was not waited for.
pub fn is_child(pid: Pid) -> bool {
    let id = pid.as_raw_nonzero().get() as libc::id_t;
    peek_child(libc::P_PID, id).is_ok()
}

/// waitid(2) – whether this process has no children at all.
pub fn has_no_children() -> bool {
    peek_child(libc::P_ALL, 0).is_err_and(|error| error.raw_os_error() == Some(libc::ECHILD))
}

/// waitid(2) – a child that has ended and has not been waited for yet; it stays so. `None` when there is none.
pub fn exited_child() -> Option<Pid> {
    peek_child(libc::P_ALL, 0).ok().flatten()
}

fn peek_child(which: libc::idtype_t, id: libc::id_t) -> io::Result<Option<Pid>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: a place for one siginfo.
    super::check(unsafe { libc::waitid(which, id, info.as_mut_ptr(), options) })?;
    // SAFETY: all zeroes at the start, and filled by the kernel if there is something to tell.
    Ok(Pid::from_raw(unsafe { info.assume_init().si_pid() }))
}

/// A number that a process shares with its children, zero at first.
#[derive(Debug)]
pub struct SharedWord(ptr::NonNull<AtomicU64>);

impl SharedWord {
    /// In a page of memory of its own.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> io::Result<Self> {
        // SAFETY: a new mapping; the kernel chooses where, and fills it with zeroes.
        let page = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size_of::<AtomicU64>(),
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

    /// The number that whoever was last has put there.
    pub fn get(&self) -> u64 {
        self.cell().load(Ordering::Acquire)
    }

    /// Puts a number there, for all to see.
    pub fn set(&self, number: u64) {
        self.cell().store(number, Ordering::Release);
    }

    fn cell(&self) -> &AtomicU64 {
        // SAFETY: mapped, aligned to a page, zeroed, and touched only as an atomic by both sides.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for SharedWord {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, unmapped once.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<AtomicU64>()) };
    }
}
