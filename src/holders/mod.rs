//! The holders and the waiters of a lock, as far as `/proc` shows them. No lock is taken to find
//! out.
//!
//! `/proc/locks` lists all locks, but for each only the process that *acquired* it: a script that
//! calls `flock 8` has its lock from a process that has exited, and locks of open file descriptions
//! have no PID at all. The *holders* are the processes that have the open file description open,
//! one or several, and `/proc/PID/fdinfo` shows those. [`snapshot`] reads both and combines them.

mod error;
mod file;
mod lock_user;
mod resolve;
mod scan;

use std::os::fd::AsFd;

use rustix::process::{Pid, getpid};

use crate::lock::fair::marker::SLOT_RANGE;
use crate::sys;
use crate::sys::filesystem::Locality;
use crate::sys::procfs::liveness::{self, Liveness};
use crate::sys::procfs::locks::{self, LockRecord, LockState, LockType, TableRead};
use crate::sys::procfs::own_pid;
use crate::sys::procfs::stat::Stat;

pub use error::Error;
pub use file::File;
pub use lock_user::{
    Caller, Confidence, ListedKind, LockUser, Namespace, Range, Role, Snapshot, Visibility,
};
use resolve::Observations;
use scan::WaiterSearch;

/// How often a snapshot is retaken if the table has changed in the meantime.
const MAX_ATTEMPTS: u32 = 4;

/// How often a table that was read in pieces is read until the file is in it.
const MAX_TABLE_READS: u32 = 4;

/// Returns the holders and waiters of the locks on a file.
///
/// *Race:* locks are acquired, released and passed on while we look. A process that is listed was
/// seen to hold the lock, or to wait for it, at some moment. But a lock that is held all the time
/// could be missed. A long table is read in pieces, and if a lock in an earlier piece is released
/// in between, the next piece starts one line too late. Therefore a file that is missing from such
/// a table proves nothing: the table is read again, and the processes are examined in any case. A
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
    let mut visibility = Visibility {
        hidden: 0,
        namespace: Namespace::current(),
        locality: file.locality(),
    };
    let namespace = visibility.namespace;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let (table, read) = records_for(file)?;
        if table.is_empty() && namespace == Namespace::Whole && read == TableRead::Atomic {
            let users = match visibility.locality {
                Locality::Local => Vec::new(),
                Locality::Remote => remote_holder(file).into_iter().collect(),
            };
            return Ok(Snapshot { users, visibility });
        }
        let has_anonymous_waiters = table
            .iter()
            .any(|record| record.state == LockState::Blocked && record.lock_type == LockType::Ofd);
        let search = if namespace != Namespace::Whole || has_anonymous_waiters {
            WaiterSearch::AllThreads
        } else {
            WaiterSearch::TableOnly
        };
        let scan = scan::scan(file, search);
        let observations = Observations {
            table: &table,
            scan: &scan,
            caller: (caller, own_pid().unwrap_or_else(getpid)),
            parent: &parent,
            is_alive: &|pid| match namespace {
                Namespace::Foreign => parent(pid).is_some(),
                Namespace::Whole | Namespace::Part => liveness::check(pid) != Liveness::Dead,
            },
        };
        let mut users = observations.users();
        let is_incomplete = users
            .iter()
            .any(|user| user.confidence == Confidence::Unverified);
        if is_incomplete && attempts < MAX_ATTEMPTS && records_for(file)?.0 != table {
            continue;
        }
        let has_holder = users.iter().any(|user| user.role == Role::Holder);
        if !has_holder && visibility.locality == Locality::Remote {
            users.extend(remote_holder(file));
        }
        // The sort of the standard library takes 9 kB.
        let (mut ordered, waiters): (Vec<LockUser>, Vec<LockUser>) = users
            .into_iter()
            .partition(|user| user.role == Role::Holder);
        ordered.extend(waiters);
        visibility.hidden = scan.hidden;
        return Ok(Snapshot {
            users: ordered,
            visibility,
        });
    }
}

/// Returns the locks on the file.
fn records_for(file: &File) -> Result<(Vec<LockRecord>, TableRead), Error> {
    for _ in 0..MAX_TABLE_READS {
        let read = locks::read_table();
        let (table, read) = read.map_err(|errno| Error::proc(locks::PATH, errno.into()))?;
        let records = locks::records_for(file.key, &table);
        if read == TableRead::Atomic || !records.is_empty() {
            return Ok((records, read));
        }
    }
    Ok((Vec::new(), TableRead::Torn))
}

/// Returns a lock of fcntl(2) that the file's server knows. On NFS and CIFS, locks of flock(2) are
/// locks of fcntl(2) on the server.
fn remote_holder(file: &File) -> Option<LockUser> {
    let opened = file.open()?;
    let last = *SLOT_RANGE.start() - 1;
    sys::ofd::conflict(opened.as_fd(), 0, last).ok()??;
    Some(LockUser {
        role: Role::Holder,
        kind: ListedKind::Posix,
        mode: None,
        range: None,
        pid: None,
        confidence: Confidence::Unverified,
        since: None,
    })
}

fn parent(pid: Pid) -> Option<Pid> {
    Pid::from_raw(Stat::read(pid)?.parent)
}
