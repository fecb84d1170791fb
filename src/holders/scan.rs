//! Finds the descriptors of all processes, as far as they are visible.

use std::mem::MaybeUninit;
use std::os::fd::RawFd;

use rustix::fs::RawDir;
use rustix::io::Errno;
use rustix::process::Pid;

use super::file::Identity;
use crate::sys::errno::is_exhaustion;
use crate::sys::procfs::fdinfo::FdInfo;
use crate::sys::procfs::locks::{FileKey, LockRecord};
use crate::sys::procfs::status::Status;
use crate::sys::procfs::syscall::BlockedCall;
use crate::sys::procfs::{decimal, numeric_entries, open_dir, pids, process_dir};

/// A descriptor whose open file description holds a lock on one of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FdLock {
    pub pid: Pid,
    /// The PID in the process's own PID namespace.
    pub ns_pid: Option<Pid>,
    pub fd: RawFd,
    pub record: LockRecord,
}

/// A thread that is blocked in a lock call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockedThread {
    pub pid: Pid,
    /// The file that its descriptor is open on.
    pub file: FileKey,
    pub call: BlockedCall,
}

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub fd_locks: Vec<FdLock>,
    pub blocked: Vec<BlockedThread>,
    /// The processes that have one of the files open, if waiters were searched for in all threads.
    pub openers: Vec<Pid>,
    /// The processes whose descriptors are visible.
    pub visible: Vec<Pid>,
    /// The number of processes whose descriptors are hidden.
    pub hidden: usize,
    /// Why a process could not be examined: descriptors or memory are exhausted.
    pub error: Option<Errno>,
}

impl Scan {
    /// Returns what was found about one file.
    pub fn only(&self, file: FileKey) -> Self {
        let locks = self.fd_locks.iter();
        let blocked = self.blocked.iter();
        Self {
            fd_locks: locks
                .filter(|lock| lock.record.file == file)
                .cloned()
                .collect(),
            blocked: blocked
                .filter(|thread| thread.file == file)
                .copied()
                .collect(),
            openers: Vec::new(),
            visible: self.visible.clone(),
            ..*self
        }
    }
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
pub(super) fn scan(files: &[Identity], search: WaiterSearch) -> Scan {
    let mut scanner = Scanner {
        files,
        search,
        found: Scan::default(),
    };
    match pids() {
        Ok(pids) => pids
            .into_iter()
            .for_each(|pid| scanner.examine_process(pid)),
        Err(errno) => scanner.found.error = Some(errno),
    }
    scanner.found
}

struct Scanner<'f> {
    files: &'f [Identity],
    search: WaiterSearch,
    found: Scan,
}

impl Scanner<'_> {
    fn examine_process(&mut self, pid: Pid) {
        let mut fds = Vec::new();
        let visited = visit_fds(pid, &mut |dir, fd, info| match info {
            Ok(info) => fds.extend(self.examine_fd(dir, pid, fd, &info).map(|file| (fd, file))),
            Err(errno) => self.record_exhaustion(errno),
        });
        match visited {
            Ok(()) => self.found.visible.push(pid),
            Err(Errno::ACCESS | Errno::PERM) => self.found.hidden += 1,
            Err(errno) => self.record_exhaustion(errno),
        }
        if self.search == WaiterSearch::AllThreads && !fds.is_empty() {
            self.find_blocked_threads(pid, &fds);
        }
    }

    /// Examines a descriptor. Returns the file, of those that are searched for, that it is open on.
    fn examine_fd(&mut self, dir: &str, pid: Pid, fd: RawFd, info: &FdInfo) -> Option<FileKey> {
        let has_lock = |file: &Identity| info.locks.iter().any(|record| record.file == file.key);
        let may_wait =
            |file: &Identity| self.search == WaiterSearch::AllThreads && file.may_be(info, dir);
        let mut files = self.files.iter();
        let file = files.find(|file| {
            (has_lock(file) || may_wait(file)) && file.is_open_at(&format!("{dir}/fd/{fd}"))
        })?;
        let on_file = info.locks.iter().filter(|record| record.file == file.key);
        self.found.fd_locks.extend(on_file.map(|record| FdLock {
            pid,
            ns_pid: Status::read_in(dir).and_then(|status| status.ns_pid()),
            fd,
            record: *record,
        }));
        if info.inode.is_some() && may_wait(file) && !self.found.openers.contains(&pid) {
            self.found.openers.push(pid);
        }
        Some(file.key)
    }

    fn find_blocked_threads(&mut self, pid: Pid, fds: &[(RawFd, FileKey)]) {
        for call in blocked_calls(pid) {
            let mut fds = fds.iter();
            if let Some((_, file)) = fds.find(|(fd, _)| *fd == call.fd()) {
                let file = *file;
                self.found.blocked.push(BlockedThread { pid, file, call });
            }
        }
    }

    fn record_exhaustion(&mut self, errno: Errno) {
        if is_exhaustion(errno) {
            self.found.error = Some(errno);
        }
    }
}

/// What is called with each descriptor: the directory in `/proc` of the process or thread that has
/// it, its number, and what the kernel knows about it.
pub(super) type VisitFd<'v> = dyn FnMut(&str, RawFd, Result<FdInfo, Errno>) + 'v;

/// Visits the descriptors of a process. If its main thread has exited, only its other threads show
/// them.
pub(super) fn visit_fds(pid: Pid, visit: &mut VisitFd<'_>) -> Result<(), Errno> {
    let dir = process_dir(pid);
    if visit_fds_in(&dir, visit)? > 0 {
        return Ok(());
    }
    for thread in numeric_entries(&format!("{dir}/task")).unwrap_or_default() {
        let is_main = thread == pid.as_raw_nonzero().get() as u32;
        let dir = format!("{dir}/task/{thread}");
        if !is_main && visit_fds_in(&dir, visit).is_ok_and(|count| count > 0) {
            break;
        }
    }
    Ok(())
}

/// Visits the descriptors of a process or thread, and returns how many it has.
fn visit_fds_in(dir: &str, visit: &mut VisitFd<'_>) -> Result<usize, Errno> {
    let fdinfo = open_dir(&format!("{dir}/fdinfo"))?;
    let mut count = 0;
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(&fdinfo, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if let Some(fd) = decimal(entry.file_name().to_bytes()) {
            count += 1;
            visit(
                dir,
                fd as RawFd,
                FdInfo::read_at(&fdinfo, entry.file_name()),
            );
        }
    }
    Ok(count)
}

/// Returns the lock calls in which threads of a process are blocked, as far as they are visible.
pub(super) fn blocked_calls(pid: Pid) -> Vec<BlockedCall> {
    let dir = process_dir(pid);
    let threads = numeric_entries(&format!("{dir}/task")).unwrap_or_default();
    let call = |thread| BlockedCall::read_in(&format!("{dir}/task/{thread}"));
    threads.into_iter().filter_map(call).collect()
}
