//! Waiting for descriptors.

use std::io;

use rustix::event::{PollFd, poll};
use rustix::io::Errno;

/// Waits until one of the descriptors is ready.
pub(super) fn wait(fds: &mut [PollFd<'_>]) -> io::Result<()> {
    loop {
        match poll(fds, None) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
