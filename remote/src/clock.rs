//! The clock of leases, which goes on while the machine is suspended.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

use crate::random;

/// Returns the reading of `CLOCK_BOOTTIME`.
pub fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = time.tv_sec.try_into().unwrap_or_default();
    Duration::new(seconds, time.tv_nsec.try_into().unwrap_or_default())
}

/// Returns a text that is the same only for processes for which [`now`] is the same: it identifies
/// the start of this machine, its name, as a copy of a virtual machine has the same start, and the
/// time namespace, which may shift the clock.
pub fn identity() -> String {
    let start = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let start = start.unwrap_or_else(|_| random::positive().to_string());
    let namespace = fs::read_link("/proc/self/ns/time").unwrap_or_default();
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy().into_owned();
    format!("{}/{}/{name}", start.trim(), namespace.display())
}

/// A descriptor that is readable from a certain time on. The timeout of poll(2) would stand still
/// while the machine is suspended.
///
/// # References
///
/// timerfd_create(2).
#[derive(Debug)]
pub struct Alarm(OwnedFd);

impl Alarm {
    /// Creates an alarm that is not set.
    ///
    /// # Errors
    ///
    /// There is no descriptor left.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self(timerfd_create(TimerfdClockId::Boottime, flags)?))
    }

    /// Sets the alarm to a reading of the clock; `None` switches it off.
    ///
    /// # Errors
    ///
    /// None is expected.
    pub fn set(&self, time: Option<Duration>) -> io::Result<()> {
        // Zero would switch it off.
        let time = time.map_or(Duration::ZERO, |time| time.max(Duration::from_nanos(1)));
        let it_value = Timespec {
            tv_sec: time.as_secs().try_into().unwrap_or(i32::MAX.into()),
            tv_nsec: time.subsec_nanos().into(),
        };
        let it_interval = Timespec::default();
        let times = Itimerspec {
            it_interval,
            it_value,
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &times)?;
        Ok(())
    }

    /// Returns the descriptor.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
