//! What the guards of a lock are for: a memory file that the timekeeper and the deputy have open, for
//! `--who` and `--print-token`. Their command line does not contain the URL, because a user who kills
//! a script by a part of its command line must not kill the guards with it.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Pid;

use crate::sys::procfs::decimal;
use crate::sys::procfs::open_file::read_memory_file;

/// The name of the memory file.
const NAME: &str = "flock-handle";

/// What the guards of a lock are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The token.
    pub token: u64,
    /// The URL.
    pub url: OsString,
}

impl Record {
    /// Stores a record. Returns `None` where that is not possible; it is only shown.
    pub(super) fn store(token: u64, url: &OsStr) -> Option<OwnedFd> {
        let file = memfd_create(NAME, MemfdFlags::CLOEXEC).ok()?;
        let mut text = format!("{token} ").into_bytes();
        text.extend_from_slice(url.as_bytes());
        let length = rustix::io::write(&file, &text).ok()?;
        (length == text.len()).then_some(file)
    }

    /// Reads the record of a guard. Returns `None` if the process is hidden or not a guard.
    pub fn read(guard: Pid) -> Option<Self> {
        let text = read_memory_file(guard, NAME)?;
        let end = text.iter().position(|byte| *byte == b' ')?;
        Some(Self {
            token: decimal(&text[..end])?,
            url: OsString::from_vec(text[end + 1..].to_vec()),
        })
    }
}
