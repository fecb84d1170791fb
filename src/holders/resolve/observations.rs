//! What was observed about the locks on a file, indexed by lock.

use rustix::process::Pid;

use super::processes::Processes;
use crate::holders::lock_user::Caller;
use crate::holders::scan::{BlockedThread, FdLock};
use crate::lock::fair::marker::{CLAIM_RANGE, Marker, PLACE_RANGE, TICKET_RANGE};
use crate::lock::mark::Mark;
use crate::sys::procfs::locks::{LockRecord, LockState, LockType};

/// Everything that was observed about the locks on a file.
pub(in crate::holders) struct Observations<'o> {
    /// Its lines in `/proc/locks`.
    pub table: &'o [LockRecord],
    /// The descriptors with its locks.
    pub fd_locks: &'o [FdLock],
    /// The indices of the descriptors, by lock and process.
    by_record: Vec<usize>,
    pub blocked: &'o [BlockedThread],
    /// The process that asks, and its PID in `/proc`.
    pub caller: (Caller, Pid),
    /// Whether a process that has a lock may be invisible.
    pub is_partial: bool,
    pub processes: &'o dyn Processes,
}

pub(super) fn raw(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

pub(super) fn marker_of(record: &LockRecord) -> Option<Marker> {
    let is_byte = record.lock_type == LockType::Ofd && record.first == record.last;
    is_byte.then(|| Marker::from_offset(record.first))?
}

/// Whether the record has the form of a place in a queue, or of a lock of the guards of a descriptor
/// with a lock elsewhere, which are locks only for the kernel. (Adjacent markers may form one lock
/// for a moment.) A lock on more bytes is an ordinary one.
pub(in crate::holders) fn is_ticket(record: &LockRecord) -> bool {
    record.lock_type == LockType::Ofd
        && record.state == LockState::Granted
        && [TICKET_RANGE, PLACE_RANGE, CLAIM_RANGE]
            .iter()
            .any(|range| range.contains(&record.first))
        && record.last - record.first <= 1
        || Mark::from_guard(record).is_some()
}

impl<'o> Observations<'o> {
    pub fn new(
        table: &'o [LockRecord],
        fd_locks: &'o [FdLock],
        blocked: &'o [BlockedThread],
        caller: (Caller, Pid),
        is_partial: bool,
        processes: &'o dyn Processes,
    ) -> Self {
        let mut by_record: Vec<usize> = (0..fd_locks.len()).collect();
        by_record.sort_unstable_by_key(|index| {
            let lock = &fd_locks[*index];
            (lock.record, raw(lock.pid), *index)
        });
        Self {
            table,
            fd_locks,
            by_record,
            blocked,
            caller,
            is_partial,
            processes,
        }
    }

    /// Returns the descriptors whose open file description holds a lock, by process.
    pub fn holders(&self, record: &LockRecord) -> &[usize] {
        let record_at = |index: &usize| &self.fd_locks[*index].record;
        let start = self
            .by_record
            .partition_point(|index| record_at(index) < record);
        let rest = &self.by_record[start..];
        &rest[..rest.partition_point(|index| record_at(index) == record)]
    }

    /// Returns the guards of descriptors with a lock elsewhere, and their marks.
    pub fn guards(&self) -> impl Iterator<Item = (Pid, Mark)> {
        let locks = self.fd_locks.iter();
        locks.filter_map(|lock| Some((lock.pid, Mark::from_guard(&lock.record)?)))
    }

    /// Returns the first descriptor of a process that holds a lock.
    pub fn held_by(&self, pid: Pid, record: &LockRecord) -> Option<&'o FdLock> {
        let holders = self.holders(record);
        let pid_at = |index: &usize| raw(self.fd_locks[*index].pid);
        let first = holders.partition_point(|index| pid_at(index) < raw(pid));
        let index = holders.get(first).filter(|index| pid_at(index) == raw(pid));
        index.map(|index| &self.fd_locks[*index])
    }
}
