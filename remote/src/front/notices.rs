//! What `flock` sends after the request: that it is stopped, and continued.

/// The lines, of which only the last one counts.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// The beginning of a line.
    unread: Vec<u8>,
    is_stopped: bool,
    /// What the last call has returned.
    was_stopped: bool,
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
    pub(super) fn is_stopped(&mut self) -> bool {
        self.was_stopped = self.is_stopped;
        self.is_stopped
    }

    /// Returns whether that has changed since the last call of either function.
    pub(super) fn has_changed(&mut self) -> bool {
        let was_stopped = std::mem::replace(&mut self.was_stopped, self.is_stopped);
        was_stopped != self.is_stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_reported_once() {
        let mut notices = Notices::default();
        assert!(!notices.has_changed());
        notices.add(b"stopped\n");
        assert!(notices.has_changed());
        assert!(!notices.has_changed());
        notices.add(b"continued\n");
        assert!(!notices.is_stopped());
        assert!(!notices.has_changed());
    }

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
