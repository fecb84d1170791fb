//! Times and words, for people.

use std::time::Duration;

/// The two largest units, as `3m 12s`.
pub(super) fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')];
    let first = units.iter().position(|(unit, _)| seconds >= *unit);
    let (unit, letter) = units[first.unwrap_or(3)];
    let whole = format!("{}{letter}", seconds / unit);
    match units.get(first.unwrap_or(3) + 1) {
        None => whole,
        Some((next, letter)) => format!("{whole} {}{letter}", seconds % unit / next),
    }
}

/// Text that does nothing to a terminal or to the lines of a table, whatever the bytes are.
pub(super) fn shown(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\n' | '\r' | '\t' | '\\' => shown.extend(letter.escape_default()),
                _ if letter.is_ascii_control() => shown += &format!("\\x{:02x}", letter as u32),
                _ if letter.is_control() || is_invisible(letter) => {
                    shown.extend(letter.escape_unicode());
                }
                _ => shown.push(letter),
            }
        }
        for byte in chunk.invalid() {
            shown += &format!("\\x{byte:02x}");
        }
    }
    shown
}

/// What changes the order of letters or separates lines, and cannot be seen.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_is_told_in_two_units() {
        for (seconds, told) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m 0s"),
            (192, "3m 12s"),
            (7500, "2h 5m"),
            (86_399, "23h 59m"),
            (86_400, "1d 0h"),
            (1_000_000, "11d 13h"),
        ] {
            assert_eq!(elapsed(Duration::from_secs(seconds)), told);
        }
    }

    #[test]
    fn what_is_no_text_is_shown_as_what_it_is() {
        assert_eq!(shown("grün".as_bytes()), "grün");
        assert_eq!(shown(b"a\nb\tc\\d\x1b[2J\x7f"), r"a\nb\tc\\d\x1b[2J\x7f");
        assert_eq!(shown(b"\xff\xc3"), r"\xff\xc3");
        assert_eq!(shown("\u{202e}x\u{85}".as_bytes()), r"\u{202e}x\u{85}");
    }

    proptest! {
        #[test]
        fn no_bytes_get_through_that_are_no_letters(bytes: Vec<u8>) {
            prop_assert!(!shown(&bytes).chars().any(char::is_control));
        }
    }
}
