//! A lock that is a name: an abstract socket address, which the kernel gives to one socket at a time.
//!
//! There is no file and nothing that can be left behind: the name is free when the last process that has the socket is
//! gone, however it went. It is a name within the network namespace.

mod owner;

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use fdlock::lock::Error;
use fdlock::sys::fd::dup_above_stderr;

pub use owner::holder;

/// A name that the kernel can own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(OsString);

impl Name {
    /// How many bytes a name can have: `sun_path` without the NUL that makes it abstract.
    pub const MAX: usize = 107;

    /// `None` when it has no bytes, or more than [`Name::MAX`]: to cut it off would make two names one.
    pub fn new(name: &OsStr) -> Option<Self> {
        (1..=Self::MAX)
            .contains(&name.as_bytes().len())
            .then(|| Self(name.to_owned()))
    }

    /// The name, as given.
    pub fn as_os_str(&self) -> &OsStr {
        &self.0
    }

    /// The addresses that mean this name, in the order in which they are taken.
    ///
    /// There are two, as the kernel compares addresses with their lengths: filled up with NULs, as a C program has it
    /// that binds a whole `struct sockaddr_un` (the first `me-only` was one), and exactly as long as the name, as
    /// Python, Perl and socat have it. A name of all the bytes that there can be has only one.
    ///
    /// The first `me-only` took only the first 8 bytes of a longer name, so with it ours agrees on names of up to 8.
    fn addresses(&self) -> Vec<Vec<u8>> {
        let exact = self.0.as_bytes().to_owned();
        let mut padded = exact.clone();
        padded.resize(Self::MAX, 0);
        let mut addresses = vec![padded, exact];
        addresses.dedup();
        addresses
    }
}

/// A name that is ours until this is dropped and all who have inherited it are gone.
#[derive(Debug)]
pub struct Held {
    _sockets: Vec<OwnedFd>,
}

/// Takes the name. `None` when somebody else has it.
///
/// The sockets take the lowest free descriptors above 2, and a command that is executed inherits them: whoever kills
/// this process alone does not let a second instance in beside the command.
///
/// *The race:* all who want the name race each other, and bind(2) gives an address to one socket of all. Who wants one
/// address only has it or has not. Of two of us, who want both, the loser of the first does not touch the second. So
/// they can neither both win nor each get in the other's way, as they could if they began at different ends. Who gets
/// the first and finds the second taken gives the first back. In the meantime others may have been refused because of
/// him; but they had to be, for the holder of the second runs.
///
/// *The other race:* a holder's end. The kernel closes its sockets one by one, and whoever comes in between finds one
/// of them still taken, by a process that is indeed not quite gone. By the time that its parent hears of its end, both
/// are free.
///
/// # Errors
///
/// There is no socket to be had, or bind(2) fails although nobody else has the name.
///
/// # References
///
/// unix(7), socket(2), bind(2).
pub fn acquire(name: &Name) -> Result<Option<Held>, Error> {
    acquire_by(name, || {})
}

/// The same with something done before the second address is asked for, once the first is ours.
fn acquire_by(name: &Name, mut between: impl FnMut()) -> Result<Option<Held>, Error> {
    let failed = |error: Errno| Error::Bind {
        name: name.0.clone(),
        error: error.into(),
    };
    let mut sockets = Vec::new();
    for address in name.addresses() {
        let address = SocketAddrUnix::new_abstract_name(&address).map_err(failed)?;
        let socket = socket().map_err(|error| Error::Socket(error.into()))?;
        if !sockets.is_empty() {
            between();
        }
        match rustix::net::bind(&socket, &address) {
            Ok(()) => sockets.push(socket),
            Err(Errno::ADDRINUSE) => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(Some(Held { _sockets: sockets }))
}

/// Of the type that everybody uses: sockets of different types do not see each other's names.
///
/// It does not listen. If it did, whoever is refused could connect and ask who is there; but nobody would ever accept
/// that connection, and each would stay in the kernel for as long as the name is held, until the queue is full and
/// there are no more answers.
fn socket() -> Result<OwnedFd, Errno> {
    dup_above_stderr(rustix::net::socket(
        AddressFamily::UNIX,
        SocketType::STREAM,
        None,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_two_addresses_unless_it_fills_one() {
        let addresses = |length: usize| {
            let name = Name::new("x".repeat(length).as_ref()).expect("a name");
            name.addresses()
        };
        let lengths = |length| addresses(length).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(1), [107, 1]);
        assert_eq!(lengths(106), [107, 106]);
        assert_eq!(lengths(107), [107]);
        assert_eq!(addresses(2)[0][..4], *b"xx\0\0");
    }

    #[test]
    fn who_finds_the_second_address_taken_gives_the_first_back() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let name = Name::new(folder.path().as_os_str()).expect("a name");
        let address = |bytes: &[u8]| SocketAddrUnix::new_abstract_name(bytes).expect("a name");
        let [padded, exact] = &name.addresses()[..] else {
            panic!("two addresses")
        };
        let theirs = socket().expect("a socket");
        rustix::net::bind(&theirs, &address(exact)).expect("nobody has it");
        assert!(matches!(acquire(&name), Ok(None)));
        let others = socket().expect("a socket");
        assert_eq!(rustix::net::bind(&others, &address(padded)), Ok(()));
    }

    #[test]
    fn of_two_who_ask_at_once_one_gets_the_name() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let name = Name::new(folder.path().as_os_str()).expect("a name");
        let mut other = None;
        let one = acquire_by(&name, || {
            other = Some(acquire_by(&name, || panic!("he has one of the two")));
        });
        assert!(matches!(one, Ok(Some(_))), "{one:?}");
        assert!(matches!(other, Some(Ok(None))), "{other:?}");
    }
}
