//! Timeouts in arguments.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::number;

/// Parses a timeout: seconds, which may have a fraction (`5`, `0.5`, `.5`, `1.`, `1e1`) with a decimal
/// point in every locale, or a duration with units (`150ms`, `1m30s`, `2h`). Returns `None` if it is
/// negative, not a number, or exceeds the range of a clock.
pub fn parse(arg: &OsStr) -> Option<Duration> {
    let (negative, rest) = number::signed(arg.as_bytes());
    let text = std::str::from_utf8(rest).ok()?;
    if negative {
        return None;
    }
    if !text
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
    {
        return humantime::parse_duration(text)
            .ok()
            .filter(|time| time.as_secs() <= i64::MAX as u64);
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let seconds = text
        .parse::<f64>()
        .ok()
        .filter(|seconds| *seconds < i64::MAX as f64)?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn seconds_may_have_fractions_and_exponents() {
        let good = [
            ("0", 0),
            ("5", 5000),
            ("0.5", 500),
            (".5", 500),
            ("1.", 1000),
            ("1e1", 10_000),
            ("1E-1", 100),
        ];
        for (arg, millis) in good
            .into_iter()
            .chain([(" 2", 2000), ("+2", 2000), ("002", 2000)])
        {
            assert_eq!(
                parse(OsStr::new(arg)),
                Some(Duration::from_millis(millis)),
                "{arg:?}"
            );
        }
    }

    #[test]
    fn people_may_write_as_they_speak() {
        for (arg, millis) in [
            ("150ms", 150),
            ("1m30s", 90_000),
            ("1m 30s", 90_000),
            ("2h", 7_200_000),
            ("5s", 5000),
        ] {
            assert_eq!(
                parse(OsStr::new(arg)),
                Some(Duration::from_millis(millis)),
                "{arg:?}"
            );
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let bad = [
            "", " ", ".", "-1", "nan", "inf", "infinity", "NaN", "1e400", "1e19", "0x10", "1,5",
            "x", "5x", "e5",
        ];
        for arg in bad.into_iter().chain([
            "+-1",
            "--1",
            "1e",
            "1e+",
            "1.2.3",
            "99999999999999999999y",
            "- 1",
            "5 6",
        ]) {
            assert_eq!(parse(OsStr::new(arg)), None, "{arg:?}");
        }
    }

    proptest! {
        #[test]
        fn no_word_is_too_odd(arg: Vec<u8>) {
            parse(OsStr::from_bytes(&arg));
        }

        #[test]
        fn whole_seconds_are_exact(seconds in 0..1_u64 << 53) {
            prop_assert_eq!(parse(OsStr::new(&seconds.to_string())), Some(Duration::from_secs(seconds)));
        }
    }
}
