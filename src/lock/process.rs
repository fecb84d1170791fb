//! Whether a process lives, as far as can be seen from here.

use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, getpid, test_kill_process};

use crate::sys::signal::{Set, number};

/// What is known of a process id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
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
pub(super) fn look(pid: Pid) -> Process {
    if is_gone(pid) {
        return Process::Gone;
    }
    let line = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    match line.ok().filter(|_| proc_is_ours()) {
        None if is_gone(pid) => Process::Gone,
        None => Process::Lives { start: None },
        Some(line) => parse(&line),
    }
}

/// Whether a process that was there a moment ago has ended, is ending, or has been sent a `SIGKILL`: `kill -9` returns
/// before its victim is gone.
pub(super) fn is_doomed(pid: Pid) -> bool {
    let read = |name| fs::read_to_string(format!("/proc/{}/{name}", pid.as_raw_nonzero()));
    let (Ok(stat), Ok(status)) = (read("stat"), read("status")) else {
        return is_gone(pid);
    };
    parse(stat.as_bytes()) == Process::Gone || is_exiting(&stat) || is_being_killed(&status)
}

/// `PF_EXITING` among the flags, the 9th field.
fn is_exiting(stat: &str) -> bool {
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let flags = fields.split_ascii_whitespace().nth(6);
    flags
        .and_then(|flags| flags.parse::<u64>().ok())
        .is_some_and(|flags| flags & 0x4 != 0)
}

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
pub(super) fn own_start() -> Option<u64> {
    match parse(&fs::read("/proc/self/stat").ok()?) {
        Process::Lives { start } => start,
        Process::Gone => None,
    }
}

fn is_gone(pid: Pid) -> bool {
    test_kill_process(pid) == Err(Errno::SRCH)
}

/// Whether `/proc` numbers processes as we do: `unshare --pid` leaves that of the namespace outside.
fn proc_is_ours() -> bool {
    let ours = getpid().as_raw_nonzero().to_string();
    fs::read_link("/proc/self").is_ok_and(|link| link.as_os_str() == ours.as_str())
}

/// What a line of `/proc/PID/stat` says; the name in it may be anything, parentheses and all. A process whose first thread
/// has ended looks dead, but for the number of its threads.
fn parse(line: &[u8]) -> Process {
    let unknown = Process::Lives { start: None };
    let Some(name_end) = line.iter().rposition(|byte| *byte == b')') else {
        return unknown;
    };
    let fields = String::from_utf8_lossy(&line[name_end + 1..]);
    let fields = fields.split_ascii_whitespace().collect::<Vec<_>>();
    // From the third on: the state; then the 20th and the 22nd.
    let [state, .., threads, _, start] = fields.get(..20).unwrap_or_default() else {
        return unknown;
    };
    if matches!(*state, "Z" | "X" | "x") && matches!(*threads, "0" | "1") {
        return Process::Gone;
    }
    Process::Lives {
        start: start.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(state: &str, threads: u32) -> String {
        format!(
            "42 (a) b (c) {state} 7 42 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 {threads} 0 123456 9"
        )
    }

    #[test]
    fn a_start_is_read_behind_any_name() {
        let lives = Process::Lives {
            start: Some(123_456),
        };
        for state in ["R", "S", "D", "T", "t", "I"] {
            assert_eq!(parse(line(state, 1).as_bytes()), lives);
        }
        for odd in ["", "42", "42 (gone", "42 (x) S 1"] {
            let unknown = Process::Lives { start: None };
            assert_eq!(parse(odd.as_bytes()), unknown);
        }
    }

    #[test]
    fn remains_are_no_process_unless_a_thread_goes_on() {
        for state in ["Z", "X", "x"] {
            assert_eq!(parse(line(state, 1).as_bytes()), Process::Gone);
            assert_ne!(parse(line(state, 2).as_bytes()), Process::Gone);
        }
    }

    #[test]
    fn who_has_been_killed_is_doomed_before_he_is_gone() {
        assert!(!is_doomed(getpid()));
        assert!(is_doomed(Pid::from_raw(i32::MAX).expect("a number")));
        let exiting = line("R", 1).replace("4194560", "4194564");
        assert!(is_exiting(&exiting) && !is_exiting(&line("R", 1)));
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
