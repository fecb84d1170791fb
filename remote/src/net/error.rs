//! Why a connection fails.

use std::io;

use crate::front::Released;

/// Why there is no connection, or not any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// `flock` has closed its connection.
    Released,
    /// The other end is not reached, or does not answer in time.
    NotReached(String),
    /// The other end is not what it should be.
    Unsuitable(String),
    /// The other end refuses us.
    Denied(String),
}

impl From<Released> for Error {
    fn from(_: Released) -> Self {
        Self::Released
    }
}

impl Error {
    /// Returns the error that a deadline has passed.
    pub fn timed_out() -> Self {
        Self::NotReached("it does not answer".to_owned())
    }

    /// Returns the error that the other end has closed the connection.
    pub fn closed() -> Self {
        Self::NotReached("it has closed the connection".to_owned())
    }
}

/// Returns the text of an error without the number that [`io::Error`] appends.
pub fn text_of(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
