//! Any command line, its words separated by NUL: a request or a usage message, never a panic.

#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use fdlock::flock;
use historic::{loto, me_only, runlock, ulock};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let words = line.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect::<Vec<_>>();
    let usages = [
        flock::args::parse(words.clone()).err(),
        loto::args::parse(words.clone()).err(),
        me_only::args::parse(words.clone()).err(),
        runlock::args::parse(words.clone()).err(),
        ulock::args::parse(words).err(),
    ];
    for usage in usages.into_iter().flatten() {
        assert!(!usage.message().is_empty());
    }
});
