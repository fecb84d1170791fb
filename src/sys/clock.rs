//! The time since the machine booted.

use std::mem::MaybeUninit;
use std::time::Duration;

/// A reading of the clock that counts from the machine's boot (`CLOCK_BOOTTIME`). In a time
/// namespace, the clock is ahead of or behind that of other namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uptime(pub Duration);

impl Uptime {
    /// Reads the clock.
    pub fn now() -> Self {
        Self(since_boot())
    }
}

/// Returns the time since the machine booted, including the time that it was suspended
/// (`CLOCK_BOOTTIME`).
///
/// Makes a system call. In the vDSO, a program that reads the clock once would first have to find
/// the function, in pages that it has not touched.
///
/// # References
///
/// clock_gettime(2).
pub fn since_boot() -> Duration {
    read(libc::CLOCK_BOOTTIME)
}

/// Returns the processor time that this thread has used (`CLOCK_THREAD_CPUTIME_ID`).
///
/// # References
///
/// clock_gettime(2).
pub fn thread_time() -> Duration {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: room for the time. The clocks exist since Linux 2.6.39, so the call does not fail.
    let time = unsafe {
        // Where a register is too narrow for the time, the C library knows the layout.
        #[cfg(target_pointer_width = "64")]
        libc::syscall(libc::SYS_clock_gettime, clock, time.as_mut_ptr());
        #[cfg(not(target_pointer_width = "64"))]
        libc::clock_gettime(clock, time.as_mut_ptr());
        time.assume_init()
    };
    // Neither field is negative on these clocks.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
