//! Any command line, its words separated by NUL: a request or a usage message, never a panic.

#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use fdlock::cli;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let words = line.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect::<Vec<_>>();
    let usages = [
        cli::flock::parse(words.clone()).err(),
        cli::loto::parse(words.clone()).err(),
        cli::me_only::parse(words.clone()).err(),
        cli::runlock::parse(words.clone()).err(),
        cli::ulock::parse(words).err(),
    ];
    for usage in usages.into_iter().flatten() {
        assert!(!usage.message().is_empty());
    }
});
