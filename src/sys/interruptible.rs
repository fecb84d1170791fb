//! Blocking in a host process that must keep reacting to its signals: a system call that returns
//! when one of the host's signal handlers has run.

use std::cell::UnsafeCell;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::delegate::{self, WaitState};
use super::init_signals;
use super::signal::{self, SignalSet};
use super::timer::{self, SignalAction, ThreadTimer};

/// The length of a table that is indexed by signal numbers, which start at 1.
const TABLE_SIZE: usize = 65;

/// While this guard exists, a blocking system call of this thread fails with `EINTR` as soon as one
/// of the host's signal handlers has run, or the time is up.
///
/// *Race:* a signal may arrive before the system call that it is to interrupt. A host handles a
/// signal by setting a flag, and checks its flags from time to time. A signal that arrives between
/// the last check and the call sets its flag, and then the call blocks as if nothing had happened.
/// The same happens if the handler restarts system calls (`SA_RESTART`), as a shell's handler for
/// `SIGCHLD` does. Therefore:
///
/// 1. All signals are blocked. A signal that arrived earlier is in the host's flags, which
///    [`begin`](Self::begin) checks: if one is set, there is no guard, and the host handles the
///    signal. A signal that arrives now is pending in the kernel.
/// 2. Each of the host's handlers is replaced by the trampoline, which calls that handler and then
///    starts a timer. The timer's signal arrives immediately, and again every millisecond, as long
///    as the guard exists.
/// 3. The signals are unblocked. A signal that arrives before the system call starts the timer, and
///    a later timer signal arrives during the call and interrupts it. A signal that arrives during
///    the call interrupts it directly, because the trampoline does not restart system calls.
///
/// So the timer does not run, and nothing polls, unless a signal has arrived or the time is up. The
/// timer's signal is a real-time signal that the host has not blocked; one that another process
/// sends reaches the host as usual. Dropping the guard restores everything. Until then, the host
/// must not be called, because it may change its handlers.
///
/// If there is no timer, or no such signal, a [child](delegate) makes the system call, and the
/// trampoline ends the wait for it.
///
/// # References
///
/// timer_create(2), sigaction(2), signal(7) "Interruption of system calls by signal handlers";
/// timer_settime(2) may be called in handlers according to signal-safety(7).
#[derive(Debug)]
pub struct InterruptibleCall {
    /// When the time is up.
    deadline: Option<Instant>,
    timer: Option<ThreadTimer>,
    /// The signals whose handler is replaced by the trampoline.
    replaced: SignalSet,
}

/// The data of the trampoline.
struct HandlerTable {
    timer: UnsafeCell<Option<ThreadTimer>>,
    /// The state of the wait if there is no timer.
    wait: WaitState,
}

/// The actions that the trampoline replaces.
struct OriginalActions(UnsafeCell<[libc::sigaction; TABLE_SIZE]>);

// SAFETY: there is at most one guard at a time (`ACTIVE`). The cells are written while all signals
// are blocked and before the trampoline is installed, and only read after that until the next guard
// begins.
unsafe impl Sync for HandlerTable {}
// SAFETY: as above.
unsafe impl Sync for OriginalActions {}

static HANDLERS: HandlerTable = HandlerTable {
    timer: UnsafeCell::new(None),
    wait: WaitState::new(),
};

/// Separate from the rest, because the file of the program need not contain zeroes.
// SAFETY: all zeroes is a valid `sigaction`: the default disposition, no flags.
static ORIGINALS: OriginalActions = OriginalActions(UnsafeCell::new(unsafe { std::mem::zeroed() }));

static ACTIVE: AtomicBool = AtomicBool::new(false);

impl InterruptibleCall {
    /// Prepares for a call that may block for this time, or indefinitely. Returns `None` if the
    /// host already has a signal to handle; `is_signal_pending` is called while all signals are
    /// blocked.
    ///
    /// # Errors
    ///
    /// `EBUSY`: another thread has a guard.
    pub fn begin(
        time: Option<Duration>,
        is_signal_pending: fn() -> bool,
    ) -> io::Result<Option<Self>> {
        let deadline = time.and_then(|time| Instant::now().checked_add(time));
        let mask = signal::set_mask(SignalSet::ALL);
        let begun = Self::install(mask, deadline, is_signal_pending);
        if let (Ok(Some(call)), Some(time)) = (&begun, time)
            && let Some(timer) = call.timer
        {
            timer.start(time);
        }
        signal::set_mask(mask);
        begun
    }

    fn install(
        mask: SignalSet,
        deadline: Option<Instant>,
        is_signal_pending: fn() -> bool,
    ) -> io::Result<Option<Self>> {
        if is_signal_pending() {
            return Ok(None);
        }
        if ACTIVE.swap(true, Ordering::Acquire) {
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        }
        let timer = ThreadTimer::new(mask).ok();
        HANDLERS.wait.reset();
        // SAFETY: see `HandlerTable`.
        unsafe { *HANDLERS.timer.get() = timer };
        let timer_signal = timer.map(|timer| timer.signal);
        let mut replaced = SignalSet::EMPTY;
        for signal in 1..TABLE_SIZE as libc::c_int {
            if install_trampoline(signal, timer_signal) {
                replaced = replaced.with(signal);
            }
        }
        Ok(Some(Self {
            deadline,
            timer,
            replaced,
        }))
    }

    /// Makes the system call. It is the only one under this guard.
    ///
    /// # Errors
    ///
    /// Those of the call. `EINTR` if it was interrupted; if a child has made it, it may have
    /// succeeded nevertheless. `EAGAIN`, `ENOMEM`, `EPERM`: there is neither a timer nor a process.
    pub fn run<T: Copy>(
        &self,
        mut call: impl FnMut() -> Result<T, Errno>,
    ) -> Result<Result<T, Errno>, io::Error> {
        if self.timer.is_some() {
            return Ok(call());
        }
        let result = delegate::run_interruptibly(&HANDLERS.wait, self.deadline, call)?;
        Ok(result.unwrap_or(Err(Errno::INTR)))
    }
}

impl Drop for InterruptibleCall {
    /// Deletes the timer first: a signal that it has sent is handled before that call returns,
    /// because the signal is not blocked. A signal that arrives later sets its flag through the
    /// trampoline or through the host's own handler.
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            timer.delete();
        }
        let signals = 1..TABLE_SIZE as libc::c_int;
        for signal in signals.filter(|signal| self.replaced.contains(*signal)) {
            // SAFETY: see `HandlerTable`; an action that sigaction(2) itself returned.
            unsafe {
                let original = &raw const (*ORIGINALS.0.get())[signal as usize];
                libc::sigaction(signal, original, ptr::null_mut());
            }
        }
        ACTIVE.store(false, Ordering::Release);
    }
}

/// Replaces the host's handler, if it has one, by the trampoline. The timer's signal gets the
/// trampoline in any case. Returns whether the action was replaced.
fn install_trampoline(signal: libc::c_int, timer_signal: Option<libc::c_int>) -> bool {
    // SAFETY: all zeroes is a valid `sigaction`.
    let mut original: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: no new action, and room for the current one. It fails for signals that the C library
    // reserves.
    if unsafe { libc::sigaction(signal, ptr::null(), &raw mut original) } == -1 {
        return false;
    }
    let has_handler = ![libc::SIG_DFL, libc::SIG_IGN].contains(&original.sa_sigaction);
    if !has_handler && Some(signal) != timer_signal {
        return false;
    }
    // SAFETY: see `HandlerTable`.
    unsafe { (*ORIGINALS.0.get())[signal as usize] = original };
    let mut replacement = original;
    replacement.sa_sigaction = trampoline as SignalAction as usize;
    replacement.sa_flags = (original.sa_flags | libc::SA_SIGINFO) & !libc::SA_RESTART;
    if let Some(timer_signal) = timer_signal {
        // The timer must not interrupt system calls that the host's handler makes.
        // SAFETY: an initialized set, and a valid signal number.
        unsafe { libc::sigaddset(&raw mut replacement.sa_mask, timer_signal) };
    }
    // SAFETY: a valid action; the trampoline is async-signal-safe if the host's handler is.
    unsafe { libc::sigaction(signal, &raw const replacement, ptr::null_mut()) == 0 }
}

/// Calls the host's handler, and then makes sure that the system call is interrupted.
extern "C" fn trampoline(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    if timer::is_from_timer(info) {
        return;
    }
    // SAFETY: see `HandlerTable`: the trampoline is installed, so both are written.
    let (timer, originals) = unsafe { (*HANDLERS.timer.get(), &*ORIGINALS.0.get()) };
    let original = originals[signal as usize];
    match original.sa_sigaction {
        libc::SIG_IGN => {}
        // Process 1 does not die of it, and still needs the trampoline.
        libc::SIG_DFL if init_signals::is_init() => {}
        libc::SIG_DFL => {
            // Only the timer's signal, sent by another process, gets here. It terminates this
            // process as usual, when the trampoline returns.
            signal::set_disposition(signal, signal::Disposition::Default);
            let _ = signal::send(rustix::process::getpid(), signal);
        }
        handler if original.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the host set it with SA_SIGINFO, so it has this type.
            let handler: SignalAction = unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: the host set it without SA_SIGINFO, so it has this type.
            let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
    HANDLERS.wait.interrupt();
    // After the host's handler, which the timer must not interrupt.
    if let Some(timer) = timer {
        // SAFETY: this thread's errno, which the interrupted code may be about to read.
        let errno = unsafe { *libc::__errno_location() };
        timer.start(Duration::ZERO);
        // SAFETY: as above.
        unsafe { *libc::__errno_location() = errno };
    }
}
