//! The holders and the waiters of a lock, as far as `/proc` shows them. No lock is taken to find
//! out.
//!
//! `/proc/locks` lists all locks, but for each only the process that *acquired* it: a script that
//! calls `flock 8` has its lock from a process that has exited, and locks of open file descriptions
//! have no PID at all. The *holders* are the processes that have the open file description open,
//! one or several, and `/proc/PID/fdinfo` shows those. [`snapshot`] reads both and combines them.

mod deadlock;
mod deleted;
mod error;
mod file;
mod lock_user;
mod machine;
mod owners;
mod resolve;
mod scan;
mod time_limit;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, RawFd};

use rustix::io::Errno;
use rustix::process::{Pid, getpid};

use crate::lock::fair::marker::SLOT_RANGE;
use crate::sys;
use crate::sys::errno::is_exhaustion;
use crate::sys::filesystem::Locality;
use crate::sys::procfs::access::omits_processes;
use crate::sys::procfs::fdinfo::FdInfo;
use crate::sys::procfs::locks::{self, Access, LockRecord, LockState, LockType, TableRead};
use crate::sys::procfs::{own_pid, stat};
pub use deadlock::find_deadlocks;
use deleted::DeletedSearch;
pub use deleted::find_deleted;
pub use error::Error;
pub use file::File;
pub use lock_user::{
    Caller, Confidence, ListedKind, LockUser, Namespace, OwnLock, Range, Role, Snapshot, Visibility,
};
pub use machine::{LockedFile, Machine, all_locks};
pub use owners::visit_owners;
use resolve::{Observations, ProcProcesses};
use scan::{FdLock, Files, MAX_RANGES, OnOther, Scan, Search, WaiterSearch};
pub use time_limit::TimeLimit;

/// How often a snapshot is retaken if the table has changed in the meantime.
const MAX_ATTEMPTS: u32 = 4;

/// The scope of a lookup.
#[derive(Clone, Copy, Debug)]
pub struct Lookup {
    /// Returns whether a lock matters. On file systems that are shared with other machines, all do.
    pub is_wanted: fn(&LockRecord) -> bool,
    /// The time limit, if there is one: the lookup returns what it has found by then. With a limit,
    /// it finds no waiters.
    pub limit: Option<TimeLimit>,
}

impl Lookup {
    /// Everything, however long it takes.
    pub const ALL: Self = Self {
        is_wanted: |_| true,
        limit: None,
    };
}

/// Returns the holders and waiters of the locks on a file.
///
/// *Race:* locks are acquired, released and passed on while we look. A process that is listed was
/// seen to hold the lock, or to wait for it, at some moment. But a lock that is held all the time
/// could be missed. A long table is read in pieces, and if a lock in an earlier piece is released
/// in between, the next piece starts one line too late. Therefore a file that is missing from such
/// a table proves nothing: the table is read again, and the processes are examined in any case, also
/// for waiters and threads with descriptors of their own. If a lock is acquired in between, the next
/// piece starts too early, so of several equal lines in such a table, only one counts. A lock that
/// is passed on may be missed at both processes; therefore, if fewer holders are found than locks,
/// and the table has changed, we look again.
///
/// # Errors
///
/// There is no `/proc`.
///
/// # References
///
/// proc_locks(5), proc_pid_fdinfo(5).
pub fn snapshot(file: &File, caller: Caller, lookup: Lookup) -> Result<Snapshot, Error> {
    snapshot_with(file, caller, lookup, None)
}

/// Returns the snapshots of the file at a path and of the locked files that were there before and
/// have been deleted. One scan of the processes suffices unless there are such files.
///
/// # Errors
///
/// As for [`snapshot`].
pub fn snapshots_at(path: &OsStr, file: &File, caller: Caller) -> Result<Vec<Snapshot>, Error> {
    let search = DeletedSearch::start(path, Some(file)).map(RefCell::new);
    let has_scanned = Cell::new(false);
    let on_other = |dir: &str, fd: RawFd, info: &FdInfo| {
        has_scanned.set(true);
        if let Some(search) = &search {
            search.borrow_mut().add(dir, fd, info);
        }
    };
    let mut snapshots = vec![snapshot_with(file, caller, Lookup::ALL, Some(&on_other))?];
    if let Some(search) = search {
        let search = search.into_inner();
        let deleted = match has_scanned.get() {
            true => search.files(),
            false => search.examine_processes(),
        };
        for file in &deleted {
            snapshots.push(snapshot(file, caller, Lookup::ALL)?);
        }
    }
    Ok(snapshots)
}

fn snapshot_with(
    file: &File,
    caller: Caller,
    lookup: Lookup,
    on_other: Option<OnOther<'_>>,
) -> Result<Snapshot, Error> {
    let visibility = Visibility {
        is_restricted: omits_processes(),
        namespace: Namespace::current(),
        locality: file.locality(),
        file_system: file.file_system().map(str::to_owned),
        error: None,
        is_cut_short: false,
    };
    let lookup = match visibility.locality {
        Locality::Local => lookup,
        Locality::Remote => Lookup {
            is_wanted: Lookup::ALL.is_wanted,
            ..lookup
        },
    };
    let own_pid = own_pid().unwrap_or_else(getpid);
    let namespace = visibility.namespace;
    let is_table_complete = namespace == Namespace::Whole && visibility.locality == Locality::Local;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let (mut table, read, is_late) = records_for(file, lookup)?;
        if table.is_empty() && is_table_complete && read == TableRead::Atomic {
            return Ok(Snapshot {
                key: file.identity.key,
                users: Vec::new(),
                own_locks: Vec::new(),
                is_inherited: false,
                is_remote_holder: false,
                openers: Vec::new(),
                is_deleted: file.is_deleted(),
                omitted: 0,
                guards: Vec::new(),
                visibility,
            });
        }
        let has_anonymous_waiters = table
            .iter()
            .any(|record| record.state == LockState::Blocked && record.lock_type == LockType::Ofd);
        let is_limited = lookup.limit.is_some() && visibility.locality == Locality::Local;
        let lacks_waiters = !is_table_complete || read == TableRead::Torn || has_anonymous_waiters;
        let search = if lacks_waiters && !is_limited {
            WaiterSearch::AllThreads
        } else {
            WaiterSearch::TableOnly
        };
        let search = Search {
            files: Files::Listed(&[file.identity]),
            waiters: search,
            is_wanted: lookup.is_wanted,
            limit: lookup.limit,
            first: &first_examined(own_pid, &table, lookup),
            on_other,
        };
        let mut scan = scan::scan(search);
        // There is no other lock of flock(2) beside an exclusive one.
        let is_exclusive = |lock: &FdLock| {
            let record = &lock.record;
            record.lock_type == LockType::Flock && record.access == Access::Write
        };
        let may_be_missing =
            (is_late || read == TableRead::Torn) && !scan.fd_locks.iter().any(is_exclusive);
        if (may_be_missing || has_unseen(&table, &scan, own_pid)) && !scan.is_cut_short {
            scan::scan_threads(search, &mut scan);
        }
        if scan.omitted > 0 {
            // Which of these locks are unseen is not known.
            table.retain(|record| record.is_whole() || record.state == LockState::Blocked);
        }
        table.retain(|record| !scan.uncounted.contains(record));
        let mut visibility = visibility.clone();
        visibility.is_restricted |= scan.hidden > 0;
        visibility.error = scan.error;
        // If all processes were examined, nothing that is missing from the table matters.
        visibility.is_cut_short = scan.is_cut_short || (is_late && visibility.is_partial());
        let processes = ProcProcesses {
            namespace,
            scan: &scan,
        };
        let observations = Observations::new(
            &table,
            &scan.fd_locks,
            &scan.blocked,
            (caller, own_pid),
            visibility.is_partial(),
            &processes,
        );
        let mut users = observations.users();
        let is_incomplete = !visibility.is_cut_short
            && users
                .iter()
                .any(|user| user.confidence == Confidence::Unverified);
        if is_incomplete && attempts < MAX_ATTEMPTS && has_changed(file, lookup, &table, &scan)? {
            continue;
        }
        let is_holder = |user: &LockUser| user.role == Role::Holder;
        let mut is_remote_holder = false;
        if !users.iter().any(is_holder) && visibility.locality == Locality::Remote {
            match remote_holder(file) {
                Ok(holder) => {
                    is_remote_holder = holder.is_some();
                    users.extend(holder);
                }
                Err(errno) => visibility.error = Some(errno),
            }
        }
        let shows_openers = visibility.locality == Locality::Remote && !users.iter().any(is_holder);
        // The sort of the standard library takes 9 kB.
        let (mut ordered, waiters): (Vec<LockUser>, Vec<LockUser>) =
            users.into_iter().partition(is_holder);
        ordered.extend(waiters);
        return Ok(Snapshot {
            key: file.identity.key,
            users: ordered,
            own_locks: observations.own_locks(),
            is_inherited: observations.inherited().next().is_some(),
            is_remote_holder,
            openers: if shows_openers {
                openers(&scan, own_pid)
            } else {
                Vec::new()
            },
            is_deleted: file.is_deleted(),
            omitted: scan.omitted,
            guards: observations.guards().collect(),
            visibility,
        });
    }
}

/// Returns the processes that are examined first if there is a time limit: this process, its
/// parent, and those that have acquired locks.
fn first_examined(own_pid: Pid, table: &[LockRecord], lookup: Lookup) -> Vec<Pid> {
    /// A lock of flock(2) has one, and shared locks are seldom more.
    const MAX_PIDS: usize = 16;
    let mut first = Vec::new();
    if lookup.limit.is_some() {
        let acquired_by = table
            .iter()
            .filter(|record| record.state == LockState::Granted)
            .filter_map(|record| record.pid);
        let own = [own_pid].into_iter().chain(stat::parent(own_pid));
        for pid in own.chain(acquired_by) {
            if first.len() < MAX_PIDS && !first.contains(&pid) {
                first.push(pid);
            }
        }
    }
    first
}

/// Returns whether there is a lock that no process was seen to hold.
fn has_unseen(table: &[LockRecord], scan: &Scan, own_pid: Pid) -> bool {
    let processes = ProcProcesses {
        namespace: Namespace::Whole,
        scan,
    };
    let caller = (Caller::Process, own_pid);
    let locks = &scan.fd_locks;
    let observations = Observations::new(table, locks, &[], caller, false, &processes);
    observations.unseen().next().is_some()
}

/// Returns whether the locks on the file are not those of this table any more.
fn has_changed(
    file: &File,
    lookup: Lookup,
    table: &[LockRecord],
    scan: &Scan,
) -> Result<bool, Error> {
    // The end of a long table is missing.
    let is_whole = scan.omitted == 0 && scan.uncounted.is_empty();
    Ok(is_whole && records_for(file, lookup)?.0 != table)
}

/// Returns the other processes that have the file open and are not blocked in a lock call.
fn openers(scan: &Scan, own_pid: Pid) -> Vec<Pid> {
    let is_blocked = |pid| scan.blocked.iter().any(|thread| thread.pid == pid);
    let openers = scan.openers.iter().copied();
    openers
        .filter(|pid| *pid != own_pid && !is_blocked(*pid))
        .collect()
}

/// Returns the locks on the file, of those on ranges of bytes at most [`MAX_RANGES`], and whether
/// there was no time to read them all.
fn records_for(file: &File, lookup: Lookup) -> Result<(Vec<LockRecord>, TableRead, bool), Error> {
    /// How many locks are read before the time is checked.
    const CHECK_INTERVAL: u32 = 256;
    // A long table takes more time than the processes, for which half of the time is left.
    let limit = lookup.limit.map(|limit| limit.half());
    let is_over = || limit.is_some_and(|limit| limit.is_over());
    let mut reads = 0;
    loop {
        reads += 1;
        let mut records = Vec::new();
        let (mut ranges, mut count) = (0, 0_u32);
        let read = locks::read_table(&mut |record| {
            count = count.wrapping_add(1);
            if record.file == file.identity.key && (lookup.is_wanted)(&record) {
                ranges += usize::from(!record.is_whole());
                if record.is_whole() || ranges <= MAX_RANGES {
                    records.push(record);
                }
            }
            match count.is_multiple_of(CHECK_INTERVAL) && is_over() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        let read = read.map_err(|errno| Error::proc(locks::PATH, errno.into()))?;
        let is_late = is_over();
        drop_repeated(&mut records, read);
        // Other locks, of which a stranger can place any number, do not mean that none is missing.
        let has_flock = || {
            records
                .iter()
                .any(|record| record.lock_type == LockType::Flock)
        };
        let is_last = is_late || reads >= locks::MAX_TORN_READS;
        if read == TableRead::Atomic || has_flock() || is_last {
            return Ok((records, read, is_late));
        }
    }
}

/// Removes the locks that may have been read twice: of several equal ones in a torn table, only the
/// first one counts.
fn drop_repeated(records: &mut Vec<LockRecord>, read: TableRead) {
    if read == TableRead::Torn {
        let mut known = BTreeSet::new();
        records.retain(|record| known.insert(*record));
    }
}

/// Returns a lock of fcntl(2) that the file's server knows. On NFS and CIFS, locks of flock(2) are
/// locks of fcntl(2) on the server.
///
/// # Errors
///
/// Descriptors or memory are exhausted.
fn remote_holder(file: &File) -> Result<Option<LockUser>, Errno> {
    let opened = match file.open() {
        Err(errno) if is_exhaustion(errno) => return Err(errno),
        Err(_) => return Ok(None),
        Ok(opened) => opened,
    };
    let last = *SLOT_RANGE.start() - 1;
    let conflict = sys::ofd::conflict(opened.as_fd(), 0, last).ok().flatten();
    Ok(conflict.map(|_| LockUser {
        role: Role::Holder,
        kind: ListedKind::Posix,
        mode: None,
        range: None,
        pid: None,
        confidence: Confidence::Unverified,
        since: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lines_of_a_torn_table_count_once() {
        let line = |range: &str| format!("1: OFDLCK ADVISORY READ -1 fe:00:99 {range}");
        let record = |range| LockRecord::parse(line(range).as_bytes()).expect("a lock");
        let table = [record("0 EOF"), record("5 9"), record("0 EOF")];
        let counted = |read| {
            let mut records = table.to_vec();
            drop_repeated(&mut records, read);
            records
        };
        assert_eq!(counted(TableRead::Torn), table[..2]);
        assert_eq!(counted(TableRead::Atomic), table);
    }
}
