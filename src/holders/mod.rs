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
mod resolve;
mod scan;

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::process::getpid;

use crate::lock::fair::marker::SLOT_RANGE;
use crate::sys;
use crate::sys::errno::is_exhaustion;
use crate::sys::filesystem::Locality;
use crate::sys::procfs::access::omits_processes;
use crate::sys::procfs::locks::{self, LockRecord, LockState, LockType, TableRead};
use crate::sys::procfs::own_pid;
use crate::sys::procfs::stat::parent;

pub use deadlock::find_deadlocks;
pub use deleted::find_deleted;
pub use error::Error;
pub use file::File;
pub use lock_user::{
    Caller, Confidence, ListedKind, LockUser, Namespace, OwnLock, Range, Role, Snapshot, Visibility,
};
use resolve::Observations;
use scan::WaiterSearch;

/// How often a snapshot is retaken if the table has changed in the meantime.
const MAX_ATTEMPTS: u32 = 4;

/// Returns the holders and waiters of the locks on a file.
///
/// *Race:* locks are acquired, released and passed on while we look. A process that is listed was
/// seen to hold the lock, or to wait for it, at some moment. But a lock that is held all the time
/// could be missed. A long table is read in pieces, and if a lock in an earlier piece is released
/// in between, the next piece starts one line too late. Therefore a file that is missing from such
/// a table proves nothing: the table is read again, and the processes are examined in any case, also
/// for waiters. A
/// lock that is passed on may be missed at both processes; therefore, if fewer holders are found
/// than locks, and the table has changed, we look again.
///
/// # Errors
///
/// There is no `/proc`.
///
/// # References
///
/// proc_locks(5), proc_pid_fdinfo(5).
pub fn snapshot(file: &File, caller: Caller) -> Result<Snapshot, Error> {
    let visibility = Visibility {
        is_restricted: omits_processes(),
        namespace: Namespace::current(),
        locality: file.locality(),
        file_system: file.file_system().map(str::to_owned),
        error: None,
    };
    let namespace = visibility.namespace;
    let is_table_complete = namespace == Namespace::Whole && visibility.locality == Locality::Local;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let (table, read) = records_for(file)?;
        if table.is_empty() && is_table_complete && read == TableRead::Atomic {
            return Ok(Snapshot {
                users: Vec::new(),
                own_locks: Vec::new(),
                is_inherited: false,
                is_remote_holder: false,
                openers: Vec::new(),
                is_deleted: file.is_deleted(),
                visibility,
            });
        }
        let has_anonymous_waiters = table
            .iter()
            .any(|record| record.state == LockState::Blocked && record.lock_type == LockType::Ofd);
        let search = if !is_table_complete || read == TableRead::Torn || has_anonymous_waiters {
            WaiterSearch::AllThreads
        } else {
            WaiterSearch::TableOnly
        };
        let scan = scan::scan(&[file.identity], search);
        let mut visibility = visibility.clone();
        visibility.is_restricted |= scan.hidden > 0;
        visibility.error = scan.error;
        let observations = Observations {
            table: &table,
            scan: &scan,
            caller: (caller, own_pid().unwrap_or_else(getpid)),
            is_partial: visibility.is_partial(),
            parent: &parent,
            is_alive: &|pid| namespace.has(pid),
        };
        let mut users = observations.users();
        let is_incomplete = users
            .iter()
            .any(|user| user.confidence == Confidence::Unverified);
        if is_incomplete && attempts < MAX_ATTEMPTS && records_for(file)?.0 != table {
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
            users: ordered,
            own_locks: observations.own_locks(),
            is_inherited: observations.inherited().next().is_some(),
            is_remote_holder,
            openers: if shows_openers {
                observations.openers()
            } else {
                Vec::new()
            },
            is_deleted: file.is_deleted(),
            visibility,
        });
    }
}

/// Returns the locks on the file.
fn records_for(file: &File) -> Result<(Vec<LockRecord>, TableRead), Error> {
    for _ in 0..locks::MAX_TORN_READS {
        let read = locks::read_table();
        let (table, read) = read.map_err(|errno| Error::proc(locks::PATH, errno.into()))?;
        let records = locks::records_for(file.identity.key, &table);
        if read == TableRead::Atomic || !records.is_empty() {
            return Ok((records, read));
        }
    }
    Ok((Vec::new(), TableRead::Torn))
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
