//! A program of which bash does not know.

use std::ffi::{CStr, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use fdlock::lock::InterruptCheck;
use fdlock::sys::interruptible::InterruptibleCall;
use fdlock::sys::process;
use fdlock::sys::signal::{self, Disposition, SignalSet, number};
use fdlock::sys::spawn;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, FdFlags};
use rustix::process::{Pid, PidfdFlags, WaitOptions, getpid, pidfd_open, setsid, waitpid};
use rustix::stdio;

use super::symbols::Bash;

/// A child of the shell that waits for a program, its only child, and exits with its status. It kills
/// the program when it gets `SIGTERM`, as it does when the shell has exited, and the kernel kills the
/// program if this process is killed.
///
/// No signal reports its exit (clone(2)), so bash neither reaps it, nor runs its `CHLD` trap, nor
/// returns from `wait`. The program cannot be such a process itself: execve(2) restores the signal.
#[derive(Clone, Copy, Debug)]
pub struct Detached(Pid);

impl Detached {
    /// Starts a program whose standard output is this descriptor, which it inherits, too.
    ///
    /// # Errors
    ///
    /// `EAGAIN`, `ENOMEM`: no process or no memory is left.
    pub fn start(
        bash: &Bash,
        program: &CStr,
        args: &[&CStr],
        fd: BorrowedFd<'_>,
    ) -> io::Result<Self> {
        let shell = getpid();
        // In the new process, bash's handlers must not run.
        let mask = signal::set_mask(SignalSet::ALL);
        // Like fork(2), except for the signal.
        let none: libc::c_ulong = 0;
        // SAFETY: bash has one thread, and the child does not return.
        let pid = unsafe { libc::syscall(libc::SYS_clone, none, none, none, none, none) };
        if pid == 0 {
            supervise(shell, |supervisor| {
                process::set_parent_death_signal(number::KILL);
                if process::is_orphaned_by(supervisor)
                    || stdio::dup2_stdout(fd).is_err()
                    || rustix::io::fcntl_setfd(fd, FdFlags::empty()).is_err()
                {
                    return u8::MAX;
                }
                let restore_mask = || {
                    signal::set_mask(mask);
                };
                bash.exec_with_args(program, args, restore_mask) as u8
            });
        }
        let error = io::Error::last_os_error();
        signal::set_mask(mask);
        let pid = Pid::from_raw(c_int::try_from(pid).unwrap_or(-1).max(0));
        pid.map(Self).ok_or(error)
    }

    /// Waits until the process has exited. Returns false if a signal is to be handled first.
    pub fn wait(self, check: InterruptCheck) -> bool {
        let pidfd = pidfd_open(self.0, PidfdFlags::empty());
        let wait = || match &pidfd {
            Ok(pidfd) => poll(&mut [PollFd::new(pidfd, PollFlags::IN)], None).map(drop),
            // Before Linux 5.3.
            Err(_) => self.peek(),
        };
        match InterruptibleCall::begin(None, check) {
            Ok(None) => false,
            Ok(Some(call)) => !matches!(call.run(wait), Ok(Err(Errno::INTR))),
            Err(_) => true,
        }
    }

    /// Waits until the process has exited, but does not reap it.
    fn peek(self) -> Result<(), Errno> {
        let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
        let options = libc::WEXITED | libc::WNOWAIT | libc::__WALL;
        let id = self.0.as_raw_nonzero().get() as libc::id_t;
        // SAFETY: room for one siginfo.
        match unsafe { libc::waitid(libc::P_PID, id, info.as_mut_ptr(), options) } {
            0 => Ok(()),
            _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
        }
    }

    /// Waits until the process has exited, and reaps it. Returns the program's status, unless it was
    /// killed.
    pub fn reap(self) -> Option<u8> {
        let mut status = 0;
        let pid = self.0.as_raw_nonzero().get();
        // SAFETY: room for the status.
        while unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } == -1 {
            if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                return None;
            }
        }
        libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status) as u8)
    }

    /// Kills the program, and reaps the process.
    pub fn end(self) {
        let _ = signal::send(self.0, number::TERM);
        self.reap();
    }
}

/// Runs in the process in between: starts the program, and waits for it. All signals are blocked.
///
/// The session is a new one: a key that interrupts or stops the shell's job, and a signal to the
/// shell's process group, are for the shell, which decides what becomes of the program.
fn supervise(shell: Pid, exec: impl FnOnce(Pid) -> u8) -> ! {
    process::set_parent_death_signal(number::TERM);
    // If the shell ignores it, the kernel reaps the program.
    signal::set_disposition(number::CHLD, Disposition::Default);
    let this = getpid();
    let mut status = None;
    if !process::is_orphaned_by(shell)
        && setsid().is_ok()
        && let Ok(program) = spawn::fork_with(|| exec(this))
    {
        let events = SignalSet::single(number::TERM).with(number::CHLD);
        while status.is_none() {
            let (event, mut options) = (signal::wait(events), WaitOptions::NOHANG);
            match event.map(|event| event.signal) {
                Ok(number::TERM) => drop(signal::send(program, number::KILL)),
                Ok(_) => {}
                Err(_) => options = WaitOptions::empty(),
            }
            status = waitpid(Some(program), options).ok().flatten();
        }
    }
    let status = status.and_then(|(_, status)| status.exit_status());
    let Some(status) = status else {
        let _ = signal::send(this, number::KILL);
        unreachable!("this process was killed");
    };
    // SAFETY: exits without running any of the shell's cleanup.
    unsafe { libc::_exit(status) }
}
