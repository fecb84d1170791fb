//! Finds the descriptors of all processes, as far as they are visible.

use std::mem::MaybeUninit;
use std::os::fd::RawFd;

use rustix::fs::RawDir;
use rustix::io::Errno;
use rustix::process::Pid;

use super::file::File;
use crate::sys::procfs::fdinfo::FdInfo;
use crate::sys::procfs::locks::LockRecord;
use crate::sys::procfs::status::Status;
use crate::sys::procfs::syscall::BlockedCall;
use crate::sys::procfs::{decimal, numeric_entries, open_dir, pids, process_dir};

/// A descriptor whose open file description holds a lock on the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FdLock {
    pub pid: Pid,
    /// The PID in the process's own PID namespace.
    pub ns_pid: Option<Pid>,
    pub record: LockRecord,
}

/// A thread that is blocked in a lock call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockedThread {
    pub pid: Pid,
    pub call: BlockedCall,
}

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub fd_locks: Vec<FdLock>,
    pub blocked: Vec<BlockedThread>,
    /// The processes whose descriptors are visible.
    pub visible: Vec<Pid>,
    /// The number of processes whose descriptors are hidden.
    pub hidden: usize,
}

/// Where waiters are searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaiterSearch {
    /// Nowhere: `/proc/locks` lists them all.
    TableOnly,
    /// In all threads that have the file open.
    AllThreads,
}

/// Examines all processes.
///
/// No file is queried, not even for its type: its server may be unreachable, and the call would
/// hang. The kernel's own records (`fdinfo`) contain everything that is needed.
///
/// *Race:* processes start, exit and pass descriptors on during the scan. The kernel lists them by
/// PID: a process that is started by one that has already been examined has a higher PID and is
/// seen, unless the PIDs wrap around. A lock that has been passed on changes `/proc/locks`, and
/// then the caller scans again.
pub(super) fn scan(file: &File, search: WaiterSearch) -> Scan {
    let mut scan = Scan::default();
    for pid in pids().unwrap_or_default() {
        let dir = process_dir(pid);
        match examine(file, &dir, pid, search, &mut scan) {
            Ok(0) => examine_threads(file, &dir, pid, search, &mut scan),
            Ok(_) => {}
            Err(Errno::ACCESS | Errno::PERM) => {
                scan.hidden += 1;
                continue;
            }
            Err(_) => continue,
        }
        scan.visible.push(pid);
    }
    scan
}

/// If the main thread of a process has exited, only its other threads show the descriptors.
fn examine_threads(file: &File, dir: &str, pid: Pid, search: WaiterSearch, scan: &mut Scan) {
    for thread in numeric_entries(&format!("{dir}/task")).unwrap_or_default() {
        if thread != pid.as_raw_nonzero().get() as u32 {
            let dir = format!("{dir}/task/{thread}");
            if examine(file, &dir, pid, search, scan).is_ok_and(|count| count > 0) {
                return;
            }
        }
    }
}

/// Examines the descriptors of a process or thread, and returns how many it has.
fn examine(
    file: &File,
    dir: &str,
    pid: Pid,
    search: WaiterSearch,
    scan: &mut Scan,
) -> Result<usize, Errno> {
    let fdinfo = open_dir(&format!("{dir}/fdinfo"))?;
    let mut count = 0;
    let mut fds = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(&fdinfo, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let Some(fd) = decimal(entry.file_name().to_bytes()) else {
            continue;
        };
        count += 1;
        let Ok(info) = FdInfo::read_at(&fdinfo, entry.file_name()) else {
            continue;
        };
        let has_lock = info.locks.iter().any(|record| record.file == file.key);
        let may_wait = search == WaiterSearch::AllThreads
            && info.inode.is_none_or(|inode| inode == file.key.inode);
        if (has_lock || may_wait) && file.is_open_at(&format!("{dir}/fd/{fd}")) {
            let records = info.locks.into_iter();
            let on_file = records.filter(|record| record.file == file.key);
            scan.fd_locks.extend(on_file.map(|record| FdLock {
                pid,
                ns_pid: Status::read_in(dir).and_then(|status| status.ns_pid()),
                record,
            }));
            fds.push(fd as RawFd);
        }
    }
    if search == WaiterSearch::AllThreads && !fds.is_empty() {
        find_blocked_threads(dir, pid, &fds, scan);
    }
    Ok(count)
}

fn find_blocked_threads(dir: &str, pid: Pid, fds: &[RawFd], scan: &mut Scan) {
    for thread in numeric_entries(&format!("{dir}/task")).unwrap_or_default() {
        let call = BlockedCall::read_in(&format!("{dir}/task/{thread}"));
        if let Some(call) = call.filter(|call| fds.contains(&call.fd())) {
            scan.blocked.push(BlockedThread { pid, call });
        }
    }
}
