//! A process that does nothing but be there.

use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Release};

use rustix::process::Pid;

use super::signal::{self, SignalSet};

/// The name of such processes, for ps(1).
pub const NAME: &CStr = c"lock-turn";

/// Its stack: some system calls need little, and only what is used takes memory.
const STACK: usize = 32 * 1024;

/// A child that sleeps for as long as this is there: anybody of any user may wait for its end (pidfd_open(2)), which tells
/// him that this was dropped, or that this process has ended, whatever ended it.
///
/// It has the memory in common with its parent (`CLONE_VM`), so that a large one is not copied and a small one does not
/// become two, but runs on a stack of its own and makes system calls only. It has no descriptors and handles no signals;
/// stopping it changes nothing. Its end raises no `SIGCHLD`, and the wait(2) of a host does not see it (exit signal 0).
///
/// *The race:* the parent's end against the child's asking to be killed then (`PR_SET_PDEATHSIG`). The child asks first, and
/// then who its parent is: one that ended before is no longer that. The parent waits until the child has done that, and has
/// closed its descriptors; so whatever the parent does in the name of its token goes with the parent, even if both are
/// stopped in the next moment, and the parent is killed. (Until then they have one error number, too.)
///
/// # References
///
/// clone(2), `PR_SET_PDEATHSIG(2const)`, futex(2).
#[derive(Debug)]
pub struct Sentinel {
    pid: Pid,
    _stack: Stack,
}

impl Sentinel {
    /// # Errors
    ///
    /// `EAGAIN`, `ENOMEM`, `EPERM`: no process can be had.
    pub fn new() -> io::Result<Self> {
        let stack = Stack::new()?;
        let word = stack.word();
        word.store(parent_pid_word(), Release);
        // With a mask of its own from its first moment, it misses the signals that are sent to our whole group.
        let mask = signal::set_mask(SignalSet::ALL);
        // SAFETY: the child runs `sentinel_main` on a stack that nobody else uses and that outlasts it, as the word does.
        let pid = super::check(unsafe {
            libc::clone(sentinel_main, stack.top(), libc::CLONE_VM, stack.0)
        });
        signal::set_mask(mask);
        let pid = Pid::from_raw(pid?).ok_or(io::ErrorKind::Other)?;
        wait_while_equal(word, parent_pid_word());
        Ok(Self { pid, _stack: stack })
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.pid
    }
}

impl Drop for Sentinel {
    /// It is our child until it is waited for here, so the number is its own. Then there is nobody on the stack.
    fn drop(&mut self) {
        let _ = signal::send(self.pid, libc::SIGKILL);
        let number = self.pid.as_raw_nonzero().get();
        // SAFETY: no place for a status.
        while unsafe { libc::waitpid(number, ptr::null_mut(), libc::__WALL) } == -1
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
    }
}

/// What the word says while the child is not ready yet: who is its parent.
fn parent_pid_word() -> u32 {
    rustix::process::getpid().as_raw_nonzero().get() as u32
}

/// What it says then.
const READY: u32 = u32::MAX;

/// futex(2) – sleeps until the word has another value; but not for ever, should somebody stop or kill the child just now.
fn wait_while_equal(word: &AtomicU32, value: u32) {
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    for _ in 0..5 {
        if word.load(Acquire) != value {
            return;
        }
        // SAFETY: a word that is there, and a time. It fails when the value has changed, the time is up, or a signal came.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAIT,
                value,
                &raw const time,
            )
        };
    }
}

/// The child's life.
extern "C" fn sentinel_main(word: *mut c_void) -> c_int {
    // SAFETY: at the beginning of the stack, which is mapped as long as the child is there.
    let word = unsafe { &*word.cast::<AtomicU32>() };
    let parent = word.load(Acquire);
    // SAFETY: system calls that take numbers, strings and null. What is closed is the child's own copy; before Linux 5.9 it
    // stays open.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // 0 is a parent in another pid namespace.
        let now = libc::getppid();
        if now != 0 && now as u32 != parent {
            return 0;
        }
        libc::prctl(libc::PR_SET_NAME, NAME.as_ptr());
        libc::syscall(libc::SYS_close_range, 0_u32, u32::MAX, 0_u32);
        word.store(READY, Release);
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1);
        loop {
            let (nothing, forever, size) = (ptr::null::<c_void>(), ptr::null::<c_void>(), 8_usize);
            libc::syscall(libc::SYS_ppoll, nothing, 0_usize, forever, nothing, size);
        }
    }
}

/// Memory for the child's stack.
#[derive(Debug)]
struct Stack(*mut c_void);

impl Stack {
    fn new() -> io::Result<Self> {
        // SAFETY: a new mapping; the kernel chooses where.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                STACK,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(start))
    }

    /// A word at its lowest end, which it never reaches.
    fn word(&self) -> &AtomicU32 {
        // SAFETY: mapped, aligned to a page, zeroed, and touched only as an atomic, by the kernel too.
        unsafe { &*self.0.cast::<AtomicU32>() }
    }

    /// Its highest end, where it begins.
    fn top(&self) -> *mut c_void {
        self.0.wrapping_byte_add(STACK)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, unmapped once.
        unsafe { libc::munmap(self.0, STACK) };
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::io::Errno;
    use rustix::process::{PidfdFlags, pidfd_open, test_kill_process};

    use super::*;
    use crate::sys::procfs::stat::Stat;

    #[test]
    fn its_end_tells_that_it_was_dropped() {
        let token = Sentinel::new().expect("a process");
        let pid = token.pid();
        let end = pidfd_open(pid, PidfdFlags::empty()).expect("it is there");
        let ready = || {
            poll(
                &mut [PollFd::new(&end, PollFlags::IN)],
                Some(&Default::default()),
            )
        };
        assert_eq!(ready(), Ok(0));
        drop(token);
        assert_eq!(ready(), Ok(1));
        assert_eq!(
            test_kill_process(pid),
            Err(Errno::SRCH),
            "it was waited for"
        );
    }

    #[test]
    fn it_keeps_no_descriptor_and_no_signal_but_two_reaches_it() {
        let token = Sentinel::new().expect("a process");
        let of = |file: &str| format!("/proc/{}/{file}", token.pid().as_raw_nonzero());
        assert_eq!(std::fs::read_dir(of("fd")).expect("ours").count(), 0);
        let status = std::fs::read_to_string(of("status")).expect("it is there");
        assert!(status.contains("SigBlk:\tfffffffffffbfeff\n"), "{status}");
        assert!(status.starts_with("Name:\tlock-turn\n"), "{status}");
        let own = Stat::read_own().expect("it is there");
        let its = Stat::read(token.pid()).expect("it is there");
        assert_ne!(its.start, 0);
        assert!(its.start >= own.start);
    }
}
