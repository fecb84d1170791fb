//! All locks of the machine, from one scan of its processes.

mod locked_file;
mod table;

use std::collections::BTreeSet;

use rustix::process::{Pid, getpid};

use super::deadlock::{self, Waits, of_file};
use super::error::Error;
use super::lock_user::{Caller, Namespace, Visibility};
use super::resolve::{Observations, ProcProcesses};
use super::scan::{self, FdLock, Files, MAX_FD_LOCKS, Scan, Search, WaiterSearch};
use crate::sys::filesystem::Locality;
use crate::sys::procfs::access::omits_processes;
use crate::sys::procfs::locks::{FileKey, LockRecord, LockState, LockType, TableRead};
use crate::sys::procfs::own_pid;
pub use locked_file::LockedFile;
use locked_file::MountPoints;
use table::Table;

/// The locks of the machine at one moment.
#[derive(Debug)]
pub struct Machine {
    /// The files with locks, by path; those without a known path come last.
    pub files: Vec<LockedFile>,
    /// The processes that wait for each other: see [`find_deadlocks`](super::find_deadlocks).
    pub deadlocks: Vec<Vec<Pid>>,
    /// How many locks are not listed, because there are too many.
    pub omitted: usize,
    /// What may be missing.
    pub visibility: Visibility,
}

/// Returns the holders and waiters of all locks.
///
/// The table of all locks and the descriptors of all processes are read once, whatever the number
/// of files. Only deadlocks, if there seem to be any, and locks without a visible holder are looked
/// at again. Memory is limited by the number of locks that are listed.
///
/// *Race:* locks are acquired, released and passed on meanwhile. A process that is listed was seen
/// to hold the lock, or to wait for it, at some moment. A lock in the table that no process is seen
/// to hold may have been released before the processes were examined. So if there is one, the table
/// is read again, and what is no longer in it is not listed. A lock that was passed on between two
/// processes may be listed without a holder, but does not go missing.
///
/// # Errors
///
/// There is no `/proc`.
///
/// # References
///
/// proc_locks(5), proc_pid_fdinfo(5).
pub fn all_locks(caller: Caller) -> Result<Machine, Error> {
    let namespace = Namespace::current();
    let mut visibility = Visibility {
        is_restricted: omits_processes(),
        namespace,
        locality: Locality::Local,
        file_system: None,
        error: None,
        is_cut_short: false,
    };
    let mut table = Table::read()?;
    let is_complete = namespace == Namespace::Whole && table.read == TableRead::Atomic;
    if table.records.is_empty() && is_complete {
        return Ok(Machine {
            files: Vec::new(),
            deadlocks: Vec::new(),
            omitted: 0,
            visibility,
        });
    }
    let is_anonymous = |record: &LockRecord| {
        record.state == LockState::Blocked && record.lock_type == LockType::Ofd
    };
    let search = Search {
        files: Files::All,
        waiters: match is_complete && !table.records.iter().any(is_anonymous) {
            true => WaiterSearch::TableOnly,
            false => WaiterSearch::AllThreads,
        },
        is_wanted: |_| true,
        limit: None,
        first: &[],
        on_other: None,
    };
    let mut scan = scan::scan(search);
    let mut seen = Seen::take_from(&mut scan);
    let own_pid = own_pid().unwrap_or_else(getpid);
    let caller = (caller, own_pid);
    if has_unseen(&table, &seen, &scan, caller) {
        scan.fd_locks = std::mem::take(&mut seen.fd_locks);
        scan.blocked = std::mem::take(&mut seen.blocked);
        scan::scan_threads(search, &mut scan);
        seen = Seen::take_from(&mut scan);
        let mut current: BTreeSet<LockRecord> = Table::read()?.records.into_iter().collect();
        current.extend(seen.fd_locks.iter().map(|lock| lock.record));
        table.records.retain(|record| current.contains(record));
    }
    if scan.omitted > 0 {
        // Which of these locks are unseen is not known.
        let is_full = seen.fd_locks.len() >= MAX_FD_LOCKS;
        table
            .records
            .retain(|record| record.state == LockState::Blocked || (record.is_whole() && !is_full));
    }
    table
        .records
        .retain(|record| !scan.uncounted.contains(record));
    visibility.is_restricted |= scan.hidden > 0;
    visibility.error = scan.error;
    visibility.is_cut_short = table.is_cut_short;
    Ok(list(&table, &seen, &scan, caller, visibility))
}

/// What a scan has found, in the order of the files.
struct Seen {
    fd_locks: Vec<FdLock>,
    blocked: Vec<scan::BlockedThread>,
}

impl Seen {
    fn take_from(scan: &mut Scan) -> Self {
        let mut fd_locks = std::mem::take(&mut scan.fd_locks);
        let mut blocked = std::mem::take(&mut scan.blocked);
        let raw = |pid: Pid| pid.as_raw_nonzero();
        fd_locks.sort_unstable_by_key(|lock| (lock.record.file, raw(lock.pid), lock.record));
        blocked.sort_unstable_by_key(|thread| (thread.file, raw(thread.pid)));
        Self { fd_locks, blocked }
    }

    /// Returns the files of the table, and those that only a scan has found.
    fn files(&self, table: &Table) -> BTreeSet<FileKey> {
        let mut files = BTreeSet::new();
        files.extend(table.records.iter().map(|record| record.file));
        files.extend(self.fd_locks.iter().map(|lock| lock.record.file));
        files.extend(self.blocked.iter().map(|thread| thread.file));
        files
    }

    /// Returns what was observed about a file.
    fn observations<'o>(
        &'o self,
        file: FileKey,
        table: &'o Table,
        caller: (Caller, Pid),
        is_partial: bool,
        processes: &'o ProcProcesses<'o>,
    ) -> Observations<'o> {
        Observations::new(
            of_file(&table.records, file, |record| record.file),
            of_file(&self.fd_locks, file, |lock| lock.record.file),
            of_file(&self.blocked, file, |thread| thread.file),
            caller,
            is_partial,
            processes,
        )
    }
}

/// Returns whether there is a lock that no process was seen to hold.
fn has_unseen(table: &Table, seen: &Seen, scan: &Scan, caller: (Caller, Pid)) -> bool {
    let namespace = Namespace::Whole;
    let processes = ProcProcesses { namespace, scan };
    seen.files(table).into_iter().any(|file| {
        let observations = seen.observations(file, table, caller, false, &processes);
        observations.unseen().next().is_some()
    })
}

fn list(
    table: &Table,
    seen: &Seen,
    scan: &Scan,
    caller: (Caller, Pid),
    visibility: Visibility,
) -> Machine {
    let namespace = visibility.namespace;
    let processes = ProcProcesses { namespace, scan };
    let mut waits = Waits::default();
    let limit = deadlock::time_limit();
    let (mut files, mut mounts) = (Vec::new(), MountPoints::default());
    for key in seen.files(table) {
        let is_partial = visibility.is_partial();
        let observations = seen.observations(key, table, caller, is_partial, &processes);
        let users = observations.users();
        if users.is_empty() {
            // Only the asking process has it, and is not listed.
            continue;
        }
        let fd_locks = observations.fd_locks;
        deadlock::add_waits(&users, fd_locks, &mut waits, &|| limit.is_over());
        files.push(LockedFile::new(key, users, fd_locks, &mut mounts));
    }
    // The order of their keys is kept for files whose paths are unknown.
    files.sort_by(|one, other| one.sort_key().cmp(&other.sort_key()));
    Machine {
        files,
        deadlocks: deadlock::confirmed_cycles(&waits, limit),
        omitted: scan.omitted,
        visibility,
    }
}
