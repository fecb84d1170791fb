//! Numbers as `flock` has always read them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// A decimal number: leading blanks, a sign and zeros are accepted (`" 8"`, `+8`, `08`); nothing may follow.
pub fn decimal(word: &OsStr) -> Option<i64> {
    let (negative, digits) = signed(word.as_bytes());
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_i64, |value, byte| {
        let digit = i64::from((*byte as char).to_digit(10)?);
        let value = value.checked_mul(10)?;
        if negative {
            value.checked_sub(digit)
        } else {
            value.checked_add(digit)
        }
    })
}

/// A count of bytes: decimal, octal (`0…`) or hexadecimal (`0x…`), with a suffix or none: K, M, G, T, P, E, also
/// written KiB and so on, are powers of 1024; KB and so on are powers of 1000.
pub fn size(word: &OsStr) -> Option<i64> {
    let (negative, rest) = signed(word.as_bytes());
    let (radix, rest) = match rest {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest),
        [b'0', ..] => (8, rest),
        _ => (10, rest),
    };
    let end = rest
        .iter()
        .position(|byte| !(*byte as char).is_digit(radix))
        .unwrap_or(rest.len());
    let (digits, suffix) = rest.split_at(end);
    if negative || digits.is_empty() {
        return None;
    }
    let number = i64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()?;
    let (letter, base) = match suffix {
        [] => return Some(number),
        [letter] | [letter, b'i', b'B'] => (letter, 1024_i64),
        [letter, b'B'] => (letter, 1000),
        _ => return None,
    };
    let power = b"KMGTPE"
        .iter()
        .position(|known| *known == letter.to_ascii_uppercase())?
        + 1;
    number.checked_mul(base.checked_pow(power as u32)?)
}

/// Leading blanks as isspace(3) knows them, then a sign.
pub fn signed(word: &[u8]) -> (bool, &[u8]) {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = word
        .iter()
        .position(|byte| !blank(byte))
        .unwrap_or(word.len());
    match &word[start..] {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn blanks_signs_and_zeros_may_lead_and_nothing_may_follow() {
        for (word, number) in [
            (" 8", Some(8)),
            ("+8", Some(8)),
            ("08", Some(8)),
            ("\t-1", Some(-1)),
        ] {
            assert_eq!(decimal(OsStr::new(word)), number, "{word:?}");
        }
        for word in [
            "",
            " ",
            "8x",
            "8 ",
            "0x8",
            "+-8",
            "9223372036854775808",
            "é",
        ] {
            assert_eq!(decimal(OsStr::new(word)), None, "{word:?}");
        }
        assert_eq!(decimal(OsStr::new("-9223372036854775808")), Some(i64::MIN));
    }

    #[test]
    fn sizes_have_three_radices_and_two_families_of_suffixes() {
        let good = [
            ("10", 10),
            ("010", 8),
            ("0x10", 16),
            ("1K", 1024),
            ("1KiB", 1024),
            ("2KB", 2000),
            ("1m", 1 << 20),
        ];
        for (word, number) in
            good.into_iter()
                .chain([("0", 0), ("7E", 7 << 60), ("0x1FK", 31 * 1024)])
        {
            assert_eq!(size(OsStr::new(word)), Some(number), "{word:?}");
        }
        for word in [
            "", "K", "-1", "1.5K", "1Kb", "1KiBs", "8E", "0x", "09", "1B", "1i", "1 K",
        ] {
            assert_eq!(size(OsStr::new(word)), None, "{word:?}");
        }
    }

    proptest! {
        #[test]
        fn every_number_is_read_as_it_is_written(number: i64) {
            prop_assert_eq!(decimal(OsStr::new(&number.to_string())), Some(number));
        }

        #[test]
        fn every_size_is_read_in_every_radix(number in 0..=i64::MAX) {
            for word in [format!("{number}"), format!("0{number:o}"), format!("0x{number:x}")] {
                prop_assert_eq!(size(OsStr::new(&word)), Some(number));
            }
        }

        #[test]
        fn no_word_is_too_odd(word: Vec<u8>) {
            let word = OsStr::from_bytes(&word);
            decimal(word);
            size(word);
        }
    }
}
