//! System calls that neither the standard library nor `rustix` offers in the form needed here, each
//! behind a safe interface, and the parsers for `/proc`.
//!
//! The only module with `unsafe` and `libc`. It has mechanisms, not policy: nothing here knows what
//! a lock is for.

#![allow(unsafe_code)]

pub mod alarm;
pub mod arena;
pub mod args;
pub mod clock;
pub mod companion;
pub mod continue_on_exit;
pub mod deferred_signals;
pub mod delegate;
pub mod environment;
pub mod errno;
mod execve;
pub mod fd;
pub mod filesystem;
pub mod init_signals;
pub mod interruptible;
pub mod ofd;
pub mod pidfd;
pub mod process;
pub mod procfs;
pub mod sentinel;
pub mod shared_memory;
pub mod signal;
pub mod spawn;
pub mod stdio;
pub mod timer;
pub mod user;

use std::io;

use rustix::io::Errno;

/// Converts the result of a C call that returns −1 on error.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// How often a call that does not block is repeated. Signals do not arrive that often in a row, but
/// a broken file server could report them forever.
const MAX_INTERRUPTIONS: u32 = 1000;

/// Repeats a call that does not block as long as a signal interrupts it, within reason: it says
/// nothing about the result. File systems that ask a server (NFS, FUSE) can be interrupted.
pub fn repeat_if_interrupted<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    for _ in 0..MAX_INTERRUPTIONS {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
    Err(Errno::INTR)
}
