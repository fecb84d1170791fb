//! Whether a process lives, as far as can be seen from here.

use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, getpid, test_kill_process};

use crate::sys::procfs::stat::Stat;
use crate::sys::signal::{Set, number};

/// What is known of a process id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// Somebody has it.
    Lives {
        /// When that process was started, in ticks of the clock since the machine was; nobody else has had this id and
        /// this start. `None` where `/proc` does not show it.
        start: Option<u64>,
    },
    /// Nobody has it, or only the remains of a process that has ended.
    Gone,
}

/// Looks for a process.
///
/// That it may not be signalled (`EPERM`) means that it is there. The remains of one that nobody has waited for can still be
/// signalled, and `/proc` tells them apart; where that shows nothing (`hidepid`), or another namespace's processes, the id
/// that is there is taken for a living one.
///
/// *The race:* it may end, and its id may be given to another, between the two looks. If `/proc` shows nothing, kill(2) is
/// asked again; if it shows another process, the start is that one's.
///
/// # References
///
/// kill(2), proc_pid_stat(5).
pub fn look(pid: Pid) -> Process {
    if is_gone(pid) {
        return Process::Gone;
    }
    match Stat::of(pid).filter(|_| proc_is_ours()) {
        None if is_gone(pid) => Process::Gone,
        None => Process::Lives { start: None },
        Some(stat) if is_remains(&stat) => Process::Gone,
        Some(stat) => Process::Lives {
            start: Some(stat.start),
        },
    }
}

/// Whether a process that was there a moment ago has ended, is ending, or has been sent a `SIGKILL`: `kill -9` returns
/// before its victim is gone.
pub fn is_doomed(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()));
    let (Some(stat), Ok(status)) = (Stat::of(pid), status) else {
        return is_gone(pid);
    };
    is_remains(&stat) || stat.flags & EXITING != 0 || is_being_killed(&status)
}

/// `PF_EXITING`
const EXITING: u64 = 0x4;

/// `SIGKILL` is pending.
fn is_being_killed(status: &str) -> bool {
    let pending = |line: &str| {
        let set = line
            .strip_prefix("SigPnd:")
            .or(line.strip_prefix("ShdPnd:"))?;
        u64::from_str_radix(set.trim(), 16).ok()
    };
    let set = status
        .lines()
        .filter_map(pending)
        .fold(0, |all, set| all | set);
    Set::from_bits(set).has(number::KILL)
}

/// When this process was started.
pub fn own_start() -> Option<u64> {
    Stat::own().map(|stat| stat.start)
}

fn is_gone(pid: Pid) -> bool {
    test_kill_process(pid) == Err(Errno::SRCH)
}

/// Whether `/proc` numbers processes as we do: `unshare --pid` leaves that of the namespace outside.
pub fn proc_is_ours() -> bool {
    let ours = getpid().as_raw_nonzero().to_string();
    fs::read_link("/proc/self").is_ok_and(|link| link.as_os_str() == ours.as_str())
}

/// A process whose first thread has ended looks dead, but for the number of its threads.
fn is_remains(stat: &Stat) -> bool {
    matches!(stat.state, b'Z' | b'X' | b'x') && stat.threads <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remains_are_no_process_unless_a_thread_goes_on() {
        let own = Stat::own().expect("it is there");
        let with = |state, threads| Stat {
            state,
            threads,
            ..own
        };
        for state in [b'Z', b'X', b'x'] {
            assert!(is_remains(&with(state, 1)) && !is_remains(&with(state, 2)));
        }
        for state in [b'R', b'S', b'D', b'T', b't', b'I'] {
            assert!(!is_remains(&with(state, 1)));
        }
    }

    #[test]
    fn who_has_been_killed_is_doomed_before_he_is_gone() {
        assert!(!is_doomed(getpid()));
        assert!(is_doomed(Pid::from_raw(i32::MAX).expect("a number")));
        let pending = |set: &str| format!("Name:\tx\nSigPnd:\t{set}\nShdPnd:\t0000000000000000\n");
        assert!(is_being_killed(&pending("0000000000000100")));
        assert!(!is_being_killed(&pending("0000000000004200")));
    }

    #[test]
    fn this_process_lives_since_its_start() {
        let start = own_start();
        assert!(start.is_some());
        assert_eq!(look(getpid()), Process::Lives { start });
    }

    #[test]
    fn a_number_that_nobody_has_is_gone() {
        // Beyond what the kernel gives to anybody.
        let pid = Pid::from_raw(i32::MAX).expect("a number");
        assert_eq!(look(pid), Process::Gone);
    }
}
