//! URLs: the operands that name a lock elsewhere.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// What separates the scheme from the rest.
const SEPARATOR: &[u8] = b"://";

/// The longest URL. A request, of which it is a part, must fit into the buffer of a socket.
const MAX_LENGTH: usize = 4000;

/// The URL of a lock elsewhere: `SCHEME://…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    text: OsString,
    scheme: String,
}

/// Returns the length of the scheme if the operand is a URL: a lower-case letter, then lower-case
/// letters, digits, `+`, `.` and `-`, then `://`.
fn scheme_length(operand: &[u8]) -> Option<usize> {
    if !operand.first()?.is_ascii_lowercase() {
        return None;
    }
    let belongs = |byte: &u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'+' | b'.' | b'-')
    };
    let length = operand.iter().position(|byte| !belongs(byte))?;
    operand[length..].starts_with(SEPARATOR).then_some(length)
}

/// Returns whether an operand is a URL, not the path of a file.
pub fn is_url(operand: &OsStr) -> bool {
    scheme_length(operand.as_bytes()).is_some()
}

impl Url {
    /// Returns the URL that an operand is.
    ///
    /// # Errors
    ///
    /// It is not a URL, or one that cannot be used; the text says what would be right.
    pub fn parse(operand: &OsStr) -> Result<Self, &'static str> {
        let bytes = operand.as_bytes();
        let length = scheme_length(bytes).ok_or("expected SCHEME://...")?;
        if bytes.len() > MAX_LENGTH {
            return Err("it is too long");
        }
        if bytes.iter().any(u8::is_ascii_control) {
            return Err("it contains a control character");
        }
        let rest = &bytes[length + SEPARATOR.len()..];
        if has_password(rest) {
            return Err(
                "it contains a password, and every user can read arguments; put it in the \
                 environment or in a file",
            );
        }
        Ok(Self {
            text: operand.to_owned(),
            scheme: String::from_utf8_lossy(&bytes[..length]).into_owned(),
        })
    }

    /// Returns the URL as it was written.
    pub fn as_os_str(&self) -> &OsStr {
        &self.text
    }

    /// Returns the part before `://`.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }
}

/// Returns whether what follows `://` contains a password: `user:password@host`, or a parameter.
fn has_password(rest: &[u8]) -> bool {
    let authority = rest.split(|byte| b"/?#".contains(byte)).next();
    let authority = authority.unwrap_or_default();
    let user_end = authority.iter().rposition(|byte| *byte == b'@');
    let user = &authority[..user_end.unwrap_or(0)];
    let mut parameters = rest.split(|byte| b"?&".contains(byte)).skip(1);
    user.contains(&b':') || parameters.any(|parameter| parameter.starts_with(b"password="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_in_lower_case_makes_a_url() {
        for (operand, scheme) in [
            ("etcd://h/n", "etcd"),
            ("etcd://", "etcd"),
            ("a+b.c-1://x", "a+b.c-1"),
        ] {
            let url = Url::parse(operand.as_ref()).expect(operand);
            assert_eq!((url.scheme(), url.as_os_str()), (scheme, operand.as_ref()));
        }
    }

    #[test]
    fn other_operands_are_paths() {
        for operand in [
            "",
            "etcd",
            "etcd:",
            "etcd:/x",
            "./etcd://x",
            "/etcd://x",
            "Etcd://x",
            "1://x",
            "://x",
            "a b://x",
            "ä://x",
        ] {
            assert!(!is_url(operand.as_ref()), "{operand}");
        }
    }

    #[test]
    fn a_password_is_refused() {
        for (operand, is_refused) in [
            ("p://user:secret@h/db/n", true),
            ("p://user:@h", true),
            ("p://h/db?sslmode=require&password=x", true),
            ("p://h/db?password=x", true),
            ("p://user@h:5432/db/n", false),
            ("p://h:1,h:2/a:b@c", false),
            ("p://h/passwords", false),
        ] {
            assert_eq!(
                Url::parse(operand.as_ref()).is_err(),
                is_refused,
                "{operand}"
            );
        }
    }

    #[test]
    fn control_characters_and_excessive_length_are_refused() {
        assert!(Url::parse("p://h/a\nmode shared".as_ref()).is_err());
        let name = "x".repeat(MAX_LENGTH);
        assert!(Url::parse(format!("p://h/{name}").as_ref()).is_err());
    }
}
