//! Dying of signals as process 1 of a PID namespace, such as the entry point of a container.

use rustix::process::{Pid, getpid};

use super::signal::{self, Disposition, SignalSet};

/// Makes the signals that terminate a process by default terminate this one, even if it is process
/// 1: the kernel discards every signal to process 1 that has no handler. Without a handler,
/// `docker stop` would have to wait for its grace period and kill the container.
///
/// If this is process 1, installs handlers for these signals, unless they are ignored or have a
/// handler. Blocked signals stay blocked. The handlers end with execve(2), so that a program that
/// is executed has the dispositions of the caller.
///
/// Must not be called in a host process, which handles its signals itself.
///
/// *Race:* a signal that arrives before the handlers are installed is lost. Therefore this is
/// called before the first wait, which is the only part of the work that can take long.
///
/// # References
///
/// pid_namespaces(7), "The namespace init process".
pub fn die_of_signals() {
    if !is_init() {
        return;
    }
    // SAFETY: all zeroes is a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = HANDLER as usize;
    let signals = (1..=64).filter(|signal| SignalSet::TERMINATING.contains(*signal));
    for signal in signals.filter(|signal| signal::is_default(*signal)) {
        // SAFETY: a valid action, whose handler is async-signal-safe. It fails for signals that
        // the C library reserves.
        unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    }
}

/// Returns whether the action terminates this process: it is the default one of such a signal, or
/// that of [`die_of_signals`].
pub(super) fn is_terminating(action: &libc::sigaction) -> bool {
    [libc::SIG_DFL, HANDLER as usize].contains(&action.sa_sigaction)
}

/// Terminates this process by a signal, when the signal handler that calls this returns at the
/// latest. Process 1 exits with the status that a shell reports for such a death.
pub(super) fn terminate(signal: libc::c_int) {
    if is_init() {
        // SAFETY: exits without running any cleanup, like a death by the signal.
        unsafe { libc::_exit(128 + signal) }
    }
    // Blocked inside the handler; it terminates this process when the handler returns.
    signal::set_disposition(signal, Disposition::Default);
    let _ = signal::send(getpid(), signal);
}

const HANDLER: extern "C" fn(libc::c_int) = handle;

/// A child process that has not executed a program yet has the handler, too, but is not process 1.
extern "C" fn handle(signal: libc::c_int) {
    terminate(signal);
}

/// Returns whether this is process 1 of its PID namespace.
pub(super) fn is_init() -> bool {
    getpid() == Pid::INIT
}
