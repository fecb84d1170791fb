//! Numbers in arguments.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Parses a decimal number. Leading blanks, a sign and zeros are accepted (`" 8"`, `+8`, `08`), as
/// in util-linux; trailing characters are not.
pub fn decimal(arg: &OsStr) -> Option<i64> {
    let (negative, digits) = signed(arg.as_bytes());
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

/// Parses a number of bytes: decimal, octal (`0…`) or hexadecimal (`0x…`), with an optional suffix.
/// K, M, G, T, P and E, or KiB and so on, are powers of 1024; KB and so on are powers of 1000.
pub fn size(arg: &OsStr) -> Option<i64> {
    let (negative, rest) = signed(arg.as_bytes());
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

/// Strips leading blanks, as defined by isspace(3), and a sign. Returns whether the sign is a
/// minus.
pub fn signed(arg: &[u8]) -> (bool, &[u8]) {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = arg
        .iter()
        .position(|byte| !is_blank(byte))
        .unwrap_or(arg.len());
    match &arg[start..] {
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
    fn leading_blanks_signs_and_zeros_are_accepted() {
        let min = "-9223372036854775808";
        for (arg, number) in [
            (" 8", 8),
            ("+8", 8),
            ("08", 8),
            ("\t-1", -1),
            (min, i64::MIN),
        ] {
            assert_eq!(decimal(OsStr::new(arg)), Some(number), "{arg:?}");
        }
        for arg in ["", " ", "8x", "8 ", "0x8", "+-8", &min[1..], "é"] {
            assert_eq!(decimal(OsStr::new(arg)), None, "{arg:?}");
        }
    }

    #[test]
    fn sizes_have_radices_and_suffixes() {
        for (arg, number) in [
            ("10", 10),
            ("010", 8),
            ("0x10", 16),
            ("1K", 1024),
            ("1KiB", 1024),
            ("2KB", 2000),
            ("1m", 1 << 20),
            ("0", 0),
            ("7E", 7 << 60),
            ("0x1FK", 31 * 1024),
        ] {
            assert_eq!(size(OsStr::new(arg)), Some(number), "{arg:?}");
        }
        for arg in [
            "", "K", "-1", "1.5K", "1Kb", "1KiBs", "8E", "0x", "09", "1B", "1i", "1 K",
        ] {
            assert_eq!(size(OsStr::new(arg)), None, "{arg:?}");
        }
    }

    proptest! {
        #[test]
        fn every_number_is_parsed(number: i64) {
            prop_assert_eq!(decimal(OsStr::new(&number.to_string())), Some(number));
        }

        #[test]
        fn every_size_is_parsed_in_every_radix(number in 0..=i64::MAX) {
            for arg in [format!("{number}"), format!("0{number:o}"), format!("0x{number:x}")] {
                prop_assert_eq!(size(OsStr::new(&arg)), Some(number));
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(arg: Vec<u8>) {
            let arg = OsStr::from_bytes(&arg);
            decimal(arg);
            size(arg);
        }
    }
}
