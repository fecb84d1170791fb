//! System calls that neither the standard library nor `rustix` offers in the form needed here, each as a safe type.
//!
//! The only module with `unsafe` and with `libc`. Mechanisms, no policy: nothing here knows what a lock is for.

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
pub mod signal;
pub mod stdio;
pub mod timer;
pub mod user;

use std::io;

/// The result of a C call that returns −1 on error, as a `Result`.
fn check(returned: libc::c_int) -> io::Result<libc::c_int> {
    if returned == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(returned)
    }
}
