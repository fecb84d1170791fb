//! From the name of a host to its addresses.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::pipe::pipe;

use super::error::{Error, text_of};
use crate::front::Front;

/// Returns the addresses of a host, which may be an address itself.
///
/// The resolver of the C library cannot be interrupted, and may take longer than any deadline. So it
/// runs in a thread, which the end of this process ends.
///
/// # Errors
///
/// The name cannot be resolved, or not in time.
pub fn resolve(
    front: &Front,
    host: &str,
    port: u16,
    deadline: Duration,
) -> Result<Vec<SocketAddr>, Error> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let failed = |reason: &str| Error::NotReached(format!("its name is not resolved: {reason}"));
    // The thread's end of the pipe is closed when it has an answer.
    let (end, open) = pipe().map_err(|error| failed(&text_of(&error.into())))?;
    let (sender, receiver) = mpsc::channel();
    let name = host.to_owned();
    std::thread::spawn(move || {
        let addresses = (name.as_str(), port).to_socket_addrs();
        // If the deadline has passed, nothing waits for it any more.
        let _ = sender.send(addresses.map(Vec::from_iter));
        drop(open);
    });
    if !front.wait(&[(end.as_fd(), PollFlags::IN)], Some(deadline))? {
        return Err(failed("no answer"));
    }
    match receiver.try_recv() {
        Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
        Ok(Err(error)) => Err(failed(&text_of(&error))),
        _ => Err(failed("no address")),
    }
}
