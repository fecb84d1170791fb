//! A probe that waits for a lock as the builtin does in its host: with handlers that restart system calls, and
//! [`Attention`].

#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fdlock::sys::attention::Attention;

use crate::process::{ready, send};
use crate::stress::Dice;

/// How many signals have been handled, and how many of these the host has seen to.
static HANDLED: AtomicU64 = AtomicU64::new(0);
static SEEN: AtomicU64 = AtomicU64::new(0);

extern "C" fn handle(_: libc::c_int) {
    HANDLED.fetch_add(1, Relaxed);
}

fn called() -> bool {
    HANDLED.load(Relaxed) > SEEN.load(Relaxed)
}

/// A file that is locked already, so that whoever asks again waits for ever.
struct Taken {
    _holder: File,
    waiter: File,
}

impl Taken {
    fn new(file: &str) -> Self {
        let open = || File::create(file).expect("a file");
        let (holder, waiter) = (open(), open());
        rustix::fs::flock(&holder, rustix::fs::FlockOperation::LockExclusive).expect("it is free");
        Self {
            _holder: holder,
            waiter,
        }
    }

    /// Waits once, and says whether that was interrupted.
    fn wait(&self) -> bool {
        // SAFETY: an open descriptor. Not rustix's call, which might try again.
        unsafe { libc::flock(self.waiter.as_raw_fd(), libc::LOCK_EX) == -1 }
    }
}

/// The probe's deed. Says what has happened and returns, if it does.
pub fn wait(how: &str, file: &str) -> i32 {
    let taken = Taken::new(file);
    // SAFETY: all zeroes is a valid action; the handler only counts.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut());
    }
    let raise = || assert!(send(std::process::id() as i32, libc::SIGUSR1));
    let begin = |time| Attention::begin(time, called).expect("a timer");
    let interrupted = match how {
        // The signal comes between the last look at the flags and the call.
        "inattentive" => {
            raise();
            taken.wait()
        }
        "attentive" => {
            let _attention = begin(None).expect("nobody has called yet");
            raise();
            taken.wait()
        }
        "called-before" => {
            raise();
            begin(None).is_none()
        }
        "timed" => {
            let _attention = begin(Some(Duration::from_micros(1))).expect("nobody has called");
            // The time is up long before the call.
            std::thread::sleep(Duration::from_millis(5));
            taken.wait()
        }
        "put-back" => {
            drop(begin(None));
            raise();
            taken.wait()
        }
        rounds => return answer(&taken, rounds.parse().expect("a number of rounds")),
    };
    let said = format!(
        "interrupted {interrupted} handled {}\n",
        HANDLED.load(Relaxed)
    );
    rustix::io::write(rustix::stdio::stdout(), said.as_bytes()).expect("a reader");
    0
}

/// Waits again and again, as a host does, while a child sends so many signals, each at some moment after the one before
/// was answered. One that is missed is never answered.
fn answer(taken: &Taken, rounds: u64) -> i32 {
    let parent = std::process::id() as i32;
    let (ear, mouth) = rustix::pipe::pipe().expect("a pipe");
    // SAFETY: no other thread has been started yet.
    if unsafe { libc::fork() } == 0 {
        return throw(parent, &ear, rounds);
    }
    while SEEN.load(Relaxed) < rounds {
        if let Some(_attention) = Attention::begin(None, called).expect("a timer") {
            taken.wait();
        }
        // Another tick or a timer of nobody's is no news.
        if called() {
            SEEN.fetch_add(1, Relaxed);
            rustix::io::write(&mouth, b".").expect("a reader");
        }
    }
    rustix::io::write(rustix::stdio::stdout(), b"all answered\n").expect("a reader");
    0
}

fn throw(parent: i32, ear: &OwnedFd, rounds: u64) -> i32 {
    let mut dice = Dice(rounds);
    for round in 0..rounds {
        for _ in 0..dice.below(4000) {
            std::hint::spin_loop();
        }
        send(parent, libc::SIGUSR1);
        if !ready(&[ear.as_fd()], Instant::now() + Duration::from_secs(30))[0] {
            let said = format!("round {round} was missed\n");
            rustix::io::write(rustix::stdio::stdout(), said.as_bytes()).expect("a reader");
            send(parent, libc::SIGKILL);
            return 1;
        }
        rustix::io::read(ear, &mut [0; 1]).expect("an answer");
    }
    0
}
