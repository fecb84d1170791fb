//! `flock`: locks in shell scripts.
//!
//! A C `main` of its own: the standard library's start-up opens a closed 0, 1 or 2 on `/dev/null`, so that
//! `flock 0 <&-` would succeed, and ignores `SIGPIPE`, which the command would inherit.

#![no_main]
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int};

use fdlock::cli::flock::{PAGE, parse};
use fdlock::perform::perform;
use fdlock::program::Program;
use fdlock::sys::args;

/// The entry point that the C library calls.
#[unsafe(no_mangle)]
extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: the C library calls `main` with its argument vector.
    let words = unsafe { args::from_main(argc, argv) };
    Program {
        page: &PAGE,
        parse,
        perform,
    }
    .main(words)
    .into()
}
