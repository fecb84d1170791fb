//! A probe that has a lock of a kind that no program at hand takes.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;

use fdlock::lock::mark::{Mark, Moment};

use crate::Lab;
use crate::process::Live;

/// The probe's deed: takes the lock, waiting for it if need be, says so, and keeps it until its stdin ends.
pub fn keep(kind: &str, first: i64, length: i64, file: &str) -> i32 {
    let file = File::options().read(true).write(true).open(file);
    let file = file.expect("a file");
    let (command, first, length) = match kind {
        "posix" => (libc::F_SETLKW, first, length),
        "ofd" | "headless" => (libc::F_OFD_SETLKW, first, length),
        "slot" => (libc::F_OFD_SETLKW, slot().byte(), 1),
        _ => return 2,
    };
    // SAFETY: all zeroes is a valid `flock`.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = if kind == "slot" {
        libc::F_RDLCK
    } else {
        libc::F_WRLCK
    } as libc::c_short;
    lock.l_start = first;
    lock.l_len = length;
    // SAFETY: takes a pointer to a `flock`, which outlives the call.
    if unsafe { libc::fcntl(file.as_raw_fd(), command, &raw const lock) } == -1 {
        return 3;
    }
    rustix::io::write(rustix::stdio::stdout(), b"held\n").expect("a reader");
    if kind == "headless" {
        // The first thread ends, and with it what `/proc` shows of its descriptors.
        std::thread::spawn(wait);
        // SAFETY: ends this thread alone, without unwinding; what it has on its stack is not needed any more.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
    wait()
}

fn wait() -> i32 {
    let _ = std::io::stdin().read(&mut [0; 1]);
    0
}

fn slot() -> Mark {
    Mark::Slot {
        since: Moment::now(),
        pid: rustix::process::getpid(),
    }
}

impl Lab {
    /// Starts someone who wants such a lock on a file that is there, and says `held` when he has it.
    #[track_caller]
    pub fn lock_by_probe(&self, kind: &str, first: i64, length: i64, file: &str) -> Live {
        let mut probe = self.command("probe");
        let [first, length] = [first, length].map(|number| number.to_string());
        probe.args(["keep", kind, &first, &length, file]);
        self.start(probe)
    }
}
