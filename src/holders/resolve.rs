//! Combines the observations into a list of holders and waiters.

use rustix::process::Pid;

use super::lock_user::{Caller, Confidence, ListedKind, LockUser, OwnLock, Range, Role};
use super::scan::{BlockedThread, Scan};
use crate::lock::Mode;
use crate::lock::fair::marker::{Marker, SLOT_RANGE, TICKET_RANGE};
use crate::sys::procfs::locks::{LockRecord, LockState, LockType};
use crate::sys::procfs::syscall::BlockedCall;

/// Everything that was observed about the locks on a file.
pub(super) struct Observations<'o> {
    /// Its lines in `/proc/locks`.
    pub table: &'o [LockRecord],
    pub scan: &'o Scan,
    /// The process that asks, and its PID in `/proc`.
    pub caller: (Caller, Pid),
    /// Whether a process that has a lock may be invisible.
    pub is_partial: bool,
    /// Returns the parent of a process.
    pub parent: &'o dyn Fn(Pid) -> Option<Pid>,
    /// Returns whether a process exists.
    pub is_alive: &'o dyn Fn(Pid) -> bool,
}

fn marker_of(record: &LockRecord) -> Option<Marker> {
    let is_byte = record.lock_type == LockType::Ofd && record.first == record.last;
    is_byte.then(|| Marker::from_offset(record.first))?
}

/// Whether the record is a place in a queue, which is a lock only for the kernel.
pub(super) fn is_ticket(record: &LockRecord) -> bool {
    record.lock_type == LockType::Ofd && TICKET_RANGE.contains(&record.first)
}

/// Returns the record as users see it: a slot is a kind of lock of its own.
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

/// Adds a user unless it is listed already. Unknown processes may look alike and are all listed.
fn add(users: &mut Vec<LockUser>, user: LockUser) {
    if user.pid.is_none() || !users.contains(&user) {
        users.push(user);
    }
}

impl Observations<'_> {
    /// Returns the holders and waiters: each process once for each of its locks.
    pub(super) fn users(&self) -> Vec<LockUser> {
        let mut users = Vec::new();
        self.add_queue(&mut users);
        self.add_seen_holders(&mut users);
        self.add_unseen_holders(&mut users);
        self.add_hidden_lenders(&mut users);
        self.add_waiters(&mut users);
        users
    }

    /// All records, those of the descriptors first.
    fn records(&self) -> impl Iterator<Item = &LockRecord> {
        let seen = self.scan.fd_locks.iter().map(|lock| &lock.record);
        seen.chain(self.table)
    }

    /// Adds the owners of tickets.
    fn add_queue(&self, users: &mut Vec<LockUser>) {
        let mut tickets: Vec<&LockRecord> = Vec::new();
        for record in self.records().filter(|record| is_ticket(record)) {
            if !tickets.iter().any(|other| other.first == record.first) {
                tickets.push(record);
            }
        }
        for record in tickets {
            let Some(Marker::Ticket { arrived, mode, pid }) = marker_of(record) else {
                continue;
            };
            let (pid, confidence) = self.ticket_owner(record, pid);
            let since = Some(arrived);
            let user = waiter(ListedKind::Flock, Some(mode), pid);
            add(
                users,
                LockUser {
                    confidence,
                    since,
                    ..user
                },
            );
        }
    }

    /// Returns the owner of a ticket. Its sentinel may have another PID in another PID namespace.
    fn ticket_owner(&self, record: &LockRecord, sentinel: Pid) -> (Option<Pid>, Confidence) {
        let holders = || {
            let locks = self.scan.fd_locks.iter();
            locks.filter(|lock| lock.record == *record)
        };
        let is_sentinel = |pid, ns_pid| pid == sentinel || ns_pid == Some(sentinel);
        if let Some(owner) = holders().find(|lock| !is_sentinel(lock.pid, lock.ns_pid)) {
            return (Some(owner.pid), Confidence::Verified);
        }
        if let Some(sentinel) = holders().next() {
            return ((self.parent)(sentinel.pid), Confidence::Verified);
        }
        match (self.parent)(sentinel) {
            Some(owner) if (self.is_alive)(sentinel) && !self.scan.visible.contains(&owner) => {
                (Some(owner), Confidence::Unverified)
            }
            _ => (None, Confidence::Unverified),
        }
    }

    /// Whether a process is only a sentinel.
    fn is_sentinel(&self, pid: Pid, ns_pid: Option<Pid>) -> bool {
        self.records().any(|record| match marker_of(record) {
            Some(Marker::Ticket { pid: sentinel, .. }) => {
                sentinel == pid || Some(sentinel) == ns_pid
            }
            _ => false,
        })
    }

    /// Adds the processes with a descriptor whose open file description holds a lock.
    fn add_seen_holders(&self, users: &mut Vec<LockUser>) {
        for lock in &self.scan.fd_locks {
            let (record, pid) = (&lock.record, lock.pid);
            let is_only_queued = is_ticket(record) || self.is_sentinel(pid, lock.ns_pid);
            if !is_only_queued && !self.is_caller(pid, record) {
                add(users, lock_user(record, Some(pid), Confidence::Verified));
            }
        }
    }

    /// Whether the process is the one that asks, and is not to be listed.
    fn is_caller(&self, pid: Pid, record: &LockRecord) -> bool {
        let (caller, own_pid) = self.caller;
        let parent_holds_it = || {
            let parent = (self.parent)(own_pid);
            let mut locks = self.scan.fd_locks.iter();
            locks.any(|lock| Some(lock.pid) == parent && lock.record == *record)
        };
        pid == own_pid
            && match caller {
                Caller::Process => true,
                Caller::Shell => false,
                Caller::Subshell => parent_holds_it(),
            }
    }

    /// Adds the locks that no process was seen to hold. If several locks look alike, adds as many
    /// as there are more of them than descriptors.
    fn add_unseen_holders(&self, users: &mut Vec<LockUser>) {
        for (index, record) in self.table.iter().enumerate() {
            if record.state == LockState::Blocked || is_ticket(record) {
                continue;
            }
            let earlier = self.table[..index].iter();
            let alike = earlier.filter(|other| *other == record).count();
            let locks = self.scan.fd_locks.iter();
            let seen = locks.filter(|lock| lock.record == *record).count();
            if alike < seen {
                continue;
            }
            add(users, self.unseen_holder(record));
        }
    }

    fn unseen_holder(&self, record: &LockRecord) -> LockUser {
        let acquired_by = match marker_of(record) {
            Some(Marker::Slot { pid, .. }) => Some(pid),
            _ => record.pid,
        };
        // A process with visible descriptors does not hold it any more: it has passed it on.
        let pid =
            acquired_by.filter(|pid| (self.is_alive)(*pid) && !self.scan.visible.contains(pid));
        lock_user(record, pid, Confidence::Unverified)
    }

    /// Adds the locks that only the asking process is seen to hold, if its parent, from which it has
    /// inherited them, is invisible.
    fn add_hidden_lenders(&self, users: &mut Vec<LockUser>) {
        let parent = (self.parent)(self.caller.1);
        let is_visible = |parent: Pid| self.scan.visible.contains(&parent);
        if self.is_partial && !parent.is_some_and(is_visible) {
            for record in self.inherited() {
                add(users, self.unseen_holder(record));
            }
        }
    }

    /// Returns the locks that the asking process has inherited and no other visible process has,
    /// unless the asking process is listed itself.
    pub(super) fn inherited(&self) -> impl Iterator<Item = &LockRecord> {
        let locks = &self.scan.fd_locks;
        let (_, own_pid) = self.caller;
        let of_caller = locks.iter().enumerate().filter(move |(index, lock)| {
            let is_first = || {
                let mut earlier = locks[..*index].iter();
                !earlier.any(|other| other.pid == lock.pid && other.record == lock.record)
            };
            self.is_caller(lock.pid, &lock.record) && !is_ticket(&lock.record) && is_first()
        });
        let records = of_caller.map(|(_, lock)| &lock.record);
        records.filter(move |record| {
            let mut others = locks.iter().filter(|lock| lock.pid != own_pid);
            !others.any(|lock| lock.record == **record && !self.is_sentinel(lock.pid, lock.ns_pid))
        })
    }

    /// Returns the locks of the asking process.
    pub(super) fn own_locks(&self) -> Vec<OwnLock> {
        let (_, own_pid) = self.caller;
        let locks = self.scan.fd_locks.iter();
        let own = locks.filter(|lock| lock.pid == own_pid && !is_ticket(&lock.record));
        own.map(|lock| OwnLock {
            fd: lock.fd,
            user: lock_user(&lock.record, Some(own_pid), Confidence::Verified),
            record: lock.record,
        })
        .collect()
    }

    /// Returns the other processes that have the file open and are not blocked in a lock call.
    pub(super) fn openers(&self) -> Vec<Pid> {
        let is_blocked = |pid| self.scan.blocked.iter().any(|thread| thread.pid == pid);
        let openers = self.scan.openers.iter().copied();
        openers
            .filter(|pid| *pid != self.caller.1 && !is_blocked(*pid))
            .collect()
    }

    /// Adds the processes that are blocked in the kernel. The owner of a ticket is listed already.
    fn add_waiters(&self, users: &mut Vec<LockUser>) {
        let blocked = || {
            let records = self.table.iter();
            records.filter(|record| record.state == LockState::Blocked)
        };
        for record in blocked().filter(|record| record.lock_type != LockType::Ofd) {
            match record.pid {
                Some(pid) => {
                    self.add_waiter(users, lock_user(record, Some(pid), Confidence::Verified));
                }
                None => add(users, lock_user(record, None, Confidence::Unverified)),
            }
        }
        let ofd: Vec<&LockRecord> = blocked()
            .filter(|record| record.lock_type == LockType::Ofd)
            .collect();
        let mut found = 0;
        for BlockedThread { pid, call, .. } in &self.scan.blocked {
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
                    let request = |record: &LockRecord| (record.access, record.first, record.last);
                    let all_alike = ofd.iter().all(|record| request(record) == request(ofd[0]));
                    match ofd.first() {
                        Some(record) if all_alike => {
                            lock_user(record, Some(*pid), Confidence::Verified)
                        }
                        _ => waiter(ListedKind::Ofd, None, Some(*pid)),
                    }
                }
                BlockedCall::Posix { .. } => waiter(ListedKind::Posix, None, Some(*pid)),
            };
            self.add_waiter(users, waiter);
        }
        for record in ofd.iter().skip(found) {
            add(users, lock_user(record, None, Confidence::Unverified));
        }
    }

    fn add_waiter(&self, users: &mut Vec<LockUser>, waiter: LockUser) {
        let is_known = |other: &LockUser| {
            other.role == Role::Waiter && other.kind == waiter.kind && other.pid == waiter.pid
        };
        let is_sentinel = waiter.pid.is_some_and(|pid| self.is_sentinel(pid, None));
        if !is_sentinel && !users.iter().any(is_known) {
            users.push(waiter);
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
