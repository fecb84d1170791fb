//! A timer that interrupts a blocking system call of this thread, and leaves no trace.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::signal::{self, Disposition, SignalSet};

/// How often the interruption is repeated once the time is up.
const AGAIN: libc::timespec = libc::timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};

/// From the given time on, interrupts (`EINTR`) whatever blocking system call this thread is in, every millisecond,
/// until it is dropped.
///
/// *The race:* the timer against the system call that it is to interrupt. A single shot that comes a moment before the
/// call begins is lost, and the call blocks for ever. Shots are repeated, so whichever of them comes first inside the
/// call ends it; before the time is up there is none, so the waiter keeps its place in the kernel's queue.
///
/// It is a POSIX timer with the last real-time signal, aimed at this thread: `SIGALRM` and the interval timer that the
/// caller may have set before exec(2) are left alone. Somebody else's signal of that number ends us as ever. Dropping it puts the signal's disposition and the mask back.
///
/// # References
///
/// timer_create(2), signal(7) "Interruption of system calls".
#[derive(Debug)]
pub struct Interrupter {
    ticks: Ticks,
    action: libc::sigaction,
    mask: SignalSet,
}

/// Whether the signal would end this process if nobody had a timer.
static DEADLY: AtomicBool = AtomicBool::new(false);

/// For the timer's own signal there is nothing to do: that it came has interrupted the call. One that somebody else
/// sent does what it always does.
extern "C" fn interrupt(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel fills it.
    let is_timers = unsafe { (*info).si_code } == libc::SI_TIMER;
    if !is_timers && DEADLY.load(Ordering::Relaxed) {
        signal::set_disposition(signal, Disposition::Default);
        // It is blocked in here, and ends us on the way out.
        let _ = signal::send(rustix::process::getpid(), signal);
    }
}

impl Interrupter {
    /// Begins after `time`, at once when it is zero.
    ///
    /// # Errors
    ///
    /// `EAGAIN`, `ENOMEM`: no timer can be had.
    pub fn after(time: Duration) -> io::Result<Self> {
        let signal = Ticks::signal();
        let ticks = Ticks::new()?;

        // SAFETY: all zeroes is a valid `sigaction`; without SA_RESTART, so that the call returns.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
            interrupt;
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO;
        let mut before = action;
        // SAFETY: two actions; the handler is async-signal-safe.
        unsafe { libc::sigaction(signal, &raw const action, &raw mut before) };
        DEADLY.store(before.sa_sigaction == libc::SIG_DFL, Ordering::Relaxed);
        let armed = Self {
            ticks,
            action: before,
            mask: signal::unblock(SignalSet::single(signal)),
        };
        armed.ticks.start(time);
        Ok(armed)
    }
}

impl Drop for Interrupter {
    /// The timer first: a shot that has been sent reaches its handler before this call returns, since it is unblocked.
    fn drop(&mut self) {
        self.ticks.delete();
        signal::set_mask(self.mask);
        // SAFETY: an action that sigaction(2) itself returned.
        unsafe { libc::sigaction(Ticks::signal(), &raw const self.action, ptr::null_mut()) };
    }
}

/// A POSIX timer that sends this thread the last real-time signal, again and again once its time has come. Who
/// makes it has a handler for that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticks(libc::timer_t);

impl Ticks {
    /// The signal.
    pub(super) fn signal() -> libc::c_int {
        libc::SIGRTMAX()
    }

    /// One that has not been started.
    ///
    /// # Errors
    ///
    /// `EAGAIN`, `ENOMEM`: no timer can be had.
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: all zeroes is a valid `sigevent`.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = Self::signal();
        // SAFETY: takes nothing.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut timer = MaybeUninit::<libc::timer_t>::uninit();
        // SAFETY: a filled event, and a place for the timer's name.
        super::check(unsafe {
            libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, timer.as_mut_ptr())
        })?;
        // SAFETY: timer_create(2) succeeded.
        Ok(Self(unsafe { timer.assume_init() }))
    }

    /// The first tick comes after this time, at once when it is zero. It may be called in a signal's handler.
    pub(super) fn start(self, time: Duration) {
        // Zero would disarm it. A time beyond the kernel's clock is as good as its end.
        let time = time.max(Duration::from_nanos(1));
        let first = libc::timespec {
            tv_sec: time.as_secs().try_into().unwrap_or(i32::MAX.into()),
            // Below a second: fits into any `long`.
            tv_nsec: time.subsec_nanos() as libc::c_long,
        };
        let times = libc::itimerspec {
            it_interval: AGAIN,
            it_value: first,
        };
        // SAFETY: filled times. It fails for no timer that is there, and one that is not there is not started.
        unsafe { libc::timer_settime(self.0, 0, &raw const times, ptr::null_mut()) };
    }

    /// There will be no more ticks than have been sent.
    pub(super) fn delete(self) {
        // SAFETY: at worst there is no such timer, and it fails.
        unsafe { libc::timer_delete(self.0) };
    }
}
