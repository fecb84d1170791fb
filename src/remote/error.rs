//! What can fail with a lock elsewhere.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;

use crate::sys::errno;

/// Why a lock elsewhere was not acquired, apart from a conflict.
#[derive(Debug)]
pub enum Error {
    /// There is no helper for this scheme.
    NoHelper {
        /// The part of the URL before `://`.
        scheme: String,
        /// Where the helper was looked for; `None` if the place of this program is not known.
        path: Option<PathBuf>,
    },
    /// The helper could not be started.
    Start(io::Error),
    /// The helper violated the protocol.
    Helper {
        /// The URL.
        url: OsString,
        /// What the helper did.
        what: &'static str,
    },
    /// The lock of this URL was granted when there was no time left for its command.
    Late(OsString),
    /// The helper has reported an error.
    Engine {
        /// The URL; `None` if there are several.
        url: Option<OsString>,
        /// The exit status, one of those in
        /// [`protocol::ERROR_STATUSES`](super::protocol::ERROR_STATUSES).
        status: u8,
        /// What the helper has reported.
        text: String,
    },
}

impl Error {
    /// Returns the message, in bytes, because URLs are bytes.
    pub fn message(&self) -> OsString {
        match self {
            Self::NoHelper { scheme, path } => {
                let mut message = OsString::from(format!("no helper for {scheme}://"));
                match path {
                    Some(path) => {
                        message.push(": cannot execute ");
                        message.push(path);
                        message.push(format!("; for a file of that name, use: ./{scheme}://..."));
                    }
                    None => message.push(": /proc does not show where flock is installed"),
                }
                message
            }
            Self::Start(error) => format!("cannot start the helper: {}", errno::text(error)).into(),
            Self::Helper { url, what } => about(url, &format!("the helper {what}")),
            Self::Late(url) => about(
                url,
                "the lock was granted too late: its lease had nearly run out",
            ),
            Self::Engine {
                url: Some(url),
                text,
                ..
            } => about(url, text),
            Self::Engine { text, .. } => text.into(),
        }
    }
}

fn about(url: &OsStr, text: &str) -> OsString {
    [url, ": ".as_ref(), text.as_ref()].join(OsStr::new(""))
}
