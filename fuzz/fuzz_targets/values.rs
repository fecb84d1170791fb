//! Any value for each option that takes one: the parsers of numbers, sizes and durations.

#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    let value = OsString::from_vec(value.to_vec());
    for option in ["-w", "-E", "--start", "--length", "--fd"] {
        let _ = fdlock::flock::args::parse(vec![option.into(), value.clone(), "8".into(), "true".into()]);
    }
    let _ = fdlock::flock::args::parse(vec!["--".into(), value]);
});
