//! Signals that wait until this process has tidied up.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;

use super::signal::{self, Disposition, SignalSet};

/// The signals that end a process which does nothing about them, and that no fault of its own raises.
const TERMINATING: SignalSet = SignalSet::single(libc::SIGHUP)
    .with(libc::SIGINT)
    .with(libc::SIGQUIT)
    .with(libc::SIGTERM)
    .with(libc::SIGUSR1)
    .with(libc::SIGUSR2)
    .with(libc::SIGPIPE)
    .with(libc::SIGALRM)
    .with(libc::SIGVTALRM)
    .with(libc::SIGPROF)
    .with(libc::SIGXCPU)
    .with(libc::SIGIO)
    .with(libc::SIGPWR)
    // SIGSTKFLT, for which not every processor has a name. Where 16 is another signal it is in the set, or ignored.
    .with(16);

/// Those of them that tell a program to stop; the first means nothing else.
pub const STOP_SIGNALS: [i32; 4] = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT];

/// All signals that would end this process, held back: they take effect when this is dropped. So what is declared after
/// it is tidied up before the process dies, and dies of the signal as it should.
#[derive(Debug)]
pub struct DeferredSignals {
    held: Cell<SignalSet>,
    mask: SignalSet,
}

impl DeferredSignals {
    /// Holds back the terminating, those of them that the caller had not blocked already.
    pub fn terminating() -> Self {
        let real_time = (34..=64).fold(TERMINATING, SignalSet::with);
        let mask = signal::block(real_time);
        Self {
            held: Cell::new(real_time.minus(mask)),
            mask,
        }
    }

    /// The mask that there was before.
    pub fn mask(&self) -> SignalSet {
        self.mask
    }

    /// Whether one has come that will end this process. One that is ignored will not: a blocked signal becomes pending
    /// even so, and is forgotten here.
    pub fn is_pending(&self) -> bool {
        let pending = signal::pending();
        let here = |signal: &i32| self.held.get().has(*signal) && pending.has(*signal);
        (1..=64).filter(here).any(|signal| {
            let deadly = signal::disposition(signal) != Disposition::Ignore;
            if !deadly {
                signal::take_pending(SignalSet::single(signal));
            }
            deadly
        })
    }

    /// signalfd(2) – a descriptor that can be read, in the eyes of poll(2), when one has come.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE`, `ENOMEM`, `ENODEV`.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        signal::descriptor(self.held.get())
    }

    /// From here on only requests to stop can end this process: there is a result that the others must not take away.
    pub fn keep_stop_signals(&self) {
        self.held
            .set(SignalSet::from_signals(&STOP_SIGNALS).minus(self.mask));
    }

    /// They wait until the process has exited: whatever comes from here on comes too late.
    pub fn until_exit(self) {
        std::mem::forget(self);
    }
}

impl Drop for DeferredSignals {
    fn drop(&mut self) {
        signal::unblock(self.held.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A signal to this thread, which alone holds it back.
    fn raise(signal: i32) {
        // SAFETY: takes three numbers.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), signal) };
    }

    #[test]
    fn what_comes_waits_and_an_ignored_one_is_no_ending() {
        let held = DeferredSignals::terminating();
        assert!(!held.is_pending());
        let before = signal::set_disposition(libc::SIGVTALRM, Disposition::Ignore);
        raise(libc::SIGVTALRM);
        assert!(!held.is_pending());
        assert!(!signal::pending().has(libc::SIGVTALRM), "it is forgotten");
        signal::set_disposition(libc::SIGVTALRM, before);
        raise(libc::SIGPROF);
        assert!(held.is_pending());
        assert!(signal::take_pending(SignalSet::single(libc::SIGPROF)).is_some());
    }

    #[test]
    fn what_the_caller_has_blocked_is_not_ours_to_let_through() {
        let before = signal::block(SignalSet::single(libc::SIGPWR));
        drop(DeferredSignals::terminating());
        let now = signal::set_mask(before);
        assert!(now.has(libc::SIGPWR) && !now.has(libc::SIGUSR1));
    }
}
