//! What a caller hands down to the program that it starts: things that a shell script cannot set up exactly.

#![allow(unsafe_code)]

use std::ffi::{CString, c_int};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

/// Everything between fork and exec that is not in [`Command`].
pub trait Inherit {
    /// Does this between fork and exec; system calls only.
    fn before_exec(
        &mut self,
        deed: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> &mut Self;

    /// Ignores the signals.
    fn ignoring(&mut self, signals: impl IntoIterator<Item = c_int>) -> &mut Self {
        let signals: Vec<c_int> = signals.into_iter().collect();
        self.before_exec(move || {
            // SAFETY: no handler is installed, only a disposition.
            let failed =
                |signal: &c_int| unsafe { libc::signal(*signal, libc::SIG_IGN) == libc::SIG_ERR };
            check(!signals.iter().any(failed))
        })
    }

    /// Blocks exactly the signals in this set, as the kernel sees it: bit N-1 for signal N, 32 and 33 included, which
    /// the C library would keep for itself.
    fn blocking(&mut self, set: u64) -> &mut Self {
        self.before_exec(move || {
            // SAFETY: the set outlives the call, and 8 is its size.
            check(unsafe {
                libc::syscall(
                    libc::SYS_rt_sigprocmask,
                    libc::SIG_SETMASK,
                    &raw const set,
                    ptr::null_mut::<u64>(),
                    8,
                ) == 0
            })
        })
    }

    /// Sends itself a signal, which stays pending when it was blocked before.
    fn raising(&mut self, signal: c_int) -> &mut Self {
        self.before_exec(move || check(crate::process::send(std::process::id() as i32, signal)))
    }

    /// Closes descriptors.
    fn closing(&mut self, descriptors: &'static [c_int]) -> &mut Self {
        self.before_exec(move || {
            for descriptor in descriptors {
                // SAFETY: the child owns a copy of every descriptor, and nothing of Rust's uses these any more.
                unsafe { libc::close(*descriptor) };
            }
            Ok(())
        })
    }

    /// Arms `alarm(2)`, to the microsecond.
    fn with_alarm_in(&mut self, microseconds: libc::suseconds_t) -> &mut Self {
        self.before_exec(move || {
            let time = libc::itimerval {
                it_interval: libc::timeval {
                    tv_sec: 0,
                    tv_usec: 0,
                },
                it_value: libc::timeval {
                    tv_sec: microseconds / 1_000_000,
                    tv_usec: microseconds % 1_000_000,
                },
            };
            // SAFETY: the old value is not asked for, the new one outlives the call.
            check(unsafe {
                libc::setitimer(libc::ITIMER_REAL, &raw const time, ptr::null_mut()) == 0
            })
        })
    }

    /// Makes a session of its own with the terminal on stdin as the controlling one.
    fn leading_the_terminal(&mut self) -> &mut Self {
        self.before_exec(|| {
            rustix::process::setsid()?;
            Ok(rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?)
        })
    }

    /// Goes straight to `execve(2)` with this environment, entry by entry, which need not be `NAME=value`.
    fn straight_to(&mut self, program: &str, args: &[&str], environment: &[&[u8]]) -> &mut Self {
        let text = |bytes: &[u8]| CString::new(bytes).expect("no NUL");
        let program = text(program.as_bytes());
        let args: Vec<CString> = args.iter().map(|word| text(word.as_bytes())).collect();
        let environment: Vec<CString> = environment.iter().map(|entry| text(entry)).collect();
        self.before_exec(move || {
            let list = |words: &[CString]| -> Vec<*const libc::c_char> {
                let ends = [ptr::null()];
                words.iter().map(|word| word.as_ptr()).chain(ends).collect()
            };
            // SAFETY: both lists end with a null pointer and hold strings that outlive the call.
            unsafe {
                libc::execve(
                    program.as_ptr(),
                    list(&args).as_ptr(),
                    list(&environment).as_ptr(),
                )
            };
            Err(io::Error::last_os_error())
        })
    }
}

impl Inherit for Command {
    fn before_exec(
        &mut self,
        deed: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> &mut Self {
        // SAFETY: the deeds of this module make system calls only (one allocates, which both C libraries allow after
        // a fork), and none touches a lock of this process.
        unsafe { self.pre_exec(deed) }
    }
}

fn check(done: bool) -> io::Result<()> {
    done.then_some(()).ok_or_else(io::Error::last_os_error)
}

/// A set of signals as the kernel keeps it.
pub fn signal_set(signals: impl IntoIterator<Item = c_int>) -> u64 {
    signals
        .into_iter()
        .fold(0, |set, signal| set | 1 << (signal - 1))
}
