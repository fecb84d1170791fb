//! Any command line, its words separated by NUL: a request or a usage message, never a panic.

#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let words = line.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect();
    if let Err(usage) = fdlock::cli::flock::parse(words) {
        assert!(!usage.message().is_empty());
    }
});
