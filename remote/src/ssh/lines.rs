//! From bytes to lines.

use std::os::fd::AsFd;

use rustix::io::{Errno, read};

/// The longest line, and the most that is read at once.
const MAX_LINE: usize = 8192;

/// What a read has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There may be more lines now.
    Read,
    /// There will be no more lines: the other end is closed, or a line is too long.
    End,
}

/// Divides what a descriptor delivers into lines.
#[derive(Clone, Debug, Default)]
pub struct LineReader {
    unread: Vec<u8>,
}

impl LineReader {
    /// Reads once. It does not block if poll(2) has reported that there is something to read.
    pub fn read(&mut self, fd: impl AsFd) -> Progress {
        let mut buffer = [0; MAX_LINE];
        if self.unread.len() > MAX_LINE {
            return Progress::End;
        }
        match read(fd, &mut buffer) {
            Ok(0) => Progress::End,
            Ok(length) => {
                self.unread.extend_from_slice(&buffer[..length]);
                Progress::Read
            }
            Err(Errno::AGAIN | Errno::INTR) => Progress::Read,
            Err(_) => Progress::End,
        }
    }

    /// Returns the next line, without its end, if it is complete.
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        let end = self.unread.iter().position(|byte| *byte == b'\n')?;
        let rest = self.unread.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.unread, rest);
        line.pop();
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_divided() {
        let (read_end, write_end) = rustix::pipe::pipe().expect("a pipe");
        let write = |text: &[u8]| rustix::io::write(&write_end, text).expect("a reader");
        let mut lines = LineReader::default();
        write(b"a\nb c\nd");
        assert_eq!(lines.read(&read_end), Progress::Read);
        assert_eq!(lines.next_line().as_deref(), Some(&b"a"[..]));
        assert_eq!(lines.next_line().as_deref(), Some(&b"b c"[..]));
        assert_eq!(lines.next_line(), None);
        write(b"e\n");
        assert_eq!(lines.read(&read_end), Progress::Read);
        assert_eq!(lines.next_line().as_deref(), Some(&b"de"[..]));
        drop(write_end);
        assert_eq!(lines.read(&read_end), Progress::End);
    }

    #[test]
    fn an_endless_line_is_an_end() {
        let (read_end, write_end) = rustix::pipe::pipe().expect("a pipe");
        let mut lines = LineReader::default();
        let mut read = || {
            let _ = rustix::io::write(&write_end, &[0; 4096]).expect("a reader");
            lines.read(&read_end)
        };
        while read() == Progress::Read {}
        assert!(lines.unread.len() <= 2 * MAX_LINE);
    }
}
