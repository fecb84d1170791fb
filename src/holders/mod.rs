//! The holders and the waiters of a lock, as far as `/proc` shows them. No lock is taken to find out.
//!
//! `/proc/locks` lists all locks, but for each only the process that *acquired* it: a script that calls
//! `flock 8` has its lock from a process that has exited, and locks of open file descriptions have no PID
//! at all. The *holders* are the processes that have the open file description open, one or several, and
//! `/proc/PID/fdinfo` shows those. [`snapshot`] reads both and combines them.
//!
//! * `file` – identifies the file as the kernel does.
//! * `scan` – finds the descriptors of all processes.
//! * `resolve` – combines the observations.

mod file;
mod resolve;
mod scan;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsFd;

use rustix::process::{Pid, getpid};

use crate::lock::fair::marker::{ArrivalTime, SLOT_RANGE};
use crate::lock::{self, Mode};
use crate::sys;
use crate::sys::errno;
use crate::sys::filesystem::Locality;
use crate::sys::procfs::liveness::{self, Liveness};
use crate::sys::procfs::locks::{self, LockRecord, LockState, LockType, TableRead};
use crate::sys::procfs::stat::Stat;
use crate::sys::procfs::{own_pid, shows_own_pids};

pub use file::File;
use resolve::Observations;
use scan::WaiterSearch;

/// The role of a process in a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It holds the lock.
    Holder,
    /// It waits for the lock.
    Waiter,
}

/// The kinds of lock that are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedKind {
    /// flock(2).
    Flock,
    /// fcntl(2), for an open file description.
    Ofd,
    /// fcntl(2), for a process.
    Posix,
    /// A slot of `flock --slots`.
    Slot,
}

impl From<LockType> for ListedKind {
    fn from(lock_type: LockType) -> Self {
        match lock_type {
            LockType::Flock => Self::Flock,
            LockType::Ofd => Self::Ofd,
            LockType::Posix => Self::Posix,
        }
    }
}

/// A range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first byte.
    pub first: i64,
    /// The last byte; `None` means to the end of the file and beyond.
    pub last: Option<i64>,
}

/// How certain it is that a process has its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    /// The kernel shows it.
    Verified,
    /// The process acquired the lock, and no process is seen to hold it; but the descriptors of the
    /// process are hidden.
    Unverified,
}

/// A process that holds or waits for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockUser {
    /// Its role.
    pub role: Role,
    /// The kind of lock.
    pub kind: ListedKind,
    /// [`Mode::Shared`] or [`Mode::Exclusive`]; `None` if there is no difference, or it is unknown.
    pub mode: Option<Mode>,
    /// The locked bytes; `None` means the whole file.
    pub range: Option<Range>,
    /// The PID in `/proc`, which is the PID here unless the namespace is [`Namespace::Foreign`]; `None`
    /// if it is unknown.
    pub pid: Option<Pid>,
    /// How certain it is.
    pub confidence: Confidence,
    /// When it arrived or acquired the lock, if a marker says so.
    pub since: Option<ArrivalTime>,
}

/// The process that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A process that exists only to ask: even if it has inherited a lock, it is not listed.
    Process,
    /// A shell that asks in its own process, and may hold or wait for the lock itself.
    Shell,
    /// A subshell, forked for `$(flock --who ...)`: it holds whatever the shell holds.
    Subshell,
}

/// The holders and waiters at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// All processes that are known to use the lock, holders first.
    pub users: Vec<LockUser>,
    /// What may be missing.
    pub visibility: Visibility,
}

/// The limits of what could be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visibility {
    /// How many processes have hidden descriptors.
    pub hidden: usize,
    /// Whether all processes of the machine are visible.
    pub namespace: Namespace,
    /// Whether other machines can lock the file.
    pub locality: Locality,
}

/// The processes that `/proc` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// All processes of the machine.
    Whole,
    /// The processes of this process's PID namespace.
    Part,
    /// The processes of another PID namespace, whose PIDs mean other processes here.
    Foreign,
}

impl Namespace {
    /// The link of the initial PID namespace, whose inode is `PROC_PID_INIT_INO`.
    const INITIAL: &str = "pid:[4026531836]";

    fn current() -> Self {
        let link = fs::read_link("/proc/self/ns/pid");
        if !shows_own_pids() {
            Self::Foreign
        } else if link.is_ok_and(|link| link.as_os_str() == Self::INITIAL) {
            Self::Whole
        } else {
            Self::Part
        }
    }
}

/// Why no snapshot could be taken.
#[derive(Debug)]
pub enum Error {
    /// The file or descriptor does not exist.
    Lock(lock::Error),
    /// A file in `/proc` cannot be read.
    Proc {
        /// Its path.
        path: String,
        /// The error of the system.
        error: io::Error,
    },
}

impl Error {
    /// Returns the message, in bytes, because paths are bytes.
    pub fn message(&self) -> OsString {
        match self {
            Self::Lock(error) => error.message(),
            Self::Proc { path, error } => {
                let reason = errno::text(error);
                format!("cannot list lock holders: {path}: {reason}").into()
            }
        }
    }
}

fn proc_error(path: &str, error: io::Error) -> Error {
    let path = path.to_owned();
    Error::Proc { path, error }
}

/// How often a snapshot is retaken if the table has changed in the meantime.
const MAX_ATTEMPTS: u32 = 4;

/// How often a table that was read in pieces is read until the file is in it.
const MAX_TABLE_READS: u32 = 4;

/// Returns the holders and waiters of the locks on a file.
///
/// *Race:* locks are acquired, released and passed on while we look. A process that is listed was seen to
/// hold the lock, or to wait for it, at some moment. But a lock that is held all the time could be missed.
/// A long table is read in pieces, and if a lock in an earlier piece is released in between, the next piece
/// starts one line too late. Therefore a file that is missing from such a table proves nothing: the table
/// is read again, and the processes are examined in any case. A lock that is passed on may be missed at
/// both processes; therefore, if fewer holders are found than locks, and the table has changed, we look
/// again.
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
        let (table, read) = read.map_err(|errno| proc_error(locks::PATH, errno.into()))?;
        let records = locks::records_for(file.key, &table);
        if read == TableRead::Atomic || !records.is_empty() {
            return Ok((records, read));
        }
    }
    Ok((Vec::new(), TableRead::Torn))
}

/// Returns a lock of fcntl(2) that the file's server knows. On NFS and CIFS, locks of flock(2) are locks
/// of fcntl(2) on the server.
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
