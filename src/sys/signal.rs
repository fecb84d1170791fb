//! Signals by number: sets, the thread's mask, waiting, sending, dispositions.
//!
//! Sets are the kernel's own 64 bits and go straight to the kernel. The C libraries keep 32 to 34 to themselves and
//! drop them from every mask that passes through their hands; a mask restored through them would not be the caller's.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

use rustix::process::Pid;

/// The numbers of the signals that mean something here.
#[allow(missing_docs)]
pub mod number {
    pub const HUP: i32 = libc::SIGHUP;
    pub const INT: i32 = libc::SIGINT;
    pub const KILL: i32 = libc::SIGKILL;
    pub const QUIT: i32 = libc::SIGQUIT;
    pub const TERM: i32 = libc::SIGTERM;
    pub const CHLD: i32 = libc::SIGCHLD;
    pub const CONT: i32 = libc::SIGCONT;
    pub const STOP: i32 = libc::SIGSTOP;
    pub const TSTP: i32 = libc::SIGTSTP;
    pub const TTIN: i32 = libc::SIGTTIN;
    pub const TTOU: i32 = libc::SIGTTOU;
    pub const WINCH: i32 = libc::SIGWINCH;
}

/// The kernel's `sigset_t`, in bytes.
const SET_SIZE: usize = size_of::<u64>();

/// A set of signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalSet(u64);

impl SignalSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);
    /// Every signal there is, the real-time ones included.
    pub const ALL: Self = Self(u64::MAX);

    /// The set of which bit N−1 stands for signal N, as in `/proc/PID/status`.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The set of one signal.
    pub const fn single(signal: i32) -> Self {
        Self(1 << (signal - 1))
    }

    /// The set of several signals.
    pub fn from_signals(signals: &[i32]) -> Self {
        signals.iter().copied().fold(Self::EMPTY, Self::with)
    }

    /// This set with one signal more.
    #[must_use]
    pub const fn with(self, signal: i32) -> Self {
        Self(self.0 | Self::single(signal).0)
    }

    /// This set with one signal less.
    #[must_use]
    pub const fn without(self, signal: i32) -> Self {
        Self(self.0 & !Self::single(signal).0)
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns the signals of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the signal is in the set.
    pub const fn has(self, signal: i32) -> bool {
        self.0 & Self::single(signal).0 != 0
    }
}

/// rt_sigprocmask(2) – replaces the thread's mask and returns the one before.
pub fn set_mask(mask: SignalSet) -> SignalSet {
    change_mask(libc::SIG_SETMASK, mask)
}

/// rt_sigprocmask(2) – blocks these signals too, and returns the mask before.
pub fn block(more: SignalSet) -> SignalSet {
    change_mask(libc::SIG_BLOCK, more)
}

/// rt_sigprocmask(2) – lets these signals through, and returns the mask before.
pub fn unblock(fewer: SignalSet) -> SignalSet {
    change_mask(libc::SIG_UNBLOCK, fewer)
}

fn change_mask(how: libc::c_int, set: SignalSet) -> SignalSet {
    let mut before = SignalSet::EMPTY;
    // SAFETY: two sets of the size said. It cannot fail: `how` is one of the three, the pointers are good.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            how,
            &raw const set.0,
            &raw mut before.0,
            SET_SIZE,
        )
    };
    before
}

/// rt_sigpending(2) – what has been sent to this thread or process and waits behind the mask.
pub fn pending() -> SignalSet {
    let mut set = SignalSet::EMPTY;
    // SAFETY: a set of the size said.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut set.0, SET_SIZE) };
    set
}

/// Who raised a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The kernel on its own account: a terminal's keys and hang-up, a limit, an interval timer, a child.
    Kernel,
    /// A process, by kill(2) and the like.
    Process,
    /// A process, by sigqueue(3), with the value that goes with it.
    Queued(usize),
}

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its number.
    pub signal: i32,
    /// Who raised it.
    pub origin: Origin,
}

/// sigwaitinfo(2) – takes the next pending signal of the set, and blocks until there is one. All must be blocked.
///
/// # Errors
///
/// `ENOSYS`, `EPERM`: a sandbox does not allow it.
pub fn wait(set: SignalSet) -> io::Result<Arrival> {
    loop {
        match take(set, ptr::null()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// sigtimedwait(2) with no time – takes a pending signal of the set, if there is one. All must be blocked.
pub fn take_pending(set: SignalSet) -> Option<Arrival> {
    let now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    take(set, &raw const now).ok()
}

/// `EAGAIN` when the time is up, `EINTR` when a handler for another signal ran.
fn take(set: SignalSet, time: *const libc::timespec) -> io::Result<Arrival> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: a set of the size said, a place for one siginfo, and a timespec or null.
    let signal = unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            &raw const set.0,
            info.as_mut_ptr(),
            time,
            SET_SIZE,
        )
    };
    if signal == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeroes at the start, and filled by the kernel.
    let info = unsafe { info.assume_init() };
    let origin = match info.si_code {
        // SAFETY: sigqueue(3) sets the value. All its bits are read: the sender chose integer or pointer.
        libc::SI_QUEUE => Origin::Queued(unsafe { info.si_value() }.sival_ptr.addr()),
        code if code <= 0 => Origin::Process,
        _ => Origin::Kernel,
    };
    Ok(Arrival {
        signal: info.si_signo,
        origin,
    })
}

/// signalfd(2) – a descriptor that can be read, in the eyes of poll(2), while one of these is pending. All must be
/// blocked.
///
/// # Errors
///
/// `EMFILE`, `ENFILE`, `ENOMEM`, `ENODEV`.
pub fn descriptor(set: SignalSet) -> io::Result<OwnedFd> {
    // SAFETY: a set of the size said; −1 asks for a new descriptor.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1,
            &raw const set.0,
            SET_SIZE,
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        )
    };
    if fd == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: new, open, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// kill(2) – sends a signal to a process.
///
/// # Errors
///
/// `EPERM`, `ESRCH`, `EINVAL`.
pub fn send(to: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: takes two numbers.
    super::check(unsafe { libc::kill(to.as_raw_nonzero().get(), signal) })?;
    Ok(())
}

/// sigqueue(3) – sends a signal with a value.
///
/// # Errors
///
/// `EAGAIN` (the user's limit of queued signals), `EPERM`, `ESRCH`, `EINVAL`.
pub fn queue(to: Pid, signal: i32, value: usize) -> io::Result<()> {
    let value = libc::sigval {
        sival_ptr: ptr::without_provenance_mut(value),
    };
    // SAFETY: takes two numbers and a value that this process does not look into.
    super::check(unsafe { libc::sigqueue(to.as_raw_nonzero().get(), signal, value) })?;
    Ok(())
}

/// What happens when a signal comes, as far as exec(2) can hand it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Nothing.
    Ignore,
    /// What signal(7) says.
    Default,
}

/// sigaction(2) – sets the disposition, and returns the one before. A handler counts as the default, which exec(2)
/// would make of it.
pub fn set_disposition(signal: i32, disposition: Disposition) -> Disposition {
    let handler = match disposition {
        Disposition::Ignore => libc::SIG_IGN,
        Disposition::Default => libc::SIG_DFL,
    };
    // SAFETY: all zeroes is a valid `sigaction`: the default disposition, no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    let mut before = action;
    // SAFETY: two actions; neither disposition runs code of ours.
    unsafe { libc::sigaction(signal, &raw const action, &raw mut before) };
    Disposition::of(before)
}

/// sigaction(2) – the disposition as it is.
pub fn disposition(signal: i32) -> Disposition {
    // SAFETY: all zeroes is a valid `sigaction`: the default disposition, no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: no new action, and a place for the one that there is.
    unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
    Disposition::of(action)
}

impl Disposition {
    fn of(action: libc::sigaction) -> Self {
        if action.sa_sigaction == libc::SIG_IGN {
            Self::Ignore
        } else {
            Self::Default
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set = SignalSet::EMPTY.with(libc::SIGHUP).with(64);
        assert!(set.has(libc::SIGHUP) && set.has(64) && !set.has(libc::SIGINT));
        assert_eq!(set.without(64), SignalSet::single(libc::SIGHUP));
    }

    #[test]
    fn the_signals_that_c_libraries_keep_to_themselves_can_be_blocked_and_are_seen_blocked() {
        let before = block(SignalSet::single(32).with(33).with(34));
        let now = set_mask(before);
        assert!(now.has(32) && now.has(33) && now.has(34));
    }

    #[test]
    fn a_pending_signal_is_taken_once() {
        let set = SignalSet::single(libc::SIGURG);
        let before = block(set);
        // To this thread, the only one that blocks it.
        // SAFETY: takes three numbers.
        unsafe {
            libc::syscall(
                libc::SYS_tgkill,
                libc::getpid(),
                libc::gettid(),
                libc::SIGURG,
            )
        };
        assert!(pending().has(libc::SIGURG));
        assert_eq!(
            take_pending(set),
            Some(Arrival {
                signal: libc::SIGURG,
                origin: Origin::Process
            })
        );
        assert_eq!(take_pending(set), None);
        set_mask(before);
    }
}
