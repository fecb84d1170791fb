//! `/proc/PID/syscall`: the system call in which a thread is blocked.

use std::os::fd::RawFd;

use super::read::read_prefix;

/// A system call that waits for a lock, or is about to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the fields say it")]
pub enum BlockedCall {
    /// flock(2).
    Flock { fd: RawFd, shared: bool },
    /// fcntl(`F_OFD_SETLKW`).
    Ofd { fd: RawFd },
    /// fcntl(`F_SETLKW`).
    Posix { fd: RawFd },
}

impl BlockedCall {
    /// Reads the call of the thread with this directory in `/proc`. Returns `None` for other calls,
    /// and for a thread that is running or hidden.
    ///
    /// # References
    ///
    /// proc_pid_syscall(5).
    pub fn read_in(dir: &str) -> Option<Self> {
        /// More than nine numbers of 18 digits.
        const MAX_LINE: usize = 1024;
        Self::parse(&read_prefix(&format!("{dir}/syscall"), MAX_LINE).ok()?)
    }

    /// Parses the line of a thread, which contains the number of the call, six arguments, and the
    /// stack pointer.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
        let number = fields.next()?.parse::<libc::c_long>().ok()?;
        let mut register = || {
            let digits = fields.next()?.strip_prefix("0x")?;
            u64::from_str_radix(digits, 16).ok()
        };
        // The registers are wider than the arguments.
        let fd = register()? as RawFd;
        let second = register()? as i32;
        let mut rest = std::iter::from_fn(register);
        let numbers = CallNumbers::of_process(rest.nth(4)?);
        if number == numbers.flock {
            return (second & libc::LOCK_NB == 0).then_some(Self::Flock {
                fd,
                shared: second & libc::LOCK_SH != 0,
            });
        }
        match second {
            _ if !numbers.fcntl.contains(&number) => None,
            libc::F_OFD_SETLKW => Some(Self::Ofd { fd }),
            libc::F_SETLKW => Some(Self::Posix { fd }),
            _ => None,
        }
    }

    /// Returns the descriptor.
    pub fn fd(self) -> RawFd {
        match self {
            Self::Flock { fd, .. } | Self::Ofd { fd } | Self::Posix { fd } => fd,
        }
    }
}

/// The numbers of the calls. A 64-bit kernel also runs 32-bit programs, whose calls have other
/// numbers, and shows them as they are.
#[derive(Clone, Copy)]
struct CallNumbers {
    flock: libc::c_long,
    fcntl: &'static [libc::c_long],
}

impl CallNumbers {
    /// The numbers in programs of the same kind as this one.
    const OWN: Self = Self {
        flock: libc::SYS_flock,
        #[cfg(target_pointer_width = "64")]
        fcntl: &[libc::SYS_fcntl],
        #[cfg(not(target_pointer_width = "64"))]
        fcntl: &[libc::SYS_fcntl, libc::SYS_fcntl64],
    };

    /// The numbers in 64-bit programs.
    const WIDE: Self = if cfg!(target_arch = "x86") {
        Self {
            flock: 73,
            fcntl: &[72],
        }
    } else if cfg!(target_arch = "arm") {
        Self {
            flock: 32,
            fcntl: &[25],
        }
    } else {
        Self::OWN
    };

    /// The numbers in 32-bit programs. Other 64-bit kernels run none, or the numbers are the same.
    const NARROW: Self = if cfg!(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "s390x"
    )) {
        Self {
            flock: 143,
            fcntl: &[55, 221],
        }
    } else if cfg!(target_arch = "powerpc64") {
        Self {
            flock: 143,
            fcntl: &[55, 204],
        }
    } else {
        Self::OWN
    };

    /// Returns the numbers in the program of a thread with this stack pointer. All memory of a
    /// 32-bit program is below 4 GiB, and the stacks of a 64-bit one are far above.
    fn of_process(stack_pointer: u64) -> Self {
        if stack_pointer > u32::MAX.into() {
            Self::WIDE
        } else {
            Self::NARROW
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(call: libc::c_long, fd: i32, second: i32) -> String {
        let stack = if cfg!(target_pointer_width = "64") {
            "0x7ffc71f07ee0"
        } else {
            "0xff841730"
        };
        format!("{call} {fd:#x} {second:#x} 0x7f90 0x0 0x1 0x50c8 {stack} 0x7f6445adb810\n")
    }

    #[test]
    fn calls_that_wait_for_locks_are_recognized() {
        let flock = |shared| BlockedCall::Flock { fd: 3, shared };
        for (call, second, expected) in [
            (libc::SYS_flock, libc::LOCK_EX, flock(false)),
            (libc::SYS_flock, libc::LOCK_SH, flock(true)),
            (
                libc::SYS_fcntl,
                libc::F_OFD_SETLKW,
                BlockedCall::Ofd { fd: 3 },
            ),
            (
                libc::SYS_fcntl,
                libc::F_SETLKW,
                BlockedCall::Posix { fd: 3 },
            ),
        ] {
            let parsed = BlockedCall::parse(line(call, 3, second).as_bytes());
            assert_eq!(parsed, Some(expected));
        }
    }

    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    #[test]
    fn programs_of_both_widths_are_told_apart() {
        let parse = |number: i32, second: i32, stack: &str| {
            let line = format!("{number} 0x3 {second:#x} 0x0 0x0 0x0 0x0 {stack} 0x8049032\n");
            BlockedCall::parse(line.as_bytes())
        };
        let (wide, narrow) = ("0x7ffd2f68d0f0", "0xffac1e98");
        let flock = Some(BlockedCall::Flock {
            fd: 3,
            shared: false,
        });
        let ofd = Some(BlockedCall::Ofd { fd: 3 });
        for (stack, own, other) in [(wide, [73, 72], [143, 221]), (narrow, [143, 221], [73, 72])] {
            assert_eq!(parse(own[0], libc::LOCK_EX, stack), flock);
            assert_eq!(parse(own[1], libc::F_OFD_SETLKW, stack), ofd);
            assert_eq!(parse(other[0], libc::LOCK_EX, stack), None);
            assert_eq!(parse(other[1], libc::F_OFD_SETLKW, stack), None);
        }
    }

    #[test]
    fn other_lines_are_rejected() {
        let nonblocking = line(libc::SYS_flock, 3, libc::LOCK_EX | libc::LOCK_NB);
        let getfl = line(libc::SYS_fcntl, 3, libc::F_GETFL);
        let read = line(libc::SYS_read, 3, libc::F_SETLKW);
        let malformed = ["running\n", "-1 0x7 0x8", "", "73", "73 3 2"];
        for line in malformed.into_iter().chain([&*nonblocking, &getfl, &read]) {
            assert_eq!(BlockedCall::parse(line.as_bytes()), None, "{line}");
        }
    }
}
