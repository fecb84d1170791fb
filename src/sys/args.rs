//! The words that a C `main` is handed.

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;

/// The argument vector of a C `main`, name first, byte for byte.
///
/// `std::env::args` is empty under a C `main` with musl: there the standard library fills it in its own start-up only.
///
/// # Safety
///
/// `argv` must point to `argc` pointers to strings that end in NUL, as the C standard (5.1.2.2.1) promises `main`.
pub unsafe fn from_main(argc: c_int, argv: *const *const c_char) -> Vec<OsString> {
    (0..usize::try_from(argc).unwrap_or(0))
        .map(|index| {
            // SAFETY: `index` is below `argc`, and the caller promises that many strings.
            let word = unsafe { CStr::from_ptr(*argv.add(index)) };
            OsStr::from_bytes(word.to_bytes()).to_owned()
        })
        .collect()
}

/// The entry point of a program, which the C library calls: hands the words to the [`Program`](crate::program::Program).
///
/// A C `main` of its own, in a crate with `#![no_main]`: the standard library's start-up opens a closed 0, 1 or 2 on
/// `/dev/null`, so that `flock 0 <&-` would succeed, and ignores `SIGPIPE`, which the command would inherit.
#[macro_export]
macro_rules! c_main {
    ($program:expr) => {
        #[unsafe(no_mangle)]
        extern "C" fn main(
            argc: ::std::ffi::c_int,
            argv: *const *const ::std::ffi::c_char,
        ) -> ::std::ffi::c_int {
            // SAFETY: the C library calls `main` with its argument vector.
            let words = unsafe { $crate::sys::args::from_main(argc, argv) };
            $program.main(words).into()
        }
    };
}
