//! What the displays of `--watch` and `--progress` know about a terminal.

use std::os::fd::BorrowedFd;

use rustix::termios::{isatty, tcgetwinsize};

/// The size of a terminal that does not report one, such as a serial line.
const DEFAULT_SIZE: Size = Size {
    rows: 24,
    columns: 80,
};

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub rows: usize,
    pub columns: usize,
}

impl Size {
    /// Returns the current size of a terminal.
    pub fn of(terminal: BorrowedFd<'_>) -> Self {
        let size = tcgetwinsize(terminal).ok();
        let or = |number: u16, default| if number > 0 { number.into() } else { default };
        size.map_or(DEFAULT_SIZE, |size| Self {
            rows: or(size.ws_row, DEFAULT_SIZE.rows),
            columns: or(size.ws_col, DEFAULT_SIZE.columns),
        })
    }
}

/// Returns whether a descriptor is open on a terminal that can move its cursor.
pub(super) fn is_capable(fd: BorrowedFd<'_>) -> bool {
    let term = std::env::var_os("TERM").unwrap_or_default();
    isatty(fd) && !term.is_empty() && term != "dumb"
}

/// Returns how many columns a text takes at most. Characters beyond ASCII may take two.
pub(super) fn width(text: &str) -> usize {
    let columns = |letter: char| if letter.is_ascii() { 1 } else { 2 };
    text.chars().map(columns).sum()
}

/// Returns as much of a text as fits into this many columns.
pub(super) fn fit(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    let too_far = text.char_indices().find(|(_, letter)| {
        taken += width(letter.encode_utf8(&mut [0; 4]));
        taken > columns
    });
    too_far.map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_at_the_last_column() {
        for (text, columns, expected) in [
            ("", 0, ""),
            ("abc", 3, "abc"),
            ("abc", 2, "ab"),
            ("abc", 0, ""),
            ("a\u{1f512}c", 2, "a"),
            ("a\u{1f512}c", 3, "a\u{1f512}"),
        ] {
            assert_eq!(fit(text, columns), expected, "{text} {columns}");
        }
    }
}
