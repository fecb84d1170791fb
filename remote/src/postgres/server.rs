//! Where a server is.

use std::path::PathBuf;

use crate::url;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At a name or an address, without brackets.
    Host(String),
    /// At a socket in this directory.
    Directory(String),
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it is.
    pub place: Place,
    /// Its port, which is a part of the name of a socket.
    pub port: u16,
}

impl Server {
    /// Creates one at a host, or at the directory of a socket, which begins with a slash.
    pub fn new(place: &str, port: u16) -> Self {
        let place = place.to_owned();
        let place = match place.starts_with('/') {
            true => Place::Directory(place),
            false => Place::Host(place),
        };
        Self { place, port }
    }

    /// Returns how it is written in messages.
    pub fn authority(&self) -> String {
        match &self.place {
            Place::Host(host) => url::authority(host, self.port),
            Place::Directory(_) => self.socket().display().to_string(),
        }
    }

    /// Returns the path of its socket.
    pub fn socket(&self) -> PathBuf {
        let (Place::Host(directory) | Place::Directory(directory)) = &self.place;
        PathBuf::from(directory).join(format!(".s.PGSQL.{}", self.port))
    }
}
