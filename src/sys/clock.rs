//! The clock that counts from the machine's start.

use std::mem::MaybeUninit;
use std::time::Duration;

/// clock_gettime(2) – how long ago the machine was started, suspended or not (`CLOCK_BOOTTIME`).
///
/// By the C library, as rustix looks for the vDSO by itself, and under valgrind there is none where the kernel says so.
pub fn since_boot() -> Duration {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: a place for the time. The clock is there since Linux 2.6.39, so this does not fail.
    let time = unsafe {
        libc::clock_gettime(libc::CLOCK_BOOTTIME, time.as_mut_ptr());
        time.assume_init()
    };
    // Neither is negative on this clock.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
