//! The clock of leases, which goes on while the machine is suspended.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

/// Returns the reading of `CLOCK_BOOTTIME`.
pub fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = time.tv_sec.try_into().unwrap_or_default();
    Duration::new(seconds, time.tv_nsec.try_into().unwrap_or_default())
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
