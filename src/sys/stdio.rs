//! Writing to standard output and standard error.

use std::io;

use rustix::fd::BorrowedFd;

use super::signal::{self, SignalSet};

/// A standard stream for output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Descriptor 1.
    Output,
    /// Descriptor 2.
    Error,
}

/// Writes all bytes with write(2), unbuffered.
///
/// A pipe without readers causes the error `EPIPE` and no `SIGPIPE`: an unwanted message is no
/// reason to die while a lock is held or a command has yet to run. The caller's disposition of
/// `SIGPIPE`, which the command inherits, is not changed.
///
/// # Errors
///
/// Those of write(2); `EBADF` if the stream is closed.
pub fn write_all(stream: Stream, mut bytes: &[u8]) -> io::Result<()> {
    // SAFETY: not −1; if it is closed, write(2) fails with EBADF.
    let fd = unsafe {
        BorrowedFd::borrow_raw(match stream {
            Stream::Output => libc::STDOUT_FILENO,
            Stream::Error => libc::STDERR_FILENO,
        })
    };
    let sigpipe = SignalSet::single(libc::SIGPIPE);
    let mask = signal::block(sigpipe);
    let was_pending = signal::pending().contains(libc::SIGPIPE);
    let mut result = Ok(());
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                result = Err(error.into());
                break;
            }
        }
    }
    if !was_pending {
        signal::take_pending(sigpipe);
    }
    signal::set_mask(mask);
    result
}
