//! The only place that writes to the user: messages on standard error, the story of `--verbose` on standard output,
//! each line behind the name that the program was called by.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

use crate::sys::errno;
use crate::sys::stdio::{self, Stream};

/// Writes for a program of a certain name, and remembers whether standard output took it.
#[derive(Debug)]
pub struct Report {
    name: OsString,
    output: Output,
}

/// What has become of standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// All was written, or there is nobody who reads it.
    Good,
    /// Something could not be written.
    Failed,
}

impl Report {
    /// For a program that was called by this word: the last part of it is its name.
    pub fn new(called: &OsStr) -> Self {
        // By hand: `Path::file_name` touches pages of the program that nothing else on the way to the lock needs.
        let name = called
            .as_bytes()
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default();
        Self {
            name: OsStr::from_bytes(name).to_owned(),
            output: Output::Good,
        }
    }

    /// One message on standard error. If nobody can be told, nobody is.
    pub fn complain(&self, message: impl AsRef<OsStr>) {
        let _ = stdio::write_all(Stream::Error, &self.line(message.as_ref()));
    }

    /// Whole lines on standard error, without the name in front.
    pub fn complain_in_full(&self, lines: impl AsRef<OsStr>) {
        let _ = stdio::write_all(Stream::Error, lines.as_ref().as_bytes());
    }

    /// Where a user who got the words wrong finds the right ones.
    pub fn refer_to_help(&self) {
        let line = [
            b"Try '",
            self.name.as_bytes(),
            b" --help' for more information.\n",
        ]
        .concat();
        let _ = stdio::write_all(Stream::Error, &line);
    }

    /// One line of the story on standard output.
    pub fn tell(&mut self, line: impl AsRef<OsStr>) {
        let line = self.line(line.as_ref());
        self.print(&line);
    }

    /// Bare text on standard output. That a pipe is closed is no failure: whoever reads has read enough.
    pub fn print(&mut self, text: &[u8]) {
        if self.output == Output::Failed {
            return;
        }
        match stdio::write_all(Stream::Output, text) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                self.output = Output::Failed;
                self.complain(format!("write error: {}", errno::text(&error)));
            }
            _ => {}
        }
    }

    /// Whether all that was to be on standard output is there.
    pub fn output(&self) -> Output {
        self.output
    }

    /// A whole line, so that it goes out in one piece and is not torn apart by another process's.
    fn line(&self, message: &OsStr) -> Vec<u8> {
        [self.name.as_bytes(), b": ", message.as_bytes(), b"\n"].concat()
    }
}
