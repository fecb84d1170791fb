//! Signals to processes whose PID cannot be reused meanwhile, and the names of signals.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

/// Sends a signal to the process of a pidfd. Signal 0 only asks whether that is permitted.
///
/// rustix has no signal 0.
///
/// # Errors
///
/// `EPERM`, `ESRCH`: the process has exited, `ENOSYS`: before Linux 5.1.
///
/// # References
///
/// pidfd_send_signal(2).
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> Result<(), Errno> {
    let fd = pidfd.as_fd().as_raw_fd();
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: takes numbers and a null pointer.
    if unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, 0) } == -1 {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::INVAL));
    }
    Ok(())
}

/// The signals that can be meant as a request to stop, or to do something before that.
static NAMES: &[(&str, i32)] = &[
    ("ABRT", libc::SIGABRT),
    ("ALRM", libc::SIGALRM),
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("KILL", libc::SIGKILL),
    ("PIPE", libc::SIGPIPE),
    ("QUIT", libc::SIGQUIT),
    ("TERM", libc::SIGTERM),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
];

/// Returns the signal of this number, or of this name with or without `SIG`.
pub fn signal_from_name(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let row = NAMES.iter().find(|(known, _)| *known == name);
    row.map(|(_, signal)| *signal)
}

#[cfg(test)]
mod tests {
    use rustix::process::{PidfdFlags, getpid, pidfd_open};

    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for name in ["TERM", "SIGTERM", "term", "15"] {
            assert_eq!(signal_from_name(name), Some(libc::SIGTERM), "{name}");
        }
        for name in ["", "SIG", "0", "65", "-1", "TER", "SIGSIGTERM"] {
            assert_eq!(signal_from_name(name), None, "{name}");
        }
    }

    #[test]
    fn signal_0_asks_for_permission() {
        let own = pidfd_open(getpid(), PidfdFlags::empty()).expect("a pidfd");
        assert_eq!(send_signal(own, 0), Ok(()));
    }
}
