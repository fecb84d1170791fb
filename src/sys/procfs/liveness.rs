//! Whether a process is alive, as far as can be seen from here.

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::shows_own_pids;
use super::stat::Stat;
use super::status::Status;
use crate::sys::signal::{SignalSet, number};

/// What is known about a PID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// A process has it.
    Alive {
        /// When that process was started, in clock ticks since the machine booted. No two processes
        /// have both the PID and the start in common. `None` if `/proc` does not show it.
        start: Option<u64>,
    },
    /// No process has it, or only a zombie.
    Dead,
}

/// Looks for a process.
///
/// A process that may not be signalled (`EPERM`) exists. A zombie can be signalled too; `/proc`
/// tells it apart. If `/proc` hides the process (`hidepid`), or shows the processes of another
/// namespace, the process counts as alive.
///
/// *Race:* the process may exit, and its PID may be reused, between the two checks. If `/proc`
/// shows nothing, kill(2) is called again; if it shows another process, the start is that one's.
///
/// # References
///
/// kill(2), proc_pid_stat(5).
pub fn check(pid: Pid) -> Liveness {
    if does_not_exist(pid) {
        return Liveness::Dead;
    }
    match Stat::read(pid).filter(|_| shows_own_pids()) {
        None if does_not_exist(pid) => Liveness::Dead,
        None => Liveness::Alive { start: None },
        Some(stat) if is_zombie(&stat) => Liveness::Dead,
        Some(stat) => Liveness::Alive {
            start: Some(stat.start),
        },
    }
}

/// Returns whether a process that existed a moment ago has exited, is exiting, or has been sent a
/// `SIGKILL`: `kill -9` returns before its target has exited.
pub fn is_exiting(pid: Pid) -> bool {
    let (Some(stat), Some(status)) = (Stat::read(pid), Status::read(pid)) else {
        return does_not_exist(pid);
    };
    is_zombie(&stat) || stat.flags & PF_EXITING != 0 || is_being_killed(status.pending_signals())
}

const PF_EXITING: u64 = 0x4;

fn is_being_killed(pending: SignalSet) -> bool {
    pending.contains(number::KILL)
}

/// Returns when this process was started, in clock ticks since the machine booted.
pub fn own_start() -> Option<u64> {
    Stat::read_own().map(|stat| stat.start)
}

fn does_not_exist(pid: Pid) -> bool {
    test_kill_process(pid) == Err(Errno::SRCH)
}

/// A process whose main thread has exited looks like a zombie, but still has threads.
fn is_zombie(stat: &Stat) -> bool {
    matches!(stat.state, b'Z' | b'X' | b'x') && stat.threads <= 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getpid;

    /// A PID beyond the kernel's limit.
    fn unused_pid() -> Pid {
        Pid::from_raw(i32::MAX).expect("not zero")
    }

    #[test]
    fn a_zombie_has_no_threads() {
        let own = Stat::read_own().expect("this process exists");
        let with = |state, threads| Stat {
            state,
            threads,
            ..own
        };
        for state in [b'Z', b'X', b'x'] {
            assert!(is_zombie(&with(state, 1)) && !is_zombie(&with(state, 2)));
        }
        for state in [b'R', b'S', b'D', b'T', b't', b'I'] {
            assert!(!is_zombie(&with(state, 1)));
        }
    }

    #[test]
    fn a_pending_sigkill_means_exiting() {
        assert!(!is_exiting(getpid()));
        assert!(is_exiting(unused_pid()));
        assert!(is_being_killed(SignalSet::from_bits(0x100)));
        assert!(!is_being_killed(SignalSet::from_bits(0x4200)));
    }

    #[test]
    fn this_process_is_alive_since_its_start() {
        let start = own_start();
        assert!(start.is_some());
        assert_eq!(check(getpid()), Liveness::Alive { start });
    }

    #[test]
    fn an_unused_pid_is_dead() {
        assert_eq!(check(unused_pid()), Liveness::Dead);
    }
}
