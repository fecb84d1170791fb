//! Time limits: seconds, or as people write them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::number;

/// Seconds, whole or not (`5`, `0.5`, `.5`, `1.`, `1e1`), whose decimal sign is a point in every locale; or a human
/// duration (`150ms`, `1m30s`, `2h`). `None` for what is negative, no number, or more than a clock can hold.
pub fn parse(word: &OsStr) -> Option<Duration> {
    let (negative, rest) = number::signed(word.as_bytes());
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
    fn seconds_have_every_form_of_the_contract() {
        let good = [
            ("0", 0),
            ("5", 5000),
            ("0.5", 500),
            (".5", 500),
            ("1.", 1000),
            ("1e1", 10_000),
            ("1E-1", 100),
        ];
        for (word, millis) in good
            .into_iter()
            .chain([(" 2", 2000), ("+2", 2000), ("002", 2000)])
        {
            assert_eq!(
                parse(OsStr::new(word)),
                Some(Duration::from_millis(millis)),
                "{word:?}"
            );
        }
    }

    #[test]
    fn people_may_write_as_they_speak() {
        for (word, millis) in [
            ("150ms", 150),
            ("1m30s", 90_000),
            ("1m 30s", 90_000),
            ("2h", 7_200_000),
            ("5s", 5000),
        ] {
            assert_eq!(
                parse(OsStr::new(word)),
                Some(Duration::from_millis(millis)),
                "{word:?}"
            );
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let bad = [
            "", " ", ".", "-1", "nan", "inf", "infinity", "NaN", "1e400", "1e19", "0x10", "1,5",
            "x", "5x", "e5",
        ];
        for word in bad.into_iter().chain([
            "+-1",
            "--1",
            "1e",
            "1e+",
            "1.2.3",
            "99999999999999999999y",
            "- 1",
            "5 6",
        ]) {
            assert_eq!(parse(OsStr::new(word)), None, "{word:?}");
        }
    }

    proptest! {
        #[test]
        fn no_word_is_too_odd(word: Vec<u8>) {
            parse(OsStr::from_bytes(&word));
        }

        #[test]
        fn whole_seconds_are_exact(seconds in 0..1_u64 << 53) {
            prop_assert_eq!(parse(OsStr::new(&seconds.to_string())), Some(Duration::from_secs(seconds)));
        }
    }
}
