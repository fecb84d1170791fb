//! Timeouts in arguments.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::number;

/// Parses a timeout: seconds, which may have a fraction (`5`, `0.5`, `.5`, `1.`, `1e1`) with a
/// decimal point in every locale, or a duration with units (`150ms`, `1m30s`, `2h`). Returns `None`
/// if it is negative, not a number, or exceeds the range of a clock.
pub fn parse(arg: &OsStr) -> Option<Duration> {
    let (negative, rest) = number::signed(arg.as_bytes());
    let text = std::str::from_utf8(rest).ok()?;
    if negative {
        return None;
    }
    let is_numeric = |byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    if !text.bytes().all(is_numeric) {
        let time = humantime::parse_duration(text).ok();
        return time.filter(|time| time.as_secs() <= i64::MAX as u64);
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let seconds = text.parse::<f64>().ok();
    Duration::try_from_secs_f64(seconds.filter(|seconds| *seconds < i64::MAX as f64)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn seconds_and_durations_with_units_are_parsed() {
        for (arg, millis) in [
            ("0", 0),
            ("5", 5000),
            ("0.5", 500),
            (".5", 500),
            ("1.", 1000),
            ("1e1", 10_000),
            ("1E-1", 100),
            (" 2", 2000),
            ("+2", 2000),
            ("002", 2000),
            ("150ms", 150),
            ("1m30s", 90_000),
            ("1m 30s", 90_000),
            ("2h", 7_200_000),
            ("5s", 5000),
        ] {
            let time = Duration::from_millis(millis);
            assert_eq!(parse(OsStr::new(arg)), Some(time), "{arg:?}");
        }
    }

    #[test]
    fn other_arguments_are_rejected() {
        for arg in [
            "", " ", ".", "-1", "nan", "inf", "infinity", "NaN", "1e400", "1e19", "0x10", "1,5",
            "x", "5x", "e5", "+-1", "--1", "1e", "1e+", "1.2.3", "- 1", "5 6",
        ] {
            assert_eq!(parse(OsStr::new(arg)), None, "{arg:?}");
        }
        assert_eq!(parse(OsStr::new("99999999999999999999y")), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(arg: Vec<u8>) {
            parse(OsStr::from_bytes(&arg));
        }

        #[test]
        fn whole_seconds_are_exact(seconds in 0..1_u64 << 53) {
            prop_assert_eq!(parse(OsStr::new(&seconds.to_string())), Some(Duration::from_secs(seconds)));
        }
    }
}
