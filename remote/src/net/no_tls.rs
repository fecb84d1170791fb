//! TLS, in a build without it: it cannot be used.

use std::io;
use std::net::TcpStream;

use super::error::Error;

/// Nothing, as there is no session.
#[derive(Debug)]
pub enum Session {}

/// The settings of TLS, which do not matter.
#[derive(Clone, Debug)]
pub struct Config;

impl Config {
    /// Reports that there is no TLS.
    ///
    /// # Errors
    ///
    /// Always.
    pub fn from_files(_: Option<&str>, _: Option<(&str, &str)>) -> Result<Self, Error> {
        let text = "this helper was built without TLS";
        Err(Error::Unsuitable(text.to_owned()))
    }

    /// Never called, as there are no settings.
    ///
    /// # Errors
    ///
    /// Always.
    pub fn start(&self, _: &str) -> Result<Session, Error> {
        Err(Error::Unsuitable(String::new()))
    }
}

impl Session {
    /// Never called, as there is no session.
    ///
    /// # Errors
    ///
    /// None.
    pub fn read(&mut self, _: &mut TcpStream, _: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }

    /// Never called, as there is no session.
    ///
    /// # Errors
    ///
    /// None.
    pub fn write(&mut self, _: &mut TcpStream, _: &[u8]) -> io::Result<usize> {
        match *self {}
    }

    /// Never called, as there is no session.
    pub fn has_unsent_data(&self) -> bool {
        match *self {}
    }
}

/// Returns `None`: no error is one of TLS.
pub fn classify(_: &io::Error) -> Option<Error> {
    None
}
