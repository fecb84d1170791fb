//! Signals by number: sets, the thread's mask, waiting, sending, dispositions.
//!
//! A set is a 64-bit mask and is passed to the kernel directly. The C libraries reserve signals 32
//! to 34 and remove them from every mask that they handle, so a mask that is restored through them
//! would not be the caller's.

mod kernel_set;
mod poll;
mod set;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

use rustix::process::Pid;

use kernel_set::KernelSet;
pub use poll::poll_with_mask;
pub use set::SignalSet;

/// The numbers of the signals that are handled specially.
#[allow(missing_docs, reason = "the names are the documentation")]
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

/// Replaces the thread's signal mask and returns the previous one.
///
/// # References
///
/// rt_sigprocmask(2).
pub fn set_mask(mask: SignalSet) -> SignalSet {
    change_mask(libc::SIG_SETMASK, mask)
}

/// Blocks more signals and returns the previous mask.
pub fn block(signals: SignalSet) -> SignalSet {
    change_mask(libc::SIG_BLOCK, signals)
}

/// Unblocks signals and returns the previous mask.
pub fn unblock(signals: SignalSet) -> SignalSet {
    change_mask(libc::SIG_UNBLOCK, signals)
}

fn change_mask(how: libc::c_int, set: SignalSet) -> SignalSet {
    let set = KernelSet::from(set.0);
    let mut before = KernelSet::default();
    // SAFETY: two sets of this size. It cannot fail: `how` is valid, and so are the pointers.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            how,
            &raw const set,
            &raw mut before,
            KernelSet::SIZE,
        )
    };
    SignalSet(before.into())
}

/// Returns the blocked signals that are pending for this thread or process.
///
/// # References
///
/// rt_sigpending(2).
pub fn pending() -> SignalSet {
    let mut set = KernelSet::default();
    // SAFETY: a set of this size.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut set, KernelSet::SIZE) };
    SignalSet(set.into())
}

/// The sender of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The kernel: a key or hang-up of the terminal, a limit, an interval timer, a child's change
    /// of state.
    Kernel,
    /// A process, with kill(2) or a similar call.
    Process,
    /// A process, with sigqueue(3) and this value.
    Queued(usize),
}

/// A signal that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalInfo {
    /// Its number.
    pub signal: i32,
    /// Who sent it.
    pub origin: Origin,
}

/// Waits until a signal of the set is pending, and removes it. All signals of the set must be
/// blocked.
///
/// # Errors
///
/// `ENOSYS`, `EPERM`: a sandbox does not allow it.
///
/// # References
///
/// sigwaitinfo(2).
pub fn wait(set: SignalSet) -> io::Result<SignalInfo> {
    loop {
        match take(set, ptr::null()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Removes a pending signal of the set, if there is one, and returns it. All signals of the set
/// must be blocked.
///
/// # References
///
/// sigtimedwait(2), with a timeout of zero.
pub fn take_pending(set: SignalSet) -> Option<SignalInfo> {
    let zero = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    take(set, &raw const zero).ok()
}

/// Fails with `EAGAIN` after the timeout, and with `EINTR` if a handler for another signal ran.
fn take(set: SignalSet, timeout: *const libc::timespec) -> io::Result<SignalInfo> {
    let set = KernelSet::from(set.0);
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: a set of this size, room for one siginfo, and a timespec or null.
    let signal = unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            &raw const set,
            info.as_mut_ptr(),
            timeout,
            KernelSet::SIZE,
        )
    };
    if signal == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeroes is a valid siginfo, and the kernel has filled it.
    let info = unsafe { info.assume_init() };
    let origin = match info.si_code {
        // SAFETY: sigqueue(3) sets the value. All bits are read: it may be an integer or a pointer.
        libc::SI_QUEUE => Origin::Queued(unsafe { info.si_value() }.sival_ptr.addr()),
        code if code <= 0 => Origin::Process,
        _ => Origin::Kernel,
    };
    Ok(SignalInfo {
        signal: info.si_signo,
        origin,
    })
}

/// Returns a descriptor that poll(2) reports as readable while a signal of the set is pending. All
/// signals of the set must be blocked.
///
/// # Errors
///
/// `EMFILE`, `ENFILE`, `ENOMEM`, `ENODEV`.
///
/// # References
///
/// signalfd(2).
pub fn signalfd(set: SignalSet) -> io::Result<OwnedFd> {
    let set = KernelSet::from(set.0);
    // SAFETY: a set of this size; −1 requests a new descriptor.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1,
            &raw const set,
            KernelSet::SIZE,
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        )
    };
    if fd == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: new, open, and not owned elsewhere.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// Sends a signal to a process.
///
/// # Errors
///
/// `EPERM`, `ESRCH`, `EINVAL`.
///
/// # References
///
/// kill(2).
pub fn send(pid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: takes two numbers.
    super::check(unsafe { libc::kill(pid.as_raw_nonzero().get(), signal) })?;
    Ok(())
}

/// Sends a signal with a value to a process.
///
/// # Errors
///
/// `EAGAIN` (the user's limit of queued signals), `EPERM`, `ESRCH`, `EINVAL`.
///
/// # References
///
/// sigqueue(3).
pub fn queue(pid: Pid, signal: i32, value: usize) -> io::Result<()> {
    let value = libc::sigval {
        sival_ptr: ptr::without_provenance_mut(value),
    };
    // SAFETY: takes two numbers and a value that this process does not dereference.
    super::check(unsafe { libc::sigqueue(pid.as_raw_nonzero().get(), signal, value) })?;
    Ok(())
}

/// What a signal does, as far as a process inherits it through execve(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The signal is ignored.
    Ignore,
    /// The signal has its default effect: see signal(7).
    Default,
}

/// Sets the disposition of a signal and returns the previous one. A handler counts as the default,
/// to which execve(2) would reset it.
///
/// # References
///
/// sigaction(2).
pub fn set_disposition(signal: i32, disposition: Disposition) -> Disposition {
    let handler = match disposition {
        Disposition::Ignore => libc::SIG_IGN,
        Disposition::Default => libc::SIG_DFL,
    };
    // SAFETY: all zeroes is a valid `sigaction`: the default disposition, no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    let mut before = action;
    // SAFETY: two valid actions; neither disposition runs a handler.
    unsafe { libc::sigaction(signal, &raw const action, &raw mut before) };
    Disposition::from_action(before)
}

/// Returns the disposition of a signal.
pub fn disposition(signal: i32) -> Disposition {
    Disposition::from_action(action(signal))
}

/// Returns whether a signal has no handler and is not ignored.
pub(super) fn is_default(signal: i32) -> bool {
    action(signal).sa_sigaction == libc::SIG_DFL
}

fn action(signal: i32) -> libc::sigaction {
    // SAFETY: all zeroes is a valid `sigaction`: the default disposition, no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: no new action, and room for the current one.
    unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
    action
}

impl Disposition {
    fn from_action(action: libc::sigaction) -> Self {
        if action.sa_sigaction == libc::SIG_IGN {
            Self::Ignore
        } else {
            Self::Default
        }
    }
}

/// Sends a signal to this thread, the only one that blocks it.
#[cfg(test)]
pub(super) fn raise(signal: i32) {
    // SAFETY: takes three numbers.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), signal) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_contains_the_signals_that_were_added() {
        let set = SignalSet::EMPTY.with(libc::SIGHUP).with(64);
        assert!(set.contains(libc::SIGHUP) && set.contains(64) && !set.contains(libc::SIGINT));
        assert_eq!(set.without(64), SignalSet::single(libc::SIGHUP));
    }

    #[test]
    fn signals_reserved_by_c_libraries_can_be_blocked() {
        let before = block(SignalSet::single(32).with(33).with(34));
        let now = set_mask(before);
        assert!(now.contains(32) && now.contains(33) && now.contains(34));
    }

    #[test]
    fn a_pending_signal_is_taken_once() {
        let set = SignalSet::single(libc::SIGURG);
        let before = block(set);
        raise(libc::SIGURG);
        assert!(pending().contains(libc::SIGURG));
        let (signal, origin) = (libc::SIGURG, Origin::Process);
        assert_eq!(take_pending(set), Some(SignalInfo { signal, origin }));
        assert_eq!(take_pending(set), None);
        set_mask(before);
    }
}
