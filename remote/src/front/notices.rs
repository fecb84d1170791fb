//! What `flock` sends after the request: that it is stopped, and continued.

/// The lines, of which only the last one counts.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// The beginning of a line.
    unread: Vec<u8>,
    is_stopped: bool,
}

impl Notices {
    /// Adds what was read. Unknown lines are ignored.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte != b'\n' {
                self.unread.push(*byte);
                continue;
            }
            match self.unread.as_slice() {
                b"stopped" => self.is_stopped = true,
                b"continued" => self.is_stopped = false,
                _ => {}
            }
            self.unread.clear();
        }
    }

    /// Returns whether `flock` is stopped.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        let mut notices = Notices::default();
        for (bytes, is_stopped) in [
            ("stop", false),
            ("ped\n", true),
            ("more\n", true),
            ("continued\nsto", false),
            ("pped\ncontinued", true),
            ("\n", false),
        ] {
            notices.add(bytes.as_bytes());
            assert_eq!(notices.is_stopped(), is_stopped, "{bytes:?}");
        }
    }
}
