//! A timer that interrupts a blocking system call of this thread and leaves no trace.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::init_signals;
use super::signal::{self, SignalSet};

/// The interval at which the signal is repeated.
const REPEAT_INTERVAL: libc::timespec = libc::timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};

/// From the given time on, interrupts (`EINTR`) any blocking system call of this thread, every
/// millisecond, until it is dropped.
///
/// *Race:* the timer may expire before the system call that it is to interrupt. A single signal
/// that arrives just before the call begins is lost, and the call blocks forever. The signal is
/// therefore repeated: the first one that arrives during the call interrupts it. No signal is sent
/// before the time is up, so the waiter keeps its place in the kernel's queue.
///
/// The timer is a POSIX timer that sends a real-time signal to this thread: the last one that
/// exists and that the caller has not blocked. `SIGALRM`, the interval timer that the caller may have set before
/// execve(2), and the signal mask are not touched. If another process sends the same signal, it
/// terminates this process as usual. Dropping the interrupter restores the signal's disposition.
///
/// # References
///
/// timer_create(2), signal(7) "Interruption of system calls".
#[derive(Debug)]
pub struct Interrupter {
    timer: ThreadTimer,
    action: libc::sigaction,
}

/// Whether the signal would terminate this process if there were no interrupter.
static WOULD_TERMINATE: AtomicBool = AtomicBool::new(false);

/// A signal handler that is installed with `SA_SIGINFO`.
pub(super) type SignalAction = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// The handler of the timer's signal, which does nothing: the arrival of the signal has interrupted
/// the system call. A signal of the same number from another process has its usual effect.
extern "C" fn interrupt(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    if !is_from_timer(info) && WOULD_TERMINATE.load(Ordering::Relaxed) {
        init_signals::terminate(signal);
    }
}

impl Interrupter {
    /// Starts to interrupt after `time`, or immediately if it is zero.
    ///
    /// # Errors
    ///
    /// `EAGAIN`, `ENOMEM`: no timer can be created, or the caller has blocked all real-time signals.
    pub fn after(time: Duration) -> io::Result<Self> {
        let timer = ThreadTimer::new(signal::block(SignalSet::EMPTY))?;

        // SAFETY: all zeroes is a valid `sigaction`; without SA_RESTART, so that the call returns.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = interrupt as SignalAction as usize;
        action.sa_flags = libc::SA_SIGINFO;
        let mut before = action;
        // SAFETY: two valid actions; the handler is async-signal-safe.
        unsafe { libc::sigaction(timer.signal, &raw const action, &raw mut before) };
        let is_terminating = init_signals::is_terminating(&before);
        WOULD_TERMINATE.store(is_terminating, Ordering::Relaxed);
        let interrupter = Self {
            timer,
            action: before,
        };
        interrupter.timer.start(time);
        Ok(interrupter)
    }
}

impl Drop for Interrupter {
    /// Deletes the timer first: a signal that it has sent reaches the handler before that call
    /// returns, because the signal is unblocked.
    fn drop(&mut self) {
        self.timer.delete();
        // SAFETY: an action that sigaction(2) itself returned.
        unsafe { libc::sigaction(self.timer.signal, &raw const self.action, ptr::null_mut()) };
    }
}

/// Returns whether a signal was sent by a [`ThreadTimer`]. The host may have other timers, with the
/// same signal.
pub(super) fn is_from_timer(info: *const libc::siginfo_t) -> bool {
    // SAFETY: a signal handler's argument, which the kernel fills with SA_SIGINFO. A timer sets the
    // value.
    unsafe { (*info).si_code == libc::SI_TIMER && (*info).si_value().sival_ptr == timer_value() }
}

/// Returns the value that the signals of our timers have.
fn timer_value() -> *mut libc::c_void {
    (&raw const WOULD_TERMINATE).cast_mut().cast()
}

/// A POSIX timer that sends a real-time signal to this thread, repeatedly from its start time on.
/// The user of the timer must have installed a handler.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThreadTimer {
    id: libc::timer_t,
    /// The signal that it sends.
    pub(super) signal: libc::c_int,
}

impl ThreadTimer {
    /// Creates a timer without starting it, for a signal that this mask does not block.
    ///
    /// The last real-time signals need not exist: qemu-user emulates a program's signals by those
    /// of its own that its C library does not use, which are fewer. It accepts a handler for every
    /// signal, but no timer (`EINVAL`).
    ///
    /// # Errors
    ///
    /// `EAGAIN`, `ENOMEM`: no timer can be created, or the mask blocks all real-time signals.
    pub(super) fn new(mask: SignalSet) -> io::Result<Self> {
        let signals = (libc::SIGRTMIN()..=libc::SIGRTMAX()).rev();
        for signal in signals.filter(|signal| !mask.contains(*signal)) {
            match Self::with_signal(signal) {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                result => return result,
            }
        }
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    /// Creates a timer for a signal. Fails with `EINVAL` if there is no such signal.
    fn with_signal(signal: libc::c_int) -> io::Result<Self> {
        // SAFETY: all zeroes is a valid `sigevent`.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal;
        event.sigev_value.sival_ptr = timer_value();
        // SAFETY: takes nothing.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut timer = MaybeUninit::<libc::timer_t>::uninit();
        // SAFETY: a filled event, and room for the timer's ID.
        super::check(unsafe {
            libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, timer.as_mut_ptr())
        })?;
        // SAFETY: timer_create(2) succeeded.
        let id = unsafe { timer.assume_init() };
        Ok(Self { id, signal })
    }

    /// Starts the timer. The first signal is sent after `time`, or immediately if it is zero. May
    /// be called in a signal handler.
    pub(super) fn start(self, time: Duration) {
        // Zero would disarm the timer. A time that the kernel cannot represent is capped.
        let time = time.max(Duration::from_nanos(1));
        let first = libc::timespec {
            tv_sec: time.as_secs().try_into().unwrap_or(i32::MAX.into()),
            // Less than a second, which fits into any `long`.
            tv_nsec: time.subsec_nanos() as libc::c_long,
        };
        let times = libc::itimerspec {
            it_interval: REPEAT_INTERVAL,
            it_value: first,
        };
        // SAFETY: valid times. The call cannot fail for an existing timer, and has no effect
        // otherwise.
        unsafe { libc::timer_settime(self.id, 0, &raw const times, ptr::null_mut()) };
    }

    /// Deletes the timer: it sends no more signals.
    pub(super) fn delete(self) {
        // SAFETY: fails if there is no such timer.
        unsafe { libc::timer_delete(self.id) };
    }
}
