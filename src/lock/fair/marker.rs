//! Marks: single bytes of a lock file, far beyond any data, that a process has locked for reading (an open file description
//! lock) and that tell by their number who that is and since when.
//!
//! A read lock needs no permission to write, so a lock file may be anybody's, a directory or a running script, and its
//! contents are never touched. The kernel drops it when the last descriptor is closed, so no mark outlives its process. It
//! excludes nobody: what excludes is the lock of flock(2) on the same file, as ever.
//!
//! ```text
//! bit   62  61 … 23                        22     21 … 0
//! turn   1  time                           mode   pid
//! slot   0   1 time (60 … 22)                     pid
//! ```

use std::ops::RangeInclusive;
use std::time::Duration;

use rustix::process::Pid;

use crate::lock::Mode;
use crate::sys::clock;

/// What a byte beyond all data says when it is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A process of this number stands for somebody who waits for his turn.
    Turn {
        /// Since when.
        since: Moment,
        /// [`Mode::Shared`] or [`Mode::Exclusive`]: what he waits for.
        mode: Mode,
        /// The number of the process that stands for him: a child of his.
        pid: Pid,
    },
    /// A process of this number has taken a slot, and whoever has inherited its descriptor has it too.
    Slot {
        /// Since when.
        since: Moment,
        /// The number of the process that took it.
        pid: Pid,
    },
}

/// The bits of a process number: the kernel's `PID_MAX_LIMIT`.
const PID_BITS: u32 = 22;
const PID_MASK: u64 = (1 << PID_BITS) - 1;

const MODE: u64 = 1 << PID_BITS;
const TURN: u64 = 1 << 62;
const SLOT: u64 = 1 << 61;

/// The bytes whose locks are turns.
pub const TURNS: RangeInclusive<i64> = TURN as i64..=i64::MAX;

/// The bytes whose locks are slots.
pub const SLOTS: RangeInclusive<i64> = SLOT as i64..=TURN as i64 - 1;

impl Mark {
    /// The byte that says this.
    pub fn byte(self) -> i64 {
        let number = |pid: Pid| u64::from(pid.as_raw_nonzero().get() as u32) & PID_MASK;
        let byte = match self {
            Self::Turn { since, mode, pid } => {
                let mode = if mode == Mode::Shared { MODE } else { 0 };
                TURN | since.0 << (PID_BITS + 1) | mode | number(pid)
            }
            Self::Slot { since, pid } => SLOT | since.0 << PID_BITS | number(pid),
        };
        byte as i64
    }

    /// What a byte says; `None` if it is none of these.
    pub fn of(byte: i64) -> Option<Self> {
        let byte = u64::try_from(byte).ok()?;
        let pid = Pid::from_raw((byte & PID_MASK) as i32)?;
        if byte & TURN != 0 {
            let mode = if byte & MODE != 0 {
                Mode::Shared
            } else {
                Mode::Exclusive
            };
            let since = Moment((byte & !TURN) >> (PID_BITS + 1));
            return Some(Self::Turn { since, mode, pid });
        }
        (byte & SLOT != 0).then_some(Self::Slot {
            since: Moment((byte & !SLOT) >> PID_BITS),
            pid,
        })
    }
}

/// A moment of the clock that counts from the machine's start (`CLOCK_BOOTTIME`), in steps of 16 µs. It is the same for all
/// processes of the machine, and comes round after 101 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(u64);

const STEP_NANOS: u128 = 16_000;
const TIME_BITS: u32 = 39;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

impl Moment {
    /// This one.
    pub fn now() -> Self {
        Self::at(clock::since_boot())
    }

    /// So long after the machine's start.
    fn at(time: Duration) -> Self {
        Self((time.as_nanos() / STEP_NANOS) as u64 & TIME_MASK)
    }

    /// The one that comes after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self((self.0 + 1) & TIME_MASK)
    }

    /// How long ago it was, given that it is past, and less than 101 days so.
    pub fn elapsed(self) -> Duration {
        Self::now().since(self)
    }

    fn since(self, earlier: Self) -> Duration {
        let steps = self.0.wrapping_sub(earlier.0) & TIME_MASK;
        Duration::from_nanos(steps * STEP_NANOS as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(number: i32) -> Pid {
        Pid::from_raw(number).expect("a number")
    }

    #[test]
    fn a_byte_says_what_it_was_made_of() {
        for number in [1, 4711, (1 << 22) - 1] {
            for time in [0, 1, TIME_MASK - 1] {
                let (since, pid) = (Moment(time), pid(number));
                let turn = |mode| Mark::Turn { since, mode, pid };
                let slot = Mark::Slot { since, pid };
                for mark in [turn(Mode::Shared), turn(Mode::Exclusive), slot] {
                    assert_eq!(Mark::of(mark.byte()), Some(mark));
                    assert_eq!(SLOTS.contains(&mark.byte()), mark == slot);
                    assert_eq!(TURNS.contains(&mark.byte()), mark != slot);
                }
            }
        }
    }

    #[test]
    fn what_is_within_the_reach_of_data_says_nothing() {
        for byte in [i64::MIN, -1, 0, 4711, 1 << 40, (1 << 61) - 1] {
            assert_eq!(Mark::of(byte), None, "{byte}");
        }
        assert_eq!(Mark::of(1 << 62), None, "nobody is number 0");
    }

    #[test]
    fn who_came_later_has_the_higher_byte_whoever_he_is() {
        let mark = |time, mode, number| Mark::Turn {
            since: Moment(time),
            mode,
            pid: pid(number),
        };
        let early = mark(5, Mode::Shared, 4_000_000).byte();
        assert!(early < mark(6, Mode::Exclusive, 1).byte());
    }

    #[test]
    fn the_clock_comes_round() {
        let second = Duration::from_secs(1);
        let late = Moment(TIME_MASK);
        assert_eq!(Moment(62_499).since(late), second);
        assert_eq!(late.next(), Moment(0));
        assert_eq!(Moment::at(second).since(Moment::at(Duration::ZERO)), second);
        assert!(Moment::now().elapsed() < Duration::from_secs(60));
    }
}
