//! Blocking in a process that is not ours, without deafness: a system call that ends when a handler of the host's runs.

use std::cell::UnsafeCell;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::signal::{self, SignalSet};
use super::timer::Ticks;

/// How many signals there are, and one more, as they are counted from 1.
const SIGNALS: usize = 65;

/// While it is there, a blocking system call of this thread ends with `EINTR` as soon as a handler of the host's has
/// run, or when the time is up.
///
/// *The race:* a signal against the system call that it is to interrupt. A host handles a signal by setting a flag and
/// looks at its flags from time to time. A signal that comes between the last look and the call sets its flag, and then
/// the call blocks as if nothing had happened; and so it does with a handler that is set to restart calls
/// (`SA_RESTART`), as a shell's for `SIGCHLD` is. So:
///
/// 1. All signals are blocked. What came until then is in the host's flags, which [`begin`](Self::begin) asks for:
///    if one is set there is no attention, and the host sees to it. Whatever comes now waits in the kernel.
/// 2. Every handler of the host's gets ours in front of it, which calls it and then starts a timer. The timer's signal
///    comes at once, and again every millisecond, for as long as the attention lasts.
/// 3. The signals are let through. One that comes now and before the call starts the timer, whose next tick finds the
///    call begun and ends it; one that comes during the call ends it itself, as none of our handlers restarts calls.
///
/// So nothing ticks, and nobody polls, unless a signal has come or the time is up. The timer's signal is the last
/// real-time one; what somebody else sends of that number goes to the host as ever. Dropping it puts all back. The host
/// must not be is_signal_pending in the meantime, for it may change its handlers.
///
/// # References
///
/// timer_create(2), sigaction(2), signal(7) "Interruption of system calls by signal handlers"; timer_settime(2) may be
/// is_signal_pending in handlers by signal-safety(7).
#[derive(Debug)]
pub struct InterruptibleCall {
    ticks: Ticks,
    /// Those that have our handler in front of originals.
    replaced: SignalSet,
    mask: SignalSet,
}

/// What the handler has to know.
struct HandlerTable {
    ticks: UnsafeCell<Option<Ticks>>,
    originals: UnsafeCell<[libc::sigaction; SIGNALS]>,
}

// SAFETY: there is one attention at a time (`ACTIVE`). Both cells are written while all signals are blocked and the
// handler is in front of nothing, and only read from then on until the next one begins.
unsafe impl Sync for HandlerTable {}

static HANDLERS: HandlerTable = HandlerTable {
    ticks: UnsafeCell::new(None),
    // SAFETY: all zeroes is a valid `sigaction`: the default disposition, no flags.
    originals: UnsafeCell::new(unsafe { std::mem::zeroed() }),
};

static ACTIVE: AtomicBool = AtomicBool::new(false);

impl InterruptibleCall {
    /// For a call that may take this long, or any time. `None` when the host is `is_signal_pending` for already; it is asked with
    /// all signals blocked.
    ///
    /// # Errors
    ///
    /// `EAGAIN`, `ENOMEM`: no timer can be had. `EBUSY`: another thread has an attention.
    pub fn begin(
        time: Option<Duration>,
        is_signal_pending: fn() -> bool,
    ) -> io::Result<Option<Self>> {
        let mask = signal::set_mask(SignalSet::ALL);
        let begun = Self::install(mask, is_signal_pending);
        if let (Ok(Some(attention)), Some(time)) = (&begun, time) {
            attention.ticks.start(time);
        }
        signal::set_mask(match &begun {
            Ok(Some(_)) => mask.without(Ticks::signal()),
            _ => mask,
        });
        begun
    }

    fn install(mask: SignalSet, is_signal_pending: fn() -> bool) -> io::Result<Option<Self>> {
        if is_signal_pending() {
            return Ok(None);
        }
        if ACTIVE.swap(true, Ordering::Acquire) {
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        }
        let ticks = Ticks::new().inspect_err(|_| ACTIVE.store(false, Ordering::Release))?;
        // SAFETY: see `HandlerTable`.
        unsafe { *HANDLERS.ticks.get() = Some(ticks) };
        let mut replaced = SignalSet::EMPTY;
        for signal in 1..SIGNALS as libc::c_int {
            if install_handler(signal) {
                replaced = replaced.with(signal);
            }
        }
        Ok(Some(Self {
            ticks,
            replaced,
            mask,
        }))
    }
}

impl Drop for InterruptibleCall {
    /// The timer first: a tick that has been sent is handled before that call returns, as it is not blocked. A signal
    /// that comes from then on sets its flag by our handler or by the host's own.
    fn drop(&mut self) {
        self.ticks.delete();
        signal::set_mask(self.mask);
        for signal in (1..SIGNALS as libc::c_int).filter(|signal| self.replaced.has(*signal)) {
            // SAFETY: see `HandlerTable`; an action that sigaction(2) itself returned.
            unsafe {
                libc::sigaction(
                    signal,
                    &raw const (*HANDLERS.originals.get())[signal as usize],
                    ptr::null_mut(),
                )
            };
        }
        ACTIVE.store(false, Ordering::Release);
    }
}

/// Puts our handler in front of the host's, if it has one. The timer's signal gets it in any case.
fn install_handler(signal: libc::c_int) -> bool {
    // SAFETY: all zeroes is a valid `sigaction`.
    let mut originals: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: no new action, and a place for the one that there is. It fails for what the C library keeps to itself.
    if unsafe { libc::sigaction(signal, ptr::null(), &raw mut originals) } == -1 {
        return false;
    }
    let has_handler = ![libc::SIG_DFL, libc::SIG_IGN].contains(&originals.sa_sigaction);
    if !has_handler && signal != Ticks::signal() {
        return false;
    }
    // SAFETY: see `HandlerTable`.
    unsafe { (*HANDLERS.originals.get())[signal as usize] = originals };
    let mut ours = originals;
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = trampoline;
    ours.sa_sigaction = handler as usize;
    ours.sa_flags = (originals.sa_flags | libc::SA_SIGINFO) & !libc::SA_RESTART;
    // No tick comes while a handler of the host's runs, which may be in a system call of its own.
    // SAFETY: a set that is filled, and the number of a signal.
    unsafe { libc::sigaddset(&raw mut ours.sa_mask, Ticks::signal()) };
    // SAFETY: an action; the handler is async-signal-safe, as far as the host's is.
    unsafe { libc::sigaction(signal, &raw const ours, ptr::null_mut()) == 0 }
}

/// Lets the host do what it does, and sees to it that the call ends.
extern "C" fn trampoline(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: with SA_SIGINFO the kernel fills it.
    let is_tick = signal == Ticks::signal() && unsafe { (*info).si_code } == libc::SI_TIMER;
    if is_tick {
        return;
    }
    // SAFETY: see `HandlerTable`: this handler is installed, so both are written.
    let (ticks, originals) = unsafe {
        (
            *HANDLERS.ticks.get(),
            (*HANDLERS.originals.get())[signal as usize],
        )
    };
    match originals.sa_sigaction {
        libc::SIG_IGN => {}
        libc::SIG_DFL => {
            // Only the timer's signal comes here, sent by somebody else: it ends us as ever, on the way out.
            signal::set_disposition(signal, signal::Disposition::Default);
            let _ = signal::send(rustix::process::getpid(), signal);
        }
        handler if originals.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the host set it with SA_SIGINFO, so it is of this form.
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: the host set it without SA_SIGINFO, so it is of this form.
            let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
    // Behind the host's handler, which is not to be interrupted by ticks.
    if let Some(ticks) = ticks {
        // SAFETY: this thread's own error number, which the interrupted code may be about to read.
        let errno = unsafe { *libc::__errno_location() };
        ticks.start(Duration::ZERO);
        // SAFETY: as above.
        unsafe { *libc::__errno_location() = errno };
    }
}
