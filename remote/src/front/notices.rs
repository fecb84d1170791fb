//! What `flock` sends after the request: that it is stopped, and continued.

use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The lines, of which only the last one counts. One thread of several may read them for all.
#[derive(Debug, Default)]
pub(super) struct Notices {
    lines: Arc<Mutex<Lines>>,
    /// What the last call has returned.
    was_stopped: Cell<bool>,
}

#[derive(Debug, Default)]
struct Lines {
    /// The beginning of a line.
    unread: Vec<u8>,
    is_stopped: bool,
}

impl Notices {
    /// Returns the same lines for another thread, which reads them from now on.
    pub(super) fn for_thread(&self) -> Self {
        Self {
            lines: Arc::clone(&self.lines),
            was_stopped: Cell::new(false),
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what was read. Unknown lines are ignored.
    pub(super) fn add(&self, bytes: &[u8]) {
        let mut lines = self.lines();
        for byte in bytes {
            if *byte != b'\n' {
                lines.unread.push(*byte);
                continue;
            }
            match lines.unread.as_slice() {
                b"stopped" => lines.is_stopped = true,
                b"continued" => lines.is_stopped = false,
                _ => {}
            }
            lines.unread.clear();
        }
    }

    /// Replaces what the last line says.
    pub(super) fn set_stopped(&self, is_stopped: bool) {
        self.lines().is_stopped = is_stopped;
    }

    /// Returns whether `flock` is stopped.
    pub(super) fn is_stopped(&self) -> bool {
        let is_stopped = self.lines().is_stopped;
        self.was_stopped.set(is_stopped);
        is_stopped
    }

    /// Returns whether that has changed since the last call of either function.
    pub(super) fn has_changed(&self) -> bool {
        let was_stopped = self.was_stopped.get();
        self.is_stopped() != was_stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_reported_once() {
        let notices = Notices::default();
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
        let notices = Notices::default();
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
