//! A helper process that holds a lock of a kind that no installed program can take.

#![allow(
    unsafe_code,
    reason = "fcntl(2) with a struct flock, and the exit of a single thread"
)]

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};

use fdlock::lock::Mode;
use fdlock::lock::fair::marker::{ArrivalTime, Marker};
use fdlock::sys::ofd::{self, Blocking, Operation};
use fdlock::sys::sentinel::Sentinel;
use rustix::process::Pid;

use crate::process::{Process, print};
use crate::test_env::TestEnv;

/// Takes the lock, waiting for it if necessary, prints `held`, and keeps it until stdin is closed.
pub(crate) fn hold_lock(kind: &str, start: i64, length: i64, file: &str) -> i32 {
    if kind == "files" {
        return hold_files(file, length);
    }
    let file = File::options().read(true).write(true).open(file);
    let file = file.expect("the file can be opened");
    let lock = |operation, start, length| {
        ofd::set(file.as_fd(), operation, start, length, Blocking::Yes).is_ok()
    };
    let is_held = match kind {
        "posix" => lock_for_process(&file, start, length),
        "ofd" | "leader-exited" => lock(Operation::Write, start, length),
        "slot" => {
            let (arrived, pid) = (ArrivalTime::now(), rustix::process::getpid());
            lock(Operation::Read, Marker::Slot { arrived, pid }.offset(), 1)
        }
        "tickets" => return hold_tickets(&file, start, length),
        _ => return 2,
    };
    if !is_held {
        return 3;
    }
    print("held\n");
    if kind == "leader-exited" {
        // When the first thread exits, /proc/PID/fd no longer shows the descriptors.
        std::thread::spawn(wait_for_stdin);
        // SAFETY: this exits the current thread only, without unwinding; nothing on its stack is
        // needed any more.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
    wait_for_stdin()
}

/// Locks bytes of the file for this process.
fn lock_for_process(file: &File, start: i64, length: i64) -> bool {
    // SAFETY: all zeroes is a valid `flock`.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_start = start as libc::off_t;
    lock.l_len = length as libc::off_t;
    // SAFETY: the call takes a pointer to a `flock`, which outlives it.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLKW, &raw const lock) != -1 }
}

/// Locks a number of new files, whose names begin with the same text.
fn hold_files(start: &str, count: i64) -> i32 {
    let lock = |number: i64| {
        let file = File::create(format!("{start}{number}")).expect("a new file");
        let operation = rustix::fs::FlockOperation::LockExclusive;
        rustix::fs::flock(&file, operation).expect("the lock is free");
        file
    };
    let _files = Vec::from_iter((0..count).map(lock));
    print("held\n");
    wait_for_stdin()
}

/// Sets the markers of a number of tickets that have just been issued and name this process. 0 is a
/// sentinel of the helper.
fn hold_tickets(file: &File, pid: i64, count: i64) -> i32 {
    let sentinel = Sentinel::new().expect("a process");
    let pid = Pid::from_raw(pid as i32).unwrap_or(sentinel.pid);
    let (arrived, mode) = (ArrivalTime::now(), Mode::Exclusive);
    let last = Marker::Ticket { arrived, mode, pid }.offset();
    // The kernel keeps the locks in the order of their offsets, and begins its search at the lowest.
    for number in 0..count {
        let offset = last - (number << 23);
        let set = ofd::set(file.as_fd(), Operation::Read, offset, 1, Blocking::No);
        set.expect("no conflict");
    }
    print("held\n");
    wait_for_stdin()
}

fn wait_for_stdin() -> i32 {
    let _ = std::io::stdin().read(&mut [0; 1]);
    0
}

impl TestEnv {
    /// Starts a process that locks an existing file and prints `held` when it has the lock. `kind`
    /// is `posix`, `ofd`, `leader-exited` (an `ofd` lock in a process whose first thread has
    /// exited), `slot` (the marker of a slot), or `tickets`: `length` markers of tickets that name
    /// process `start`, or a sentinel of the helper if that is 0. With `files`, it locks `length`
    /// new files, whose names begin with `file`.
    #[track_caller]
    pub fn start_lock_holder(&self, kind: &str, start: i64, length: i64, file: &str) -> Process {
        let mut helper = self.command("test-helper");
        let [start, length] = [start, length].map(|number| number.to_string());
        helper.args(["hold-lock", kind, &start, &length, file]);
        self.start(helper)
    }
}
