//! System calls that neither the standard library nor `rustix` offers in the form needed here, each
//! behind a safe interface, and the parsers for `/proc`.
//!
//! The only module with `unsafe` and `libc`. It has mechanisms, not policy: nothing here knows what
//! a lock is for.

#![allow(unsafe_code)]

pub mod args;
pub mod clock;
pub mod continue_on_exit;
pub mod deferred_signals;
pub mod errno;
pub mod fd;
pub mod filesystem;
pub mod interruptible;
pub mod ofd;
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

/// Converts the result of a C call that returns −1 on error.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
