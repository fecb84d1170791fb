//! What a process inherits from its parent, as far as a shell script cannot set it up exactly.

#![allow(unsafe_code, reason = "raw system calls between fork and exec")]

use std::ffi::{CString, c_int};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

use crate::process::send_signal;

/// Steps between fork and exec that [`Command`] does not offer.
pub trait CommandPreExecExt {
    /// Runs this between fork and exec. It must only make system calls.
    fn before_exec(
        &mut self,
        step: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> &mut Self;

    /// Ignores the signals.
    fn ignore_signals(&mut self, signals: impl IntoIterator<Item = c_int>) -> &mut Self {
        let signals: Vec<c_int> = signals.into_iter().collect();
        self.before_exec(move || {
            // SAFETY: no handler is installed, only a disposition.
            let failed =
                |signal: &c_int| unsafe { libc::signal(*signal, libc::SIG_IGN) == libc::SIG_ERR };
            check(!signals.iter().any(failed))
        })
    }

    /// Blocks exactly the signals of this set, in the format of [`signal_set`].
    fn block_signals(&mut self, set: u64) -> &mut Self {
        self.before_exec(move || set_signal_mask(set))
    }

    /// Sends the process a signal, which stays pending if it has been blocked before.
    fn raise_signal(&mut self, signal: c_int) -> &mut Self {
        self.before_exec(move || check(send_signal(std::process::id() as i32, signal)))
    }

    /// Closes descriptors.
    fn close_fds(&mut self, fds: &'static [c_int]) -> &mut Self {
        self.before_exec(move || {
            for fd in fds {
                // SAFETY: the child has its own copy of every descriptor, and no Rust object uses
                // these any more.
                unsafe { libc::close(*fd) };
            }
            Ok(())
        })
    }

    /// Passes on a file as this descriptor: the same open file description.
    fn with_fd(&mut self, number: c_int, file: &File) -> &mut Self {
        let fd = file.as_raw_fd();
        self.before_exec(move || {
            // SAFETY: the child has its own copy of every descriptor, and no Rust object uses this
            // number there. The copy is another number, so that dup2 clears close-on-exec.
            check(unsafe {
                let copy = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, number + 1);
                libc::dup2(copy, number) == number
            })
        })
    }

    /// Sets a timer like alarm(2), in microseconds.
    fn set_alarm(&mut self, microseconds: libc::suseconds_t) -> &mut Self {
        self.before_exec(move || {
            let timeval = |microseconds| libc::timeval {
                tv_sec: microseconds / 1_000_000,
                tv_usec: microseconds % 1_000_000,
            };
            let time = libc::itimerval {
                it_interval: timeval(0),
                it_value: timeval(microseconds),
            };
            // SAFETY: the new value outlives the call, and the old value is not requested.
            check(unsafe {
                libc::setitimer(libc::ITIMER_REAL, &raw const time, ptr::null_mut()) == 0
            })
        })
    }

    /// Creates a session with the terminal on stdin as its controlling terminal.
    fn lead_terminal_session(&mut self) -> &mut Self {
        self.before_exec(|| {
            rustix::process::setsid()?;
            Ok(rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?)
        })
    }

    /// Calls execve(2) directly with these environment entries, which need not be `NAME=value`.
    fn execve(&mut self, program: &str, args: &[&str], environment: &[&[u8]]) -> &mut Self {
        let c_string = |bytes: &[u8]| CString::new(bytes).expect("no NUL");
        let program = c_string(program.as_bytes());
        let args: Vec<CString> = args.iter().map(|arg| c_string(arg.as_bytes())).collect();
        let environment: Vec<CString> = environment.iter().map(|entry| c_string(entry)).collect();
        self.before_exec(move || {
            let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
                let strings = strings.iter().map(|string| string.as_ptr());
                strings.chain([ptr::null()]).collect()
            };
            // SAFETY: both lists end with a null pointer and hold strings that outlive the call.
            unsafe {
                libc::execve(
                    program.as_ptr(),
                    pointers(&args).as_ptr(),
                    pointers(&environment).as_ptr(),
                )
            };
            Err(io::Error::last_os_error())
        })
    }
}

impl CommandPreExecExt for Command {
    fn before_exec(
        &mut self,
        step: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> &mut Self {
        // SAFETY: the steps of this module only make system calls (one also allocates, which both
        // C libraries permit after fork), and none uses a lock of this process.
        unsafe { self.pre_exec(step) }
    }
}

pub(crate) fn check(succeeded: bool) -> io::Result<()> {
    succeeded.then_some(()).ok_or_else(io::Error::last_os_error)
}

/// Blocks exactly the signals of this set, including 32 and 33, which the C library's function
/// would leave out.
pub(crate) fn set_signal_mask(set: u64) -> io::Result<()> {
    let old = ptr::null_mut::<u64>();
    let (call, how) = (libc::SYS_rt_sigprocmask, libc::SIG_SETMASK);
    // SAFETY: the set outlives the call, and 8 is its size.
    check(unsafe { libc::syscall(call, how, &raw const set, old, 8) == 0 })
}

/// Returns a set of signals in the kernel's format: bit N-1 for signal N.
pub fn signal_set(signals: impl IntoIterator<Item = c_int>) -> u64 {
    let signals = signals.into_iter();
    signals.fold(0, |set, signal| set | 1 << (signal - 1))
}
