//! `/proc/PID/stat`: the state, the parent and the start of a process.

use std::time::Duration;

use rustix::process::Pid;

use super::own_pid;
use super::read::read_prefix;
use crate::sys::clock;

/// Some of the fields of `/proc/PID/stat`.
///
/// # References
///
/// proc_pid_stat(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The letter of the state.
    pub state: u8,
    /// The PID of the parent, or 0 if the parent is in another PID namespace.
    pub parent: i32,
    /// The kernel's flags (`PF_*`).
    pub flags: u64,
    /// The number of threads.
    pub threads: u32,
    /// When the process was started, in clock ticks since the machine booted.
    pub start: u64,
    /// The signal that its exit raises in its parent.
    pub exit_signal: i32,
}

impl Stat {
    /// Reads the fields of a process. Returns `None` if there is no such process, or it is hidden.
    pub fn read(pid: Pid) -> Option<Self> {
        Self::read_at(&format!("/proc/{}/stat", pid.as_raw_nonzero()))
    }

    /// Reads the fields of this process.
    pub fn read_own() -> Option<Self> {
        Self::read_at("/proc/self/stat")
    }

    fn read_at(path: &str) -> Option<Self> {
        /// More than 52 numbers of 20 digits and a name of 16 bytes.
        const MAX_LINE: usize = 4096;
        Self::parse(&read_prefix(path, MAX_LINE).ok()?)
    }

    /// Parses the line. The name of the process in it may contain any bytes, including parentheses.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let name_end = line.iter().rposition(|byte| *byte == b')')?;
        let fields = std::str::from_utf8(&line[name_end + 1..]).ok()?;
        // The first one is field 3.
        let fields = fields.split_ascii_whitespace().collect::<Vec<_>>();
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Self {
            state: field(3)?.bytes().next()?,
            parent: field(4)?.parse().ok()?,
            flags: field(9)?.parse().ok()?,
            threads: field(20)?.parse().ok()?,
            start: field(22)?.parse().ok()?,
            exit_signal: field(38)?.parse().ok()?,
        })
    }
}

/// Returns the parent of a process, or `None` if it is in another PID namespace, or the process is
/// not visible.
pub fn parent(pid: Pid) -> Option<Pid> {
    Pid::from_raw(Stat::read(pid)?.parent)
}

/// Returns the ancestors of this process, as far as they are visible.
pub fn ancestors() -> Vec<Pid> {
    let mut ancestors = Vec::new();
    let mut process = own_pid();
    // A chain that changes while it is followed could be circular.
    while let Some(pid) = process.and_then(parent)
        && !ancestors.contains(&pid)
    {
        ancestors.push(pid);
        process = Some(pid);
    }
    ancestors
}

/// Returns the time that has passed since a [`Stat::start`].
pub fn age(start: u64) -> Duration {
    // SAFETY: takes a number.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let per_second = u64::try_from(per_second)
        .ok()
        .filter(|ticks| *ticks > 0)
        .unwrap_or(100);
    let nanos = start % per_second * 1_000_000_000 / per_second;
    clock::since_boot().saturating_sub(Duration::new(start / per_second, nanos as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_contain_any_bytes() {
        for name in ["sh", "", "a) R 1 (b", "(\n)"] {
            let line = format!(
                "42 ({name}) S 7 42 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 123456 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 17 2\n"
            );
            let expected = Stat {
                state: b'S',
                parent: 7,
                flags: 4_194_560,
                threads: 3,
                start: 123_456,
                exit_signal: 17,
            };
            assert_eq!(Stat::parse(line.as_bytes()), Some(expected), "{name}");
        }
    }

    #[test]
    fn malformed_lines_are_rejected() {
        for line in ["", "42", "42 (gone", "42 (x) S 1", "42 (x) S x 42 9 0"] {
            assert_eq!(Stat::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn this_process_is_visible() {
        let own = Stat::read_own().expect("this process exists");
        let by_pid = Stat::read(rustix::process::getpid()).expect("this process exists");
        assert_eq!(by_pid.start, own.start);
    }
}
