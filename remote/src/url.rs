//! What the URLs of all systems have in common: hosts, ports and names.

use crate::net::error as net;

/// The longest name of a lock.
const MAX_NAME: usize = 200;

/// Why a URL or a setting cannot be used: an exit status and a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The exit status.
    pub status: u8,
    /// The reason.
    pub text: String,
}

impl Invalid {
    /// Returns the error that the URL is invalid.
    pub fn url(text: &str) -> Self {
        let (status, text) = (64, text.to_owned());
        Self { status, text }
    }

    /// Converts an error in the files that TLS needs.
    pub fn from_tls(error: net::Error) -> Self {
        let text = match error {
            net::Error::Unsuitable(text)
            | net::Error::Denied(text)
            | net::Error::NotReached(text) => text,
            net::Error::Released => String::new(),
        };
        let status = 65;
        Self { status, text }
    }
}

#[cfg(test)]
impl Invalid {
    /// Asserts what is wrong, of which the text is a part.
    #[track_caller]
    pub fn assert_is(&self, status: u8, text: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        assert!(self.text.contains(text), "{}", self.text);
    }
}

/// Parses `HOST[:PORT]`. An IPv6 address has colons of its own, and therefore brackets. Returns
/// `None` if it is invalid.
pub fn host_and_port(text: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            let port = rest.strip_prefix(':').or((!rest.is_empty()).then_some("x"));
            (host, port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_decimal = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
    let port = match port {
        None => default_port,
        Some(port) => Some(port).filter(is_decimal)?.parse().ok()?,
    };
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
    let is_valid = !host.is_empty() && host.chars().all(is_allowed);
    is_valid.then(|| (host.to_owned(), port))
}

/// Returns how a host and its port are written.
pub fn authority(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// Returns the name of a lock if it is valid.
///
/// # Errors
///
/// It is not.
pub fn check_name(name: &[u8]) -> Result<&[u8], Invalid> {
    match name {
        name if name.len() > MAX_NAME => Err(Invalid::url("its name is longer than 200 bytes")),
        // Both would separate parameters, which do not exist as yet.
        name if name.iter().any(|byte| b"?#".contains(byte)) => {
            Err(Invalid::url("a name must not contain ? or #"))
        }
        name => Ok(name),
    }
}
