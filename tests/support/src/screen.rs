//! A terminal emulator, which shows what a person would see.

use std::num::NonZero;
use std::process::Command;
use std::time::Instant;

use rustix::termios::{self, LocalModes};

use crate::process::Process;
use crate::terminal::set_size;
use crate::test_env::TestEnv;
use crate::wait::HANG_TIMEOUT;

/// A process at a terminal, and the screen of that terminal.
pub struct Screen {
    /// The process.
    pub process: Process,
    parser: vt100::Parser,
}

impl Screen {
    /// Starts a command at a terminal of this size.
    #[track_caller]
    pub fn start(env: &TestEnv, mut command: Command, rows: u16, columns: u16) -> Self {
        if command.get_envs().all(|(name, _)| name != "TERM") {
            command.env("TERM", "xterm");
        }
        Self {
            process: env.start_at_screen(command, rows, columns),
            parser: vt100::Parser::new(size(rows), size(columns), 0),
        }
    }

    /// Returns what is on the screen: its lines, without blanks at their ends.
    pub fn text(&self) -> String {
        self.parser.screen().contents()
    }

    /// Returns whether the alternate screen is shown.
    pub fn is_alternate(&self) -> bool {
        self.parser.screen().alternate_screen()
    }

    /// Returns whether the cursor is hidden.
    pub fn is_cursor_hidden(&self) -> bool {
        self.parser.screen().hide_cursor()
    }

    /// Returns whether the terminal echoes what is typed.
    pub fn echoes(&self) -> bool {
        let modes = termios::tcgetattr(self.process.stdin()).expect("a terminal");
        modes.local_modes.contains(LocalModes::ECHO)
    }

    /// Changes the size of the window.
    pub fn resize(&mut self, rows: u16, columns: u16) {
        self.parser.screen_mut().set_size(size(rows), size(columns));
        set_size(self.process.stdin(), rows, columns);
    }

    /// Tells the process another size of the window, without changing the screen.
    pub fn resize_window(&self, rows: u16, columns: u16) {
        set_size(self.process.stdin(), rows, columns);
    }

    /// Waits until the screen is as expected.
    ///
    /// # Panics
    ///
    /// If it does not become so in time, or the process exits before that.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, is_expected: impl Fn(&Self) -> bool) {
        // The screen may go on changing.
        let deadline = Instant::now() + HANG_TIMEOUT;
        while !is_expected(self) {
            let output = self.process.read_some();
            match output.filter(|_| Instant::now() < deadline) {
                Some(output) => self.parser.process(&output),
                None => panic!("not on the screen: {what}\n{}", self.text()),
            }
        }
    }

    /// Waits until the screen contains a text.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        self.wait_until(text, |screen| screen.text().contains(text));
    }

    /// Draws all output until the process exits.
    pub fn draw_rest(&mut self) {
        while let Some(output) = self.process.read_some() {
            self.parser.process(&output);
        }
    }
}

fn size(number: u16) -> NonZero<u16> {
    NonZero::new(number).expect("a screen has lines and columns")
}
