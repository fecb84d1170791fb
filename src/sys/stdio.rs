//! Writing to standard output and standard error.

use std::io;

use rustix::fd::BorrowedFd;

use super::signal::{self, SignalSet};

/// Where text for the user goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Descriptor 1.
    Output,
    /// Descriptor 2.
    Error,
}

/// write(2) until all is written, without a buffer.
///
/// A pipe that nobody reads is `EPIPE` and not a `SIGPIPE`: a message that nobody wants to hear is no reason to die
/// with a lock held or a command still to run. The caller's disposition of `SIGPIPE`, which the command inherits, is
/// not touched.
///
/// # Errors
///
/// Those of write(2); `EBADF` when the stream is closed.
pub fn write_all(stream: Stream, mut bytes: &[u8]) -> io::Result<()> {
    // SAFETY: not −1; on a closed one, write(2) fails with EBADF.
    let fd = unsafe {
        BorrowedFd::borrow_raw(match stream {
            Stream::Output => libc::STDOUT_FILENO,
            Stream::Error => libc::STDERR_FILENO,
        })
    };
    let pipe = SignalSet::single(libc::SIGPIPE);
    let mask = signal::block(pipe);
    let was_pending = signal::pending().has(libc::SIGPIPE);
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
        signal::take_pending(pipe);
    }
    signal::set_mask(mask);
    result
}
