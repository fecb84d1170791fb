//! The table of all locks, in the order of the files.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::holders::error::Error;
use crate::sys::procfs::locks::{self, LockRecord, TableRead};

/// How many locks are listed.
const MAX_RECORDS: usize = 200_000;

/// The locks of all files.
#[derive(Debug)]
pub(super) struct Table {
    /// The locks, by file; those of one file are in the order of the kernel, which is that of its
    /// queue.
    pub records: Vec<LockRecord>,
    pub read: TableRead,
    /// Whether there are more.
    pub is_cut_short: bool,
}

impl Table {
    /// Reads the table. If it is read in pieces, locks may be missing: see
    /// [`read_table`](locks::read_table). Then it is read again until it contains nothing new.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn read() -> Result<Self, Error> {
        let mut records = Vec::new();
        let mut known = BTreeSet::new();
        let mut reads = 0;
        let (read, is_cut_short) = loop {
            let mut found = Vec::new();
            let read = locks::read_table(&mut |record| {
                found.push(record);
                match found.len() < MAX_RECORDS {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            });
            let read = read.map_err(|errno| Error::proc(locks::PATH, errno.into()))?;
            let is_full = found.len() >= MAX_RECORDS;
            if read == TableRead::Atomic {
                records = found;
                break (read, is_full);
            }
            reads += 1;
            // Of equal lines in such a table, only one counts.
            found.retain(|record| known.insert(*record));
            let is_last = found.is_empty() || reads >= locks::MAX_TORN_READS;
            records.extend(found);
            if is_full || is_last {
                break (read, is_full);
            }
        };
        records.sort_by_key(|record| record.file);
        Ok(Self {
            records,
            read,
            is_cut_short,
        })
    }
}
