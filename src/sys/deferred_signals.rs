//! Deferring signals until this process has cleaned up.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;

use super::init_signals;
use super::signal::{self, Disposition, SignalSet};

/// The signals that ask a program to stop. The first, `SIGTERM`, has no other meaning.
pub const STOP_SIGNALS: [i32; 4] = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT];

/// Defers the signals that would terminate this process. They take effect when the guard is
/// dropped: values that are declared after it are dropped first, and then the process dies of the
/// signal.
#[derive(Debug)]
pub struct DeferredSignals {
    deferred: Cell<SignalSet>,
    mask: SignalSet,
}

impl DeferredSignals {
    /// Defers all terminating signals that are not already blocked.
    pub fn terminating() -> Self {
        let mask = signal::block(SignalSet::TERMINATING);
        Self {
            deferred: Cell::new(SignalSet::TERMINATING.difference(mask)),
            mask,
        }
    }

    /// Returns the previous signal mask.
    pub fn mask(&self) -> SignalSet {
        self.mask
    }

    /// Returns whether a deferred signal is pending that will terminate this process.
    ///
    /// An ignored signal will not, but becomes pending nevertheless while it is blocked. It is
    /// discarded here.
    pub fn is_pending(&self) -> bool {
        let pending = signal::pending();
        let is_deferred =
            |signal: &i32| self.deferred.get().contains(*signal) && pending.contains(*signal);
        (1..=64).filter(is_deferred).any(|signal| {
            let terminates = signal::disposition(signal) != Disposition::Ignore;
            if !terminates {
                signal::take_pending(SignalSet::single(signal));
            }
            terminates
        })
    }

    /// Returns a descriptor that poll(2) reports as readable while a deferred signal is pending.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`, `ENOMEM`, `ENODEV`.
    ///
    /// # References
    ///
    /// signalfd(2).
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        signal::signalfd(self.deferred.get())
    }

    /// Lets only the [`STOP_SIGNALS`] terminate this process when the guard is dropped: there is a
    /// result that the other signals must not destroy.
    pub fn keep_stop_signals(&self) {
        let kept = SignalSet::from_signals(&STOP_SIGNALS).difference(self.mask);
        self.deferred.set(kept);
    }

    /// Defers the signals until the process has exited, when they have no effect.
    pub fn until_exit(self) {
        std::mem::forget(self);
    }
}

impl Drop for DeferredSignals {
    fn drop(&mut self) {
        init_signals::die_of_signals();
        signal::unblock(self.deferred.get());
    }
}

#[cfg(test)]
mod tests {
    use super::super::signal::raise;
    use super::*;

    #[test]
    fn an_ignored_signal_is_discarded() {
        let deferred = DeferredSignals::terminating();
        assert!(!deferred.is_pending());
        let before = signal::set_disposition(libc::SIGVTALRM, Disposition::Ignore);
        raise(libc::SIGVTALRM);
        assert!(!deferred.is_pending());
        assert!(!signal::pending().contains(libc::SIGVTALRM));
        signal::set_disposition(libc::SIGVTALRM, before);
        raise(libc::SIGPROF);
        assert!(deferred.is_pending());
        assert!(signal::take_pending(SignalSet::single(libc::SIGPROF)).is_some());
    }

    #[test]
    fn a_signal_that_was_blocked_before_stays_blocked() {
        let before = signal::block(SignalSet::single(libc::SIGPWR));
        drop(DeferredSignals::terminating());
        let now = signal::set_mask(before);
        assert!(now.contains(libc::SIGPWR) && !now.contains(libc::SIGUSR1));
    }
}
