//! A helper process that waits for a lock as the builtin does in its host: with signal handlers
//! that restart system calls, and through [`InterruptibleCall`].

#![allow(
    unsafe_code,
    reason = "sigaction(2), fork(2), and a flock(2) that is not retried"
)]

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fastrand::Rng;
use fdlock::sys::interruptible::InterruptibleCall;
use rustix::io::Errno;

use crate::process::{poll_readable, print, send_signal};

/// How many signals the handler has received.
static RECEIVED: AtomicU64 = AtomicU64::new(0);
/// How many of these the host has processed.
static PROCESSED: AtomicU64 = AtomicU64::new(0);

extern "C" fn handler(_: libc::c_int) {
    RECEIVED.fetch_add(1, Relaxed);
}

fn signal_pending() -> bool {
    RECEIVED.load(Relaxed) > PROCESSED.load(Relaxed)
}

/// Runs one of the scenarios, prints what happened, and returns the exit status.
pub(crate) fn wait(scenario: &str, path: &str) -> i32 {
    let open = || File::create(path).expect("the file can be created");
    // The second request blocks forever.
    let (holder, waiter) = (open(), open());
    rustix::fs::flock(&holder, rustix::fs::FlockOperation::LockExclusive).expect("a free lock");
    // Waits for the lock once; true if the system call failed, that is, was interrupted.
    // SAFETY: the descriptor is open. rustix's call might retry.
    let wait = || unsafe { libc::flock(waiter.as_raw_fd(), libc::LOCK_EX) == -1 };
    // SAFETY: all zeroes is a valid action; the handler only counts.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut());
    }
    let raise = || assert!(send_signal(std::process::id() as i32, libc::SIGUSR1));
    let begin = |time| InterruptibleCall::begin(time, signal_pending).expect("a timer");
    let is_interrupted = match scenario {
        // The signal arrives between the last check of the flags and the system call.
        "unprotected" => {
            raise();
            wait()
        }
        "interruptible" => {
            let _call = begin(None).expect("no signal yet");
            raise();
            wait()
        }
        "signal-before" => {
            raise();
            begin(None).is_none()
        }
        "timeout" => {
            let _call = begin(Some(Duration::from_micros(1))).expect("no signal yet");
            // The time is over long before the system call.
            std::thread::sleep(Duration::from_millis(5));
            wait()
        }
        "handlers-restored" => {
            drop(begin(None));
            raise();
            wait()
        }
        "child-interrupted" => {
            leave_no_room_for_timers();
            let call = begin(None).expect("no signal yet");
            raise();
            interrupted(&call, wait)
        }
        "child-timeout" => {
            leave_no_room_for_timers();
            let call = begin(Some(Duration::from_micros(1))).expect("no signal yet");
            interrupted(&call, wait)
        }
        "child-signals" => {
            leave_no_room_for_timers();
            return answer_signals(wait, 2000);
        }
        rounds => return answer_signals(wait, rounds.parse().expect("a number of rounds")),
    };
    let received = RECEIVED.load(Relaxed);
    print(&format!(
        "interrupted {is_interrupted} received {received}\n"
    ));
    0
}

/// Makes it impossible to create a timer, so that a child makes the system call.
fn leave_no_room_for_timers() {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a valid limit.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_SIGPENDING, &raw const none) };
    assert_eq!(result, 0);
}

/// Makes the call, and returns whether it was interrupted.
fn interrupted(call: &InterruptibleCall, wait: impl Fn() -> bool) -> bool {
    let result = call.run(|| match wait() {
        true => Err(Errno::INTR),
        false => Ok(()),
    });
    result.expect("a process") == Err(Errno::INTR)
}

/// Waits for the lock again and again, as a host does, while a child sends `rounds` signals, each
/// at a random time after the previous one was answered. A missed signal is never answered.
fn answer_signals(wait: impl Fn() -> bool, rounds: u64) -> i32 {
    let parent = std::process::id() as i32;
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    // SAFETY: no other thread has been started yet.
    if unsafe { libc::fork() } == 0 {
        return send_signals(parent, &reader, rounds);
    }
    while PROCESSED.load(Relaxed) < rounds {
        if let Some(call) = InterruptibleCall::begin(None, signal_pending).expect("a timer") {
            interrupted(&call, &wait);
        }
        // The call may also have been interrupted by another tick of the timer.
        if signal_pending() {
            PROCESSED.fetch_add(1, Relaxed);
            rustix::io::write(&writer, b".").expect("the child reads");
        }
    }
    print("all signals answered\n");
    0
}

fn send_signals(parent: i32, reader: &OwnedFd, rounds: u64) -> i32 {
    let mut rng = Rng::with_seed(rounds);
    for round in 0..rounds {
        for _ in 0..rng.u64(..4000) {
            std::hint::spin_loop();
        }
        send_signal(parent, libc::SIGUSR1);
        let deadline = Instant::now() + Duration::from_secs(30);
        if !poll_readable(&[reader.as_fd()], deadline)[0] {
            print(&format!("signal {round} was missed\n"));
            send_signal(parent, libc::SIGKILL);
            return 1;
        }
        rustix::io::read(reader, &mut [0; 1]).expect("an answer");
    }
    0
}
