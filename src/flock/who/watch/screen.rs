//! The screen of the terminal while the table is on it.

use std::os::fd::BorrowedFd;

use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

use crate::report::Report;
use crate::sys;

/// Switches to the alternate screen, which has no scrollback, and hides the cursor.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l\x1b[2J";

/// Shows the cursor, and switches back to what was on the screen before.
const LEAVE: &[u8] = b"\x1b[?25h\x1b[?1049l";

/// The alternate screen, until it is left.
pub(super) struct Screen<'t> {
    terminal: BorrowedFd<'t>,
    /// The modes of the terminal before.
    modes: Option<Termios>,
}

impl<'t> Screen<'t> {
    /// Shows the alternate screen. What is typed is not echoed, and read key by key; Ctrl-C and
    /// Ctrl-Z still send signals.
    pub fn enter(terminal: BorrowedFd<'t>, report: &mut Report) -> Self {
        let modes = tcgetattr(terminal).ok();
        if let Some(modes) = &modes {
            let mut keys = modes.clone();
            keys.local_modes -= LocalModes::ECHO | LocalModes::ICANON;
            // In the background, this stops the process until it is in the foreground.
            let _ = tcsetattr(terminal, OptionalActions::Now, &keys);
        }
        report.print(ENTER);
        Self { terminal, modes }
    }

    /// Restores what was there before.
    pub fn leave(self, report: &mut Report) {
        report.print(LEAVE);
        if let Some(modes) = &self.modes {
            let _ = tcsetattr(self.terminal, OptionalActions::Now, modes);
        }
    }
}

/// Returns where the user types; `None` if standard input is no terminal.
pub(super) fn keyboard() -> Option<BorrowedFd<'static>> {
    sys::fd::inherited(0).filter(|fd| isatty(fd))
}
