//! A lock that is a name: an abstract socket address, which the kernel gives to one socket at a time.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

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
}
