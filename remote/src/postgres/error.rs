//! Why a statement fails, from PostgreSQL's answer.

use crate::front::Released;
use crate::net::error as net;

/// The text for an answer that PostgreSQL would not give.
pub const NOT_UNDERSTOOD: &str = "its answer is not one of PostgreSQL's";

/// Why a statement or a connection fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// `flock` has closed its connection.
    Released,
    /// There is no answer. The statement may have been executed.
    NoAnswer(String),
    /// The table does not exist.
    NoTable,
    /// The server cannot be used: the exit status, and the reason.
    Unusable(u8, String),
}

impl From<Released> for Error {
    fn from(_: Released) -> Self {
        Self::Released
    }
}

impl From<net::Error> for Error {
    fn from(error: net::Error) -> Self {
        match error {
            net::Error::Released => Self::Released,
            net::Error::NotReached(text) => Self::NoAnswer(text),
            net::Error::Unsuitable(text) => Self::Unusable(65, text),
            net::Error::Denied(text) => Self::Unusable(77, text),
        }
    }
}

impl Error {
    /// Returns the error that the answer is not one of PostgreSQL's.
    pub fn not_understood() -> Self {
        Self::Unusable(65, NOT_UNDERSTOOD.to_owned())
    }

    /// Adds the name of the server.
    pub fn at(self, server: &str) -> Self {
        match self {
            Self::NoAnswer(text) => Self::NoAnswer(format!("{server}: {text}")),
            Self::Unusable(status, text) => Self::Unusable(status, format!("{server}: {text}")),
            error => error,
        }
    }
}

/// Interprets an error of the server, from its code (`SQLSTATE`) and its message.
///
/// # References
///
/// PostgreSQL's manual, appendix "PostgreSQL Error Codes".
pub fn of_answer(code: &str, message: &str) -> Error {
    let text = message.to_owned();
    match code {
        "42P01" | "3F000" => Error::NoTable,
        // No entry in pg_hba.conf, or the wrong password; no privilege.
        code if code.starts_with("28") || code == "42501" => Error::Unusable(77, text),
        // Connection failures; conflicts; no resources, which includes connections and space on the
        // disk; an operator, which includes a shutdown, a timeout and a start that has not
        // finished; and errors of the system.
        code if ["08", "40", "53", "57", "58"].contains(&code.get(..2).unwrap_or_default()) => {
            Error::NoAnswer(text)
        }
        _ => Error::Unusable(65, format!("PostgreSQL refuses this: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_interpreted() {
        let unusable = |status, text: &str| Error::Unusable(status, text.to_owned());
        for (code, expected) in [
            ("42P01", Error::NoTable),
            ("28P01", unusable(77, "x")),
            ("42501", unusable(77, "x")),
            ("57P03", Error::NoAnswer("x".to_owned())),
            ("53100", Error::NoAnswer("x".to_owned())),
            ("3D000", unusable(65, "PostgreSQL refuses this: x")),
            ("", unusable(65, "PostgreSQL refuses this: x")),
        ] {
            assert_eq!(of_answer(code, "x"), expected, "{code}");
        }
    }
}
