//! What the helper sends to the guards.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::remote::protocol::{LineReader, Message};

/// Reads the helper's messages. A line leaves the socket only after it was handled, so that one that
/// this process has read when it is killed is read by the next one.
pub(super) struct Messages {
    /// What was read before, or the beginning of a line.
    lines: LineReader,
    /// Whether the helper is connected and has conformed to the protocol so far.
    is_helper_alive: bool,
    /// Whether the first line may lack its beginning.
    may_be_cut: bool,
}

impl Messages {
    /// Starts after what has been read already.
    pub fn new(lines: LineReader) -> Self {
        Self {
            lines,
            is_helper_alive: true,
            may_be_cut: false,
        }
    }

    /// Starts where another process has read before, which may have taken the beginning of a line.
    pub fn after_another_reader() -> Self {
        Self {
            may_be_cut: true,
            ..Self::new(LineReader::default())
        }
    }

    /// Returns whether there can be any more.
    pub fn are_expected(&self) -> bool {
        self.is_helper_alive
    }

    /// Calls `handle` with all messages that have arrived. It returns false if the message is not
    /// in its place, and then nothing counts any more.
    pub fn read(&mut self, helper: BorrowedFd<'_>, handle: &mut dyn FnMut(Message) -> bool) {
        self.handle_lines(handle);
        while self.is_helper_alive {
            let mut buffer = [0; 4096];
            let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
            let length = match recv(helper, &mut buffer, flags) {
                Ok((0, _)) => 0,
                Ok((length, _)) => length,
                Err(Errno::AGAIN | Errno::INTR) => return,
                Err(_) => 0,
            };
            self.is_helper_alive = length > 0 && self.lines.add(&buffer[..length]);
            self.handle_lines(handle);
            // No other process reads at the same time.
            let _ = recv(helper, &mut buffer[..length], RecvFlags::DONTWAIT);
        }
    }

    fn handle_lines(&mut self, handle: &mut dyn FnMut(Message) -> bool) {
        while self.is_helper_alive
            && let Some(line) = self.lines.next_line()
        {
            let is_valid = Message::parse(&line).is_some_and(&mut *handle);
            self.is_helper_alive = is_valid || self.may_be_cut;
            self.may_be_cut = false;
        }
    }
}
