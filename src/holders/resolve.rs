//! Combines the observations into a list of holders and waiters.
//!
//! All of it takes n log n steps at most: any process that can read the file can hold any number of
//! locks on it.

mod observations;
mod processes;
mod tickets;

use std::collections::BTreeSet;

use rustix::process::Pid;

use super::lock_user::{Caller, Confidence, ListedKind, LockUser, OwnLock, Range, Role};
use super::scan::{BlockedThread, FdLock};
use crate::lock::Mode;
use crate::lock::fair::marker::{Marker, SLOT_RANGE};
use crate::lock::mark::Mark;
use crate::sys::procfs::locks::{Access, LockRecord, LockState, LockType};
use crate::sys::procfs::syscall::BlockedCall;

pub(super) use observations::{Observations, is_ticket};
use observations::{marker_of, raw};
pub(super) use processes::ProcProcesses;
use tickets::Queue;

/// Returns the record as users see it: a slot is a kind of lock of its own, and so is a lock
/// elsewhere.
pub(super) fn lock_user(record: &LockRecord, pid: Option<Pid>, confidence: Confidence) -> LockUser {
    let is_slot = record.lock_type == LockType::Ofd
        && SLOT_RANGE.contains(&record.first)
        && record.last <= *SLOT_RANGE.end();
    if let (true, Some(Marker::Slot { arrived, .. })) = (is_slot, marker_of(record)) {
        return LockUser {
            role: Role::Holder,
            kind: ListedKind::Slot,
            mode: None,
            range: None,
            pid,
            confidence,
            since: Some(arrived),
        };
    }
    if let Some(mark) = Mark::from_record(record) {
        return LockUser {
            role: Role::Holder,
            kind: ListedKind::Elsewhere,
            mode: mark.lock_mode(),
            range: None,
            pid,
            confidence,
            since: None,
        };
    }
    let range = (!record.is_whole()).then_some(Range {
        first: record.first,
        last: (record.last < i64::MAX).then_some(record.last),
    });
    LockUser {
        role: match record.state {
            LockState::Granted => Role::Holder,
            LockState::Blocked => Role::Waiter,
        },
        kind: record.lock_type.into(),
        mode: Some(record.access.into()),
        range,
        pid,
        confidence,
        since: None,
    }
}

/// The users that are listed, each once.
#[derive(Default)]
struct Users {
    list: Vec<LockUser>,
    holders: BTreeSet<HolderKey>,
    waiters: BTreeSet<(i32, LockType)>,
}

/// What distinguishes the rows of a process.
type HolderKey = (i32, bool, (LockType, Access), i64, i64);

impl Users {
    /// Adds a holder unless it is listed already. Unknown processes may look alike and are all
    /// listed.
    fn add_holder(&mut self, record: &LockRecord, pid: Option<Pid>, confidence: Confidence) {
        let is_new = pid.is_none_or(|pid| {
            let is_verified = confidence == Confidence::Verified;
            let kind = (record.lock_type, record.access);
            self.holders
                .insert((raw(pid), is_verified, kind, record.first, record.last))
        });
        if is_new {
            self.list.push(lock_user(record, pid, confidence));
        }
    }

    /// Adds a waiter unless its process is listed already as waiting for a lock of this type.
    fn add_waiter(&mut self, lock_type: LockType, waiter: LockUser) {
        let is_new = |pid| self.waiters.insert((raw(pid), lock_type));
        if waiter.pid.is_none_or(is_new) {
            self.list.push(waiter);
        }
    }
}

impl<'o> Observations<'o> {
    /// Returns the holders and waiters: each process once for each of its locks.
    pub(super) fn users(&self) -> Vec<LockUser> {
        let queue = Queue::from_observations(self);
        let mut users = Users::default();
        for waiter in &queue.waiters {
            users.add_waiter(LockType::Flock, *waiter);
        }
        self.add_seen_holders(&queue, &mut users);
        for record in self.unseen() {
            let (pid, confidence) = self.unseen_holder(record);
            users.add_holder(record, pid, confidence);
        }
        self.add_hidden_lenders(&mut users);
        self.add_waiters(&mut users);
        users.list
    }

    /// Adds the processes with a descriptor whose open file description holds a lock.
    fn add_seen_holders(&self, queue: &Queue, users: &mut Users) {
        for lock in self.fd_locks {
            let (record, pid) = (&lock.record, lock.pid);
            if !is_ticket(record)
                && !self.is_only_sentinel(queue, lock)
                && !self.is_caller(pid, record)
            {
                users.add_holder(record, Some(pid), Confidence::Verified);
            }
        }
    }

    /// Whether a process has the lock only because it is the sentinel of a process that has it: where
    /// it could not close its descriptors (before Linux 5.9, and in some sandboxes). A process that
    /// has acquired the lock itself is no sentinel, whatever a marker says, and no lock disappears
    /// from the list, because that of the parent remains.
    fn is_only_sentinel(&self, queue: &Queue, lock: &FdLock) -> bool {
        queue.owner_of_sentinel(lock.pid).is_some_and(|owner| {
            lock.record.pid != Some(lock.pid)
                && self.held_by(owner, &lock.record).is_some()
                && self.processes.exits_silently(lock.pid)
        })
    }

    /// Whether the process is the one that asks, and is not to be listed.
    fn is_caller(&self, pid: Pid, record: &LockRecord) -> bool {
        let (caller, own_pid) = self.caller;
        let parent_holds_it = || {
            let parent = self.processes.parent(own_pid);
            parent.is_some_and(|parent| self.held_by(parent, record).is_some())
        };
        pid == own_pid
            && match caller {
                Caller::Process => true,
                Caller::Shell => false,
                Caller::Subshell => parent_holds_it(),
            }
    }

    /// Returns the locks that no process was seen to hold. If several locks look alike, as many as
    /// there are more of them than descriptors.
    pub(super) fn unseen(&self) -> impl Iterator<Item = &'o LockRecord> {
        let table = self.table;
        let mut by_record: Vec<usize> = (0..table.len()).collect();
        by_record.sort_unstable_by_key(|index| (table[*index], *index));
        let alike = by_record.chunk_by(|one, other| table[*one] == table[*other]);
        let unseen = alike.flat_map(|alike| {
            let record = &table[alike[0]];
            let is_lock = record.state == LockState::Granted && !is_ticket(record);
            let seen = if is_lock {
                self.holders(record).len()
            } else {
                alike.len()
            };
            alike.iter().skip(seen).copied()
        });
        let mut unseen: Vec<usize> = unseen.collect();
        unseen.sort_unstable();
        unseen.into_iter().map(|index| &table[index])
    }

    fn unseen_holder(&self, record: &LockRecord) -> (Option<Pid>, Confidence) {
        let acquired_by = match marker_of(record) {
            Some(Marker::Slot { pid, .. }) => Some(pid),
            _ => record.pid,
        };
        // A process with visible descriptors does not hold it any more: it has passed it on.
        let pid = acquired_by
            .filter(|pid| self.processes.is_alive(*pid) && !self.processes.is_visible(*pid));
        (pid, Confidence::Unverified)
    }

    /// Adds the locks that only the asking process is seen to hold, if its parent, from which it has
    /// inherited them, is invisible.
    fn add_hidden_lenders(&self, users: &mut Users) {
        let parent = self.processes.parent(self.caller.1);
        let is_visible = |parent: Pid| self.processes.is_visible(parent);
        if self.is_partial && !parent.is_some_and(is_visible) {
            for record in self.inherited() {
                let (pid, confidence) = self.unseen_holder(record);
                users.add_holder(record, pid, confidence);
            }
        }
    }

    /// Returns the locks that the asking process has inherited and no other visible process has,
    /// unless the asking process is listed itself.
    pub(super) fn inherited(&self) -> impl Iterator<Item = &'o LockRecord> {
        let (_, own_pid) = self.caller;
        let of_caller = self.fd_locks.iter().filter(move |lock| {
            let first = || self.held_by(own_pid, &lock.record);
            self.is_caller(lock.pid, &lock.record)
                && !is_ticket(&lock.record)
                && first().is_some_and(|first| std::ptr::eq(first, *lock))
        });
        let records = of_caller.map(|lock| &lock.record);
        records.filter(move |record| {
            let holders = self.holders(record);
            let ends = holders.first().into_iter().chain(holders.last());
            let mut pids = ends.map(|index| self.fd_locks[*index].pid);
            pids.all(|pid| pid == own_pid)
        })
    }

    /// Returns the locks of the asking process.
    pub(super) fn own_locks(&self) -> Vec<OwnLock> {
        let (_, own_pid) = self.caller;
        let locks = self.fd_locks.iter();
        let own = locks.filter(|lock| lock.pid == own_pid && !is_ticket(&lock.record));
        own.map(|lock| OwnLock {
            fd: lock.fd,
            user: lock_user(&lock.record, Some(own_pid), Confidence::Verified),
            record: lock.record,
        })
        .collect()
    }

    /// Adds the processes that are blocked in the kernel. The owner of a ticket is listed already.
    fn add_waiters(&self, users: &mut Users) {
        let blocked = || {
            let records = self.table.iter();
            records
                .filter(|record| record.state == LockState::Blocked && !Mark::is_watched_by(record))
        };
        let guards: BTreeSet<i32> = self.guards().map(|(pid, _)| raw(pid)).collect();
        for record in blocked().filter(|record| record.lock_type != LockType::Ofd) {
            let confidence = match record.pid {
                Some(_) => Confidence::Verified,
                None => Confidence::Unverified,
            };
            users.add_waiter(record.lock_type, lock_user(record, record.pid, confidence));
        }
        let ofd: Vec<&LockRecord> = blocked()
            .filter(|record| record.lock_type == LockType::Ofd)
            .collect();
        let request = |record: &LockRecord| (record.access, record.first, record.last);
        let all_alike = ofd.iter().all(|record| request(record) == request(ofd[0]));
        let mut found = 0;
        let is_guard = |thread: &&BlockedThread| guards.contains(&raw(thread.pid));
        for BlockedThread { pid, call, .. } in self.blocked.iter().filter(|one| !is_guard(one)) {
            let waiter = match call {
                BlockedCall::Flock { shared, .. } => {
                    let mode = if *shared {
                        Mode::Shared
                    } else {
                        Mode::Exclusive
                    };
                    waiter(ListedKind::Flock, Some(mode), Some(*pid))
                }
                // The arguments do not show the range, but there may be only one possibility.
                BlockedCall::Ofd { .. } => {
                    found += 1;
                    match ofd.first() {
                        Some(record) if all_alike => {
                            lock_user(record, Some(*pid), Confidence::Verified)
                        }
                        _ => waiter(ListedKind::Ofd, None, Some(*pid)),
                    }
                }
                BlockedCall::Posix { .. } => waiter(ListedKind::Posix, None, Some(*pid)),
            };
            let lock_type = match call {
                BlockedCall::Flock { .. } => LockType::Flock,
                BlockedCall::Ofd { .. } => LockType::Ofd,
                BlockedCall::Posix { .. } => LockType::Posix,
            };
            users.add_waiter(lock_type, waiter);
        }
        for record in ofd.iter().skip(found) {
            users.add_waiter(
                LockType::Ofd,
                lock_user(record, None, Confidence::Unverified),
            );
        }
    }
}

fn waiter(kind: ListedKind, mode: Option<Mode>, pid: Option<Pid>) -> LockUser {
    LockUser {
        role: Role::Waiter,
        kind,
        mode,
        range: None,
        pid,
        confidence: Confidence::Verified,
        since: None,
    }
}

#[cfg(test)]
mod tests;
