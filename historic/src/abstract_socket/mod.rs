//! Locks that are names: abstract socket addresses, each of which the kernel gives to one socket at
//! a time.
//!
//! There is no file, and nothing that could be left behind: the name becomes free when the last
//! process that has the socket exits, however it exits. Names are local to the network namespace.

mod name;
mod owner;

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use crate::error::Error;
use fdlock::lock::{Acquired, Refusal};
use fdlock::sys::fd::dup_above_stderr;

pub use name::Name;
pub use owner::owner;

/// A name that is held until the guard is dropped and all processes that inherited it have exited.
#[derive(Debug)]
pub struct SocketGuard {
    _sockets: Vec<OwnedFd>,
}

/// Acquires the name, without waiting.
///
/// The sockets get the lowest free descriptors above 2, and a command that is executed inherits
/// them: killing this process alone does not allow a second instance beside the command.
///
/// *Race:* of all processes that want a name, bind(2) gives each address to one socket. A process
/// that wants only one of the two addresses gets it or does not. If two of our processes want both,
/// the one that does not get the first address does not try the second. So they cannot both win,
/// nor can each of them get one address and block the other, as they could if they started at
/// different ends. A process that gets the first address and finds the second one in use releases
/// the first. In the meantime it may have caused others to be refused, but they had to be refused
/// anyway, because the holder of the second address is running.
///
/// *Race:* the kernel closes the sockets of an exiting holder one after the other. A process that
/// tries to acquire the name in between finds one of them still in use, by a process that has
/// indeed not quite exited. By the time that the holder's parent learns of the exit, both are free.
///
/// # Errors
///
/// No socket could be created, or bind(2) failed although no other process holds the name.
///
/// # References
///
/// unix(7), socket(2), bind(2).
pub fn acquire(name: &Name) -> Result<Acquired<SocketGuard>, Error> {
    acquire_with(name, || {})
}

/// Does the same and calls `between` before it binds the second address, once it has bound the
/// first.
fn acquire_with(name: &Name, mut between: impl FnMut()) -> Result<Acquired<SocketGuard>, Error> {
    let bind_error = |errno: Errno| Error::Bind(name.as_os_str().to_owned(), errno.into());
    let mut sockets = Vec::new();
    for address in name.addresses() {
        let address = SocketAddrUnix::new_abstract_name(&address).map_err(bind_error)?;
        let socket = create_socket().map_err(|errno| Error::Socket(errno.into()))?;
        if !sockets.is_empty() {
            between();
        }
        match rustix::net::bind(&socket, &address) {
            Ok(()) => sockets.push(socket),
            Err(Errno::ADDRINUSE) => return Ok(Acquired::NotHeld(Refusal::WouldBlock)),
            Err(errno) => return Err(bind_error(errno)),
        }
    }
    Ok(Acquired::Held(SocketGuard { _sockets: sockets }))
}

/// Creates a socket of the type that all programs use for this: sockets of different types do not
/// compete for names.
///
/// It does not listen. If it did, a process that is refused could connect to ask for the owner; but
/// no process would ever accept the connection, and each one would stay in the kernel for as long
/// as the name is held, until the backlog is full and there are no more answers.
fn create_socket() -> Result<OwnedFd, Errno> {
    rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).and_then(dup_above_stderr)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Acquired<()> = Acquired::NotHeld(Refusal::WouldBlock);

    /// A name that no other test uses, as long as the directory exists.
    fn unused_name() -> (tempfile::TempDir, Name) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let name = Name::new(dir.path().as_os_str()).expect("a valid name");
        (dir, name)
    }

    fn acquired(result: Result<Acquired<SocketGuard>, Error>) -> Acquired<()> {
        result.expect("no error").map(drop)
    }

    #[test]
    fn the_first_address_is_released_without_the_second() {
        let (_dir, name) = unused_name();
        let address = |bytes: &[u8]| SocketAddrUnix::new_abstract_name(bytes).expect("an address");
        let [padded, exact] = &name.addresses()[..] else {
            panic!("two addresses")
        };
        let holder = create_socket().expect("a socket");
        rustix::net::bind(&holder, &address(exact)).expect("the address is free");
        assert_eq!(acquired(acquire(&name)), REFUSED);
        let other = create_socket().expect("a socket");
        assert_eq!(rustix::net::bind(&other, &address(padded)), Ok(()));
    }

    #[test]
    fn only_one_of_two_simultaneous_calls_gets_the_name() {
        let (_dir, name) = unused_name();
        let mut second = None;
        let first = acquire_with(&name, || {
            let result = acquire_with(&name, || panic!("the first address is in use"));
            second = Some(acquired(result));
        });
        assert_eq!(acquired(first), Acquired::Held(()));
        assert_eq!(second, Some(REFUSED));
    }
}
