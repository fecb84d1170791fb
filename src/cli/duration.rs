//! Timeouts in arguments.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::number;

/// What is printed about the arguments that are accepted.
pub const EXPECTED: &str =
    "expected seconds, e.g. 5 or 0.5, or a duration with the units ms, s, m, h or d, e.g. 1m30s";

/// The units. Others that humantime knows are easily confused: its `M` is a month.
const UNITS: [&str; 15] = [
    "ms",
    "millisecond",
    "milliseconds",
    "s",
    "second",
    "seconds",
    "m",
    "minute",
    "minutes",
    "h",
    "hour",
    "hours",
    "d",
    "day",
    "days",
];

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
        return parse_with_units(text);
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let seconds = text.parse::<f64>().ok();
    Duration::try_from_secs_f64(seconds.filter(|seconds| *seconds < i64::MAX as f64)?).ok()
}

fn parse_with_units(text: &str) -> Option<Duration> {
    let mut words = text.split(|letter: char| !letter.is_alphabetic());
    if !words.all(|word| word.is_empty() || UNITS.contains(&word)) {
        return None;
    }
    // The only one of the words that humantime does not know.
    let text = text
        .replace("milliseconds", "ms")
        .replace("millisecond", "ms");
    let time = humantime::parse_duration(&text).ok();
    time.filter(|time| time.as_secs() <= i64::MAX as u64)
}

/// Returns whether an argument that [`parse()`] rejects probably means "forever": a negative number,
/// as in other programs, or infinity.
pub fn means_forever(arg: &OsStr) -> bool {
    let (negative, rest) = number::signed(arg.as_bytes());
    let is_infinite = rest
        .get(..3)
        .is_some_and(|text| text.eq_ignore_ascii_case(b"inf"));
    is_infinite || negative && rest.first().is_some_and(u8::is_ascii_digit)
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
            ("1millisecond 2milliseconds", 3),
            ("1second 2 seconds", 3000),
            ("1minute 2minutes", 180_000),
            ("1hour 2hours", 10_800_000),
            ("1day 2days 1d", 345_600_000),
            ("1.5h", 5_400_000),
        ] {
            let time = Duration::from_millis(millis);
            assert_eq!(parse(OsStr::new(arg)), Some(time), "{arg:?}");
        }
    }

    #[test]
    fn other_arguments_are_rejected() {
        for arg in [
            "", " ", ".", "-1", "nan", "inf", "infinity", "NaN", "1e400", "1e19", "0x10", "1,5",
            "x", "5x", "5M", "5S", "1w", "1month", "1y", "1us", "1ns", "1min", "1sec", "1hr", "e5",
            "+-1", "--1", "1e", "1e+", "1.2.3", "- 1", "5 6",
        ] {
            assert_eq!(parse(OsStr::new(arg)), None, "{arg:?}");
        }
        assert_eq!(parse(OsStr::new("99999999999999999999y")), None);
    }

    #[test]
    fn negative_and_infinite_arguments_mean_forever() {
        for (arg, expected) in [
            ("-1", true),
            (" -1s", true),
            ("inf", true),
            ("-Infinity", true),
            ("-x", false),
            ("nan", false),
            ("5M", false),
        ] {
            assert_eq!(means_forever(OsStr::new(arg)), expected, "{arg:?}");
        }
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
