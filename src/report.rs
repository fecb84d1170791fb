//! The only place that prints: errors on standard error, results on standard output. Messages start
//! with the name by which the program was called.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

use crate::exit::{self, Exit, ExitError, Statuses};
use crate::sys::errno;
use crate::sys::stdio::{self, Stream};

/// Prints the messages of a program, and records whether standard output could be written.
#[derive(Debug)]
pub struct Report {
    name: OsString,
    output: Output,
}

/// The state of standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Everything was written, or the reader has closed the pipe.
    Good,
    /// Something could not be written.
    Failed,
}

impl Report {
    /// Creates a report for a program that was called by this path. Its last component is the name.
    pub fn new(path: &OsStr) -> Self {
        // `Path::file_name` would touch pages of the program that a waiter does not need otherwise.
        let name = path
            .as_bytes()
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default();
        Self {
            name: OsStr::from_bytes(name).to_owned(),
            output: Output::Good,
        }
    }

    /// Prints a message on standard error. Errors are ignored: there is no other place to report
    /// them.
    pub fn error(&self, message: impl AsRef<OsStr>) {
        let _ = stdio::write_all(Stream::Error, &self.line(message.as_ref()));
    }

    /// Prints whole lines on standard error, without the name.
    pub fn error_raw(&self, lines: impl AsRef<OsStr>) {
        let _ = stdio::write_all(Stream::Error, lines.as_ref().as_bytes());
    }

    /// Prints a reference to `--help` on standard error.
    pub fn hint_help(&self) {
        let line = [
            b"Try '",
            self.name.as_bytes(),
            b" --help' for more information.\n",
        ]
        .concat();
        let _ = stdio::write_all(Stream::Error, &line);
    }

    /// Prints a message on standard output.
    pub fn info(&mut self, line: impl AsRef<OsStr>) {
        let line = self.line(line.as_ref());
        self.print(&line);
    }

    /// Prints text on standard output. A closed pipe is not an error: the reader has read enough.
    pub fn print(&mut self, text: &[u8]) {
        if self.output == Output::Failed {
            return;
        }
        match stdio::write_all(Stream::Output, text) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                self.output = Output::Failed;
                self.error(format!("write error: {}", errno::text(&error)));
            }
            _ => {}
        }
    }

    /// Returns the state of standard output.
    pub fn output(&self) -> Output {
        self.output
    }

    /// Reports the error, if there is one, and returns how to exit. If something that belongs on
    /// standard output could not be written, success becomes a failure.
    pub fn finish<E: ExitError>(&self, statuses: &Statuses, result: Result<Exit, E>) -> Exit {
        let exit = result.unwrap_or_else(|error| {
            self.error(error.message());
            Exit::Status(error.exit_status(statuses))
        });
        match (exit, self.output) {
            (Exit::Status(exit::SUCCESS), Output::Failed) => Exit::Status(statuses.no_output),
            _ => exit,
        }
    }

    /// Returns a whole line, which is written with a single call so that the output of other
    /// processes does not end up in the middle of it.
    fn line(&self, message: &OsStr) -> Vec<u8> {
        [self.name.as_bytes(), b": ", message.as_bytes(), b"\n"].concat()
    }
}
