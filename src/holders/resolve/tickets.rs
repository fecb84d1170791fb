//! The owners of tickets.
//!
//! Any process that can read the file can lock a byte that looks like a ticket and names any process.
//! So a marker is evidence only if it fits the process that it names: the sentinel has the name of
//! one, and its parent has the marker's open file. A process can only speak for itself that way, and
//! it is listed once, however many markers it has.

use std::collections::{BTreeMap, BTreeSet};

use rustix::process::Pid;

use super::observations::{Observations, is_ticket, marker_of, raw};
use super::processes::ChildSentinel;
use crate::holders::lock_user::{Confidence, ListedKind, LockUser, Role};
use crate::lock::fair::marker::Marker;
use crate::sys::procfs::locks::LockRecord;

/// How many markers whose owners are invisible are listed. Among them may be any number that belong
/// to no queue.
const MAX_UNKNOWN: usize = 100;

/// How many processes that have the same marker open are taken into account: its owner, and those
/// that the owner has forked meanwhile.
const MAX_OWNERS: usize = 16;

/// The waiters with tickets, and their sentinels.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// In the order of their arrival.
    pub waiters: Vec<LockUser>,
    /// The owner of each verified sentinel.
    owners: BTreeMap<i32, Pid>,
    /// The children of owners in other PID namespaces.
    children: BTreeMap<i32, Option<Vec<ChildSentinel>>>,
}

/// The owner of a ticket.
enum Owner {
    Known(Pid, Confidence),
    Invisible,
}

impl Queue {
    pub fn from_observations(observations: &Observations<'_>) -> Self {
        let mut queue = Self::default();
        let seen = observations.fd_locks.iter().map(|lock| &lock.record);
        let records = seen.chain(observations.table);
        // The same marker may have been seen several times.
        let mut markers = BTreeMap::new();
        markers.extend(
            records
                .filter(|record| is_ticket(record))
                .map(|record| (record.first, record)),
        );
        let mut listed = BTreeSet::new();
        let mut unknown = BTreeSet::new();
        for record in markers.into_values() {
            let Some(Marker::Ticket { arrived, mode, pid }) = marker_of(record) else {
                continue;
            };
            let (pid, confidence) = match queue.owner_of(observations, record, pid) {
                Some(Owner::Known(owner, confidence)) if listed.insert(raw(owner)) => {
                    (Some(owner), confidence)
                }
                // Each waiter has a sentinel of its own.
                Some(Owner::Invisible)
                    if unknown.len() < MAX_UNKNOWN && unknown.insert(raw(pid)) =>
                {
                    (None, Confidence::Unverified)
                }
                _ => continue,
            };
            queue.waiters.push(LockUser {
                role: Role::Waiter,
                kind: ListedKind::Flock,
                mode: Some(mode),
                range: None,
                pid,
                confidence,
                since: Some(arrived),
            });
        }
        queue
    }

    /// Returns the process whose verified sentinel this is.
    pub fn owner_of_sentinel(&self, pid: Pid) -> Option<Pid> {
        self.owners.get(&raw(pid)).copied()
    }

    /// Returns the owner of a ticket with this sentinel, or `None` if it is not a place in the queue.
    fn owner_of(
        &mut self,
        observations: &Observations<'_>,
        record: &LockRecord,
        sentinel: Pid,
    ) -> Option<Owner> {
        let processes = observations.processes;
        let has_name = processes.has_sentinel_name(sentinel);
        let parent = (has_name == Some(true))
            .then(|| processes.parent(sentinel))
            .flatten();
        let holders = observations.holders(record).iter();
        let mut holders = holders.map(|index| observations.fd_locks[*index].pid);
        if let Some(parent) = parent
            && observations.held_by(parent, record).is_some()
        {
            self.owners.insert(raw(sentinel), parent);
            return Some(Owner::Known(parent, Confidence::Verified));
        }
        let is_visible = holders.len() > 0;
        for pid in holders
            .by_ref()
            .take(MAX_OWNERS)
            .filter(|pid| *pid != sentinel)
        {
            // In another PID namespace, the sentinel has another PID.
            let children = self.children.entry(raw(pid));
            match children.or_insert_with(|| processes.child_sentinels(pid)) {
                Some(children) => {
                    if let Some(child) = children.iter().find(|child| child.ns_pid == sentinel) {
                        self.owners.insert(raw(child.pid), pid);
                        return Some(Owner::Known(pid, Confidence::Verified));
                    }
                }
                None if !processes.is_alive(sentinel) || has_name.is_none() => {
                    return Some(Owner::Known(pid, Confidence::Verified));
                }
                None => {}
            }
        }
        match parent {
            Some(parent) if !processes.is_visible(parent) => {
                Some(Owner::Known(parent, Confidence::Unverified))
            }
            _ if is_visible => None,
            _ => observations.is_partial.then_some(Owner::Invisible),
        }
    }
}
