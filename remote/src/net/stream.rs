//! A connection over TCP, with or without TLS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::sockopt::{set_tcp_nodelay, socket_error};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, ipproto, socket_with,
};

use super::error::{Error, text_of};
use super::tls;
use crate::front::Front;

/// A connection that never blocks.
#[derive(Debug)]
pub struct Stream {
    tcp: TcpStream,
    tls: Option<tls::Session>,
}

impl Stream {
    /// Connects to an address, without TLS.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn connect(front: &Front, address: SocketAddr, deadline: Duration) -> Result<Self, Error> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let failed = |error: Errno| Error::NotReached(text_of(&error.into()));
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP));
        let socket = socket.map_err(failed)?;
        Self::finish(front, &socket, connect(&socket, &address), deadline)?;
        // Requests are answered one by one, so waiting for more to send only delays them.
        set_tcp_nodelay(&socket, true).map_err(failed)?;
        let tcp = TcpStream::from(socket);
        Ok(Self { tcp, tls: None })
    }

    /// Connects to a socket in the file system.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn connect_unix(front: &Front, path: &Path, deadline: Duration) -> Result<Self, Error> {
        let failed = |error: Errno| Error::NotReached(text_of(&error.into()));
        let address = SocketAddrUnix::new(path).map_err(failed)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let socket = socket.map_err(failed)?;
        Self::finish(front, &socket, connect(&socket, &address), deadline)?;
        // Only the calls of it are used that are the same for all sockets.
        let tcp = TcpStream::from(socket);
        Ok(Self { tcp, tls: None })
    }

    /// Waits until a connection is established.
    fn finish(
        front: &Front,
        socket: &OwnedFd,
        result: Result<(), Errno>,
        deadline: Duration,
    ) -> Result<(), Error> {
        let failed = |error: Errno| Error::NotReached(text_of(&error.into()));
        match result {
            Ok(()) => Ok(()),
            Err(Errno::INPROGRESS | Errno::INTR) => {
                if !front.wait(&[(socket.as_fd(), PollFlags::OUT)], Some(deadline))? {
                    return Err(Error::timed_out());
                }
                socket_error(socket).map_err(failed)?.map_err(failed)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Starts TLS.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn start_tls(&mut self, config: &tls::Config, host: &str) -> Result<(), Error> {
        self.tls = Some(config.start(host)?);
        Ok(())
    }

    /// Returns the descriptor.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }

    /// Reads what has arrived. Returns `None` if that is nothing, and an empty array at the end.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn read(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut buffer = [0; 4096];
        let result = match &mut self.tls {
            None => self.tcp.read(&mut buffer),
            Some(session) => session.read(&mut self.tcp, &mut buffer),
        };
        match result {
            Ok(length) => Ok(Some(buffer[..length].to_vec())),
            Err(error) if is_temporary(&error) => Ok(None),
            // Without the farewell that TLS prescribes.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Some(Vec::new())),
            Err(error) => Err(from_io(&error)),
        }
    }

    /// Writes everything.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn write(&mut self, front: &Front, data: &[u8], deadline: Duration) -> Result<(), Error> {
        let mut rest = data;
        loop {
            let result = match &mut self.tls {
                None if rest.is_empty() => return Ok(()),
                None => self.tcp.write(rest),
                Some(session) => session.write(&mut self.tcp, rest),
            };
            match result {
                Ok(length) => {
                    rest = &rest[length..];
                    let is_sent = |session: &tls::Session| !session.has_unsent_data();
                    if rest.is_empty() && self.tls.as_ref().is_none_or(is_sent) {
                        return Ok(());
                    }
                }
                Err(error) if is_temporary(&error) => {
                    // A handshake waits for the other end, too.
                    let flags = match &self.tls {
                        Some(session) if !session.has_unsent_data() => PollFlags::IN,
                        _ => PollFlags::OUT,
                    };
                    if !front.wait(&[(self.tcp.as_fd(), flags)], Some(deadline))? {
                        return Err(Error::timed_out());
                    }
                }
                Err(error) => return Err(from_io(&error)),
            }
        }
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// Converts an error of the system, or one of TLS.
fn from_io(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::closed(),
        _ => tls::classify(error).unwrap_or_else(|| Error::NotReached(text_of(error))),
    }
}
