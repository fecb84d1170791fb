//! Markers: single bytes of a lock file, far beyond any data, that a process has locked for reading
//! with an open file description lock. The offset of the byte says who the process is and when it
//! arrived.
//!
//! A read lock requires no permission to write, so any file can carry markers: another user's file,
//! a directory, or a script that is being executed. The contents of the file are never touched. The
//! kernel removes the marker when the last descriptor is closed, so no marker outlives its process.
//! A marker excludes nothing; the flock(2) lock on the same file does.
//!
//! ```text
//! bit     62  61 … 23                         22     21 … 0
//! ticket   1  arrival time                    mode   pid
//! slot     0   1 arrival time (60 … 22)              pid
//! ```

use std::ops::RangeInclusive;
use std::time::Duration;

use rustix::process::Pid;

use crate::lock::Mode;
use crate::sys::clock::Uptime;
use crate::sys::procfs::time_namespace;

/// The meaning of a locked byte beyond all data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// A place in the queue.
    Ticket {
        /// When the waiter arrived.
        arrived: ArrivalTime,
        /// [`Mode::Shared`] or [`Mode::Exclusive`]: the lock that it waits for.
        mode: Mode,
        /// The sentinel, a child of the waiter.
        pid: Pid,
    },
    /// A slot that is held.
    Slot {
        /// When the slot was acquired.
        arrived: ArrivalTime,
        /// The process that acquired it. Processes that inherited its descriptor hold it too.
        pid: Pid,
    },
}

/// The number of bits of a PID: the kernel's `PID_MAX_LIMIT`.
const PID_BITS: u32 = 22;
const PID_MASK: u64 = (1 << PID_BITS) - 1;

const SHARED_BIT: u64 = 1 << PID_BITS;
const TICKET_BIT: u64 = 1 << 62;
const SLOT_BIT: u64 = 1 << 61;

/// The offsets of tickets.
pub const TICKET_RANGE: RangeInclusive<i64> = TICKET_BIT as i64..=i64::MAX;

/// The offsets of the places of a bounded queue, which are no markers: they say only which process
/// waits.
pub const PLACE_RANGE: RangeInclusive<i64> = 1 << 60..=SLOT_BIT as i64 - 1;

/// The offsets of [claims](super::claim), which are no markers either.
pub const CLAIM_RANGE: RangeInclusive<i64> = 1 << 59..=(1 << 60) - 1;

/// The offsets of the [marks](crate::lock::mark) of descriptors with a lock elsewhere, which are no
/// markers either.
pub const HANDLE_RANGE: RangeInclusive<i64> = 1 << 58..=(1 << 59) - 1;

/// The offsets of slots.
pub const SLOT_RANGE: RangeInclusive<i64> = SLOT_BIT as i64..=TICKET_BIT as i64 - 1;

impl Marker {
    /// Returns the offset of the byte.
    pub fn offset(self) -> i64 {
        let pid_bits = |pid: Pid| u64::from(pid.as_raw_nonzero().get() as u32) & PID_MASK;
        let offset = match self {
            Self::Ticket { arrived, mode, pid } => {
                let mode = if mode == Mode::Shared { SHARED_BIT } else { 0 };
                TICKET_BIT | arrived.0 << (PID_BITS + 1) | mode | pid_bits(pid)
            }
            Self::Slot { arrived, pid } => SLOT_BIT | arrived.0 << PID_BITS | pid_bits(pid),
        };
        offset as i64
    }

    /// Returns the process that it names.
    pub fn pid(self) -> Pid {
        match self {
            Self::Ticket { pid, .. } | Self::Slot { pid, .. } => pid,
        }
    }

    /// Returns the meaning of an offset, or `None` if it is not that of a marker.
    pub fn from_offset(offset: i64) -> Option<Self> {
        let offset = u64::try_from(offset).ok()?;
        let pid = Pid::from_raw((offset & PID_MASK) as i32)?;
        if offset & TICKET_BIT != 0 {
            let mode = if offset & SHARED_BIT != 0 {
                Mode::Shared
            } else {
                Mode::Exclusive
            };
            let arrived = ArrivalTime((offset & !TICKET_BIT) >> (PID_BITS + 1));
            return Some(Self::Ticket { arrived, mode, pid });
        }
        (offset & SLOT_BIT != 0).then_some(Self::Slot {
            arrived: ArrivalTime((offset & !SLOT_BIT) >> PID_BITS),
            pid,
        })
    }
}

/// A time on the clock that counts from the machine's boot (`CLOCK_BOOTTIME`), in ticks of 16 µs.
/// All processes of the machine share the clock: in a time namespace, its offset is subtracted from
/// what the process reads. The time wraps around after 101 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrivalTime(u64);

impl From<Uptime> for ArrivalTime {
    fn from(uptime: Uptime) -> Self {
        Self::new(uptime, time_namespace::boottime_offset())
    }
}

/// Times that are longer ago are taken for future ones, which have wrapped around.
const MAX_ELAPSED: Duration = Duration::from_secs(100 * 24 * 60 * 60);

/// The longest clock tick of any kernel, in which the start of a process is measured.
const MAX_CLOCK_TICK: Duration = Duration::from_millis(20);

const TICK_NANOS: i128 = 16_000;
const TIME_BITS: u32 = 39;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

impl ArrivalTime {
    /// Returns the current time.
    pub fn now() -> Self {
        Uptime::now().into()
    }

    fn new(uptime: Uptime, namespace_offset: i128) -> Self {
        let nanos = uptime.0.as_nanos() as i128 - namespace_offset;
        Self(nanos.div_euclid(TICK_NANOS) as u64 & TIME_MASK)
    }

    /// Returns the next tick.
    #[must_use]
    pub fn next(self) -> Self {
        Self((self.0 + 1) & TIME_MASK)
    }

    /// Returns how long ago it was, if it was less than 100 days ago. A time in the future, which a
    /// marker of another program may claim, has just passed.
    pub fn elapsed(self) -> Duration {
        let uptime = Uptime::now();
        self.elapsed_at(uptime, time_namespace::boottime_offset())
    }

    /// No time is before the boot, and a future one looks as if it were long ago.
    fn elapsed_at(self, uptime: Uptime, namespace_offset: i128) -> Duration {
        let elapsed = Self::new(uptime, namespace_offset).since(self);
        let since_boot = uptime.0.as_nanos() as i128 - namespace_offset;
        if elapsed.as_nanos() as i128 > since_boot || elapsed > MAX_ELAPSED {
            return Duration::ZERO;
        }
        elapsed
    }

    /// Returns whether it is before a process was started that has this age, or in the future.
    pub fn is_before_start(self, age: Duration) -> bool {
        age + MAX_CLOCK_TICK < Self::now().since(self)
    }

    /// Returns whether it is the earlier of two times that are less than 50 days apart.
    pub fn is_before(self, other: Self) -> bool {
        self != other && other.since(self) < self.since(other)
    }

    fn since(self, earlier: Self) -> Duration {
        let ticks = self.0.wrapping_sub(earlier.0) & TIME_MASK;
        Duration::from_nanos(ticks * TICK_NANOS as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(pid: i32) -> Pid {
        Pid::from_raw(pid).expect("not zero")
    }

    #[test]
    fn an_offset_decodes_to_its_marker() {
        for id in [1, 4711, (1 << 22) - 1] {
            for time in [0, 1, TIME_MASK - 1] {
                let (arrived, pid) = (ArrivalTime(time), pid(id));
                let ticket = |mode| Marker::Ticket { arrived, mode, pid };
                let slot = Marker::Slot { arrived, pid };
                for marker in [ticket(Mode::Shared), ticket(Mode::Exclusive), slot] {
                    let offset = marker.offset();
                    assert_eq!(Marker::from_offset(offset), Some(marker));
                    assert_eq!(SLOT_RANGE.contains(&offset), marker == slot);
                    assert_eq!(TICKET_RANGE.contains(&offset), marker != slot);
                }
            }
        }
    }

    #[test]
    fn offsets_within_data_are_not_markers() {
        for offset in [i64::MIN, -1, 0, 4711, 1 << 40, (1 << 61) - 1] {
            assert_eq!(Marker::from_offset(offset), None, "{offset}");
        }
        assert_eq!(Marker::from_offset(1 << 62), None, "no process has PID 0");
    }

    #[test]
    fn a_later_arrival_has_a_higher_offset() {
        let ticket = |time, mode, id| Marker::Ticket {
            arrived: ArrivalTime(time),
            mode,
            pid: pid(id),
        };
        let early = ticket(5, Mode::Shared, 4_000_000).offset();
        assert!(early < ticket(6, Mode::Exclusive, 1).offset());
    }

    #[test]
    fn the_clock_wraps_around() {
        let second = Duration::from_secs(1);
        let late = ArrivalTime(TIME_MASK);
        assert_eq!(ArrivalTime(62_499).since(late), second);
        assert_eq!(late.next(), ArrivalTime(0));
        assert!(late.is_before(late.next()) && !late.next().is_before(late));
        assert!(!late.is_before(late));
        let boot = ArrivalTime::new(Uptime(Duration::ZERO), 0);
        assert_eq!(ArrivalTime::new(Uptime(second), 0).since(boot), second);
        assert!(ArrivalTime::now().elapsed() < Duration::from_secs(60));
    }
    #[test]
    fn time_namespaces_share_the_clock() {
        let at = |seconds, offset: i128| {
            ArrivalTime::new(Uptime(Duration::from_secs(seconds)), offset * 1_000_000_000)
        };
        assert_eq!(at(1_000_700, 1_000_000), at(700, 0));
        assert_eq!(at(5, -100), at(105, 0));
    }

    #[test]
    fn no_time_elapses_before_the_boot_or_an_arrival() {
        let at = |seconds| Uptime(Duration::from_secs(seconds));
        let elapsed = |arrived, now| ArrivalTime::new(at(arrived), 0).elapsed_at(at(now), 0);
        assert_eq!(elapsed(100, 160), Duration::from_secs(60));
        assert_eq!(elapsed(1_000_100, 100), Duration::ZERO);
        let day = 24 * 60 * 60;
        assert_eq!(elapsed(300 * day + 5, 300 * day), Duration::ZERO);
        assert_eq!(elapsed(100 * day, 190 * day), Duration::from_secs(90 * day));
        let offset = 1_000_000_000_000_000;
        let arrived = ArrivalTime::new(at(1_000_007), offset);
        assert_eq!(
            arrived.elapsed_at(at(1_000_009), offset),
            Duration::from_secs(2)
        );
    }

    #[test]
    fn no_process_arrives_before_it_starts() {
        let hour = Duration::from_secs(3600);
        let now = ArrivalTime::now();
        let hour_ago = ArrivalTime(now.0.wrapping_sub(62_500 * 3600) & TIME_MASK);
        assert!(!now.is_before_start(Duration::ZERO) || now.elapsed() > MAX_CLOCK_TICK);
        assert!(hour_ago.is_before_start(hour / 2) && !hour_ago.is_before_start(hour * 2));
        let future = ArrivalTime(now.0.wrapping_add(62_500 * 3600) & TIME_MASK);
        assert!(future.is_before_start(hour));
    }
}
