//! The locks elsewhere that are tied to descriptors of a file: who holds them on all machines.

use std::collections::BTreeSet;
use std::ffi::OsString;

use super::remote::{entries, object, table};
use crate::exit::ExitError;
use crate::handle::Record;
use crate::holders::{Caller, Snapshot};
use crate::remote::protocol::Entry;
use crate::remote::url::Url;

/// A lock elsewhere, with its holders and waiters.
#[derive(Debug)]
pub(super) struct Elsewhere {
    url: Url,
    entries: Vec<Entry>,
}

impl Elsewhere {
    /// Returns the lists for a file. What cannot be listed gets a message.
    ///
    /// A shell that asks in its own process does not start a helper: it would be a child that the
    /// shell does not know.
    pub fn find(snapshot: &Snapshot, caller: Caller, messages: &mut Vec<OsString>) -> Vec<Self> {
        let mut urls = BTreeSet::new();
        let guards = snapshot.guards.iter();
        let records = guards.filter_map(|(pid, mark)| {
            let record = Record::read(*pid)?;
            // Another process can have a memory file of this name.
            mark.is_for(&record.url).then_some(record.url)
        });
        urls.extend(records);
        let mut found = Vec::new();
        for url in urls {
            let Ok(url) = Url::parse(&url) else {
                continue;
            };
            if caller != Caller::Process {
                let mut message =
                    OsString::from("for the holders on all machines, use: flock --who ");
                message.push(url.as_os_str());
                messages.push(message);
                continue;
            }
            match entries(&url) {
                Ok(entries) => found.push(Self { url, entries }),
                Err(error) => messages.push(error.message()),
            }
        }
        found
    }

    /// Returns the name of the lock and the table of its holders and waiters.
    pub fn table(&self) -> Vec<u8> {
        let mut text = Vec::from(b"\n");
        text.extend_from_slice(self.url.as_os_str().as_encoded_bytes());
        text.push(b'\n');
        text.extend_from_slice(table(&self.entries).as_bytes());
        text
    }

    /// Returns its holders and waiters as JSON objects.
    pub fn objects(&self) -> impl Iterator<Item = String> {
        let entries = self.entries.iter();
        entries.map(|entry| object(&self.url, entry))
    }
}
