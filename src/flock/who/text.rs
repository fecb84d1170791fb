//! Times and process names in human-readable output.

use std::time::Duration;

/// Output is printed in pieces of this size: other users' processes determine how much there is.
pub(super) const PIECE_SIZE: usize = 1 << 16;

/// Formats a duration in its two largest units: `3m 12s`.
pub(in crate::flock) fn elapsed(time: Duration) -> String {
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

/// Escapes everything that could affect a terminal or the lines of a table.
pub(in crate::flock) fn escape(bytes: &[u8]) -> String {
    let mut escaped = String::new();
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\n' | '\r' | '\t' | '\\' => escaped.extend(letter.escape_default()),
                _ if letter.is_ascii_control() => escaped += &format!("\\x{:02x}", letter as u32),
                _ if letter.is_control() || is_invisible(letter) => {
                    escaped.extend(letter.escape_unicode());
                }
                _ => escaped.push(letter),
            }
        }
        for byte in chunk.invalid() {
            escaped += &format!("\\x{byte:02x}");
        }
    }
    escaped
}

/// Whether a character is invisible, and changes the direction of text or separates lines.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m 0s"),
            (192, "3m 12s"),
            (7500, "2h 5m"),
            (86_399, "23h 59m"),
            (86_400, "1d 0h"),
            (1_000_000, "11d 13h"),
        ] {
            assert_eq!(elapsed(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn control_and_invalid_bytes_are_escaped() {
        assert_eq!(escape("grün".as_bytes()), "grün");
        assert_eq!(escape(b"a\nb\tc\\d\x1b[2J\x7f"), r"a\nb\tc\\d\x1b[2J\x7f");
        assert_eq!(escape(b"\xff\xc3"), r"\xff\xc3");
        assert_eq!(escape("\u{202e}x\u{85}".as_bytes()), r"\u{202e}x\u{85}");
    }

    proptest! {
        #[test]
        fn no_control_characters_pass(bytes: Vec<u8>) {
            prop_assert!(!escape(&bytes).chars().any(char::is_control));
        }
    }
}
