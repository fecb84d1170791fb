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

    /// Parses the line of a thread, which contains the number of the call and its arguments.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
        let call = fields.next()?.parse::<libc::c_long>().ok()?;
        let mut argument = || {
            let digits = fields.next()?.strip_prefix("0x")?;
            u64::from_str_radix(digits, 16).ok()
        };
        // The registers are wider than the arguments.
        let fd = argument()? as RawFd;
        let second = argument()? as i32;
        if call == libc::SYS_flock {
            return (second & libc::LOCK_NB == 0).then_some(Self::Flock {
                fd,
                shared: second & libc::LOCK_SH != 0,
            });
        }
        match second {
            _ if !FCNTL_CALLS.contains(&call) => None,
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

#[cfg(target_pointer_width = "64")]
const FCNTL_CALLS: &[libc::c_long] = &[libc::SYS_fcntl];
#[cfg(not(target_pointer_width = "64"))]
const FCNTL_CALLS: &[libc::c_long] = &[libc::SYS_fcntl, libc::SYS_fcntl64];

#[cfg(test)]
mod tests {
    use super::*;

    fn line(call: libc::c_long, fd: i32, second: i32) -> String {
        format!(
            "{call} {fd:#x} {second:#x} 0x7ffc71f07f90 0x0 0x1 0x5622076f50c8 0x7ffc71f07ee0 \
             0x7f6445adb810\n"
        )
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
