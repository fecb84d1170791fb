//! What `/proc` says of a process in one line.

use std::fs;
use std::time::Duration;

use rustix::process::Pid;

use crate::sys::clock;

/// Some of the fields of `/proc/PID/stat`.
///
/// # References
///
/// proc_pid_stat(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The letter of its state.
    pub state: u8,
    /// The number of its parent; 0 when that is in another pid namespace.
    pub parent: i32,
    /// The kernel's flags (`PF_*`).
    pub flags: u64,
    /// How many threads it has.
    pub threads: u32,
    /// When it was started, in ticks of the clock since the machine was.
    pub start: u64,
}

impl Stat {
    /// Of a process; `None` when there is none, or it cannot be seen.
    pub fn read(pid: Pid) -> Option<Self> {
        let line = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        Self::parse(&line)
    }

    /// Of this process.
    pub fn read_own() -> Option<Self> {
        Self::parse(&fs::read("/proc/self/stat").ok()?)
    }

    /// The name in the line may be anything, parentheses and all.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let name_end = line.iter().rposition(|byte| *byte == b')')?;
        let fields = std::str::from_utf8(&line[name_end + 1..]).ok()?;
        // From the third on.
        let fields = fields.split_ascii_whitespace().collect::<Vec<_>>();
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Self {
            state: field(3)?.bytes().next()?,
            parent: field(4)?.parse().ok()?,
            flags: field(9)?.parse().ok()?,
            threads: field(20)?.parse().ok()?,
            start: field(22)?.parse().ok()?,
        })
    }
}

/// How long ago a tick of the clock was, as [`Stat::start`] has it.
pub fn age(tick: u64) -> Duration {
    // SAFETY: takes a number.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let ticks = u64::try_from(ticks)
        .ok()
        .filter(|ticks| *ticks > 0)
        .unwrap_or(100);
    let nanos = tick % ticks * 1_000_000_000 / ticks;
    clock::since_boot().saturating_sub(Duration::new(tick / ticks, nanos as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_have_any_name() {
        for name in ["sh", "", "a) R 1 (b", "(\n)"] {
            let line =
                format!("42 ({name}) S 7 42 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 123456 9\n");
            let wanted = Stat {
                state: b'S',
                parent: 7,
                flags: 4_194_560,
                threads: 3,
                start: 123_456,
            };
            assert_eq!(Stat::parse(line.as_bytes()), Some(wanted), "{name}");
        }
    }

    #[test]
    fn an_odd_line_says_nothing() {
        for line in ["", "42", "42 (gone", "42 (x) S 1", "42 (x) S x 42 9 0"] {
            assert_eq!(Stat::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn this_process_can_be_seen() {
        let own = Stat::read_own().expect("it is there");
        let seen = Stat::read(rustix::process::getpid()).expect("it is there");
        assert_eq!(seen.start, own.start);
    }
}
