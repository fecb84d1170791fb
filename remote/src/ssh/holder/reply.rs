//! The lines that are sent to the client.

use std::io::{self, Write};

/// Sends a line. If the connection has ended, that is noticed when it is read.
pub(super) fn send(line: &str) {
    let is_control = |c: char| c.is_control();
    let line = line.trim().replace(is_control, "?");
    let _ = io::stdout().write_all(format!("{line}\n").as_bytes());
}
