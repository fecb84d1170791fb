//! Finds the descriptors of all processes, as far as they are visible.

mod files;
mod found;
mod visit;

use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};
use std::os::fd::RawFd;

use rustix::io::Errno;
use rustix::process::Pid;

use super::file::Identity;
use super::time_limit::TimeLimit;
use crate::sys::errno::is_exhaustion;
use crate::sys::process::share_descriptors;
use crate::sys::procfs::fdinfo::FdInfo;
use crate::sys::procfs::locks::{FileKey, LockRecord};
use crate::sys::procfs::mountinfo::{self, MountDevices};
use crate::sys::procfs::syscall::BlockedCall;
use crate::sys::procfs::{numeric_entries, pids, process_dir, shows_own_pids};

pub(super) use files::Files;
pub(super) use found::{BlockedThread, FdLock, Scan};
pub(super) use visit::visit_fds;
use visit::visit_fds_in;

/// How many locks on ranges of bytes are listed. A process can have any number of them on one
/// descriptor; beyond this number, one for each descriptor is listed, so that no holder is missing.
pub(super) const MAX_RANGES: usize = 100_000;

/// How many descriptors with locks are listed if all files are searched for.
pub(super) const MAX_FD_LOCKS: usize = 500_000;

/// How many descriptors with locks are listed of a process that has several for the same lock, and
/// how many descriptors a process has whose table is compared with that of others.
const MANY_DESCRIPTORS: usize = 128;

/// Where waiters are searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaiterSearch {
    /// Nowhere: `/proc/locks` lists them all.
    TableOnly,
    /// In all threads that have the file open.
    AllThreads,
}

/// What is searched for.
#[derive(Clone, Copy)]
pub(super) struct Search<'s> {
    pub files: Files<'s>,
    pub waiters: WaiterSearch,
    /// Returns whether a lock matters.
    pub is_wanted: fn(&LockRecord) -> bool,
    /// How long the search takes at most, whatever it has found by then.
    pub limit: Option<TimeLimit>,
    /// The processes that are examined first.
    pub first: &'s [Pid],
    /// What is called with each descriptor that is not open on one of the files.
    pub on_other: Option<OnOther<'s>>,
}

/// What is called with a descriptor: the directory in `/proc` of the process or thread that has it,
/// its number, and what the kernel knows about it.
pub(super) type OnOther<'s> = &'s dyn Fn(&str, RawFd, &FdInfo);

/// Examines all processes.
///
/// No file is queried, not even for its type: its server may be unreachable, and the call would
/// hang. The kernel's own records (`fdinfo`) contain everything that is needed.
///
/// *Race:* processes start, exit and pass descriptors on during the scan. The kernel lists them by
/// PID: a process that is started by one that has already been examined has a higher PID and is
/// seen, unless the PIDs wrap around. A lock that has been passed on changes `/proc/locks`, and
/// then the caller scans again.
pub(super) fn scan(search: Search<'_>) -> Scan {
    let mut scanner = Scanner::new(search, Scan::default());
    match pids() {
        Ok(pids) => {
            let others = pids.into_iter().filter(|pid| !search.first.contains(pid));
            for pid in search.first.iter().copied().chain(others) {
                if scanner.examine_process(pid).is_break() {
                    break;
                }
            }
        }
        Err(errno) => scanner.found.error = Some(errno),
    }
    scanner.found
}

/// Examines the threads that have descriptors of their own (`unshare(CLONE_FILES)`), which are not
/// among those of their process. That takes a list of threads for each process, so it is only done
/// for locks that have no visible holder otherwise.
pub(super) fn scan_threads(search: Search<'_>, found: &mut Scan) {
    let visible = found.visible.clone();
    let mut scanner = Scanner::new(search, std::mem::take(found));
    let raw = |pid: &Pid| pid.as_raw_nonzero().get();
    let first = search.first.iter().map(raw);
    let first = first.filter(|pid| visible.binary_search(pid).is_ok());
    let others = visible.iter().copied();
    let others = others.filter(|pid| !search.first.iter().any(|first| raw(first) == *pid));
    for pid in first.chain(others).filter_map(Pid::from_raw) {
        if scanner.examine_threads(pid).is_break() {
            break;
        }
    }
    *found = scanner.found;
}

struct Scanner<'s> {
    search: Search<'s>,
    /// The indices of the files, by inode.
    by_inode: Vec<(u64, usize)>,
    found: Scan,
    /// The number of locks on ranges of bytes.
    ranges: usize,
    /// The locks of the process that is being examined.
    of_process: BTreeSet<LockRecord>,
    /// The number of its descriptors that have them.
    locked: usize,
    /// The processes with many descriptors: their locks in the list, and whether they have one of
    /// the files open.
    large: Vec<(Pid, Range<usize>, bool)>,
    /// The descriptors that were found before the threads are examined.
    known: BTreeSet<(i32, RawFd, LockRecord)>,
    /// The mounts in the namespace of the process or thread with this directory.
    mounts: Option<(String, Option<MountDevices>)>,
    can_compare: bool,
    /// How often the time was to be checked.
    checks: u32,
}

/// How many processes with many descriptors are compared.
const MAX_LARGE: usize = 1024;

/// How many descriptors are examined between two looks at the clock.
const CHECK_INTERVAL: u32 = 16;

const CONTINUE: ControlFlow<()> = ControlFlow::Continue(());

impl<'s> Scanner<'s> {
    fn new(search: Search<'s>, found: Scan) -> Self {
        let mut known = BTreeSet::new();
        let locks = found.fd_locks.iter();
        known.extend(locks.map(|lock| (lock.pid.as_raw_nonzero().get(), lock.fd, lock.record)));
        Self {
            search,
            by_inode: search.files.by_inode(),
            known,
            ranges: found.fd_locks.len(),
            found,
            mounts: None,
            of_process: BTreeSet::new(),
            locked: 0,
            large: Vec::new(),
            can_compare: shows_own_pids(),
            checks: 0,
        }
    }

    /// Breaks when the time is up. As reading the clock of the processor is a system call, not all
    /// calls do so.
    fn check_time(&mut self) -> ControlFlow<()> {
        let is_due = self.checks.is_multiple_of(CHECK_INTERVAL);
        self.checks = self.checks.wrapping_add(1);
        if is_due && self.search.limit.is_some_and(|limit| limit.is_over()) {
            self.found.is_cut_short = true;
            return ControlFlow::Break(());
        }
        CONTINUE
    }

    fn examine_process(&mut self, pid: Pid) -> ControlFlow<()> {
        self.check_time()?;
        let is_interesting = is_wanted(self.search.files);
        let (mut has_file, mut count) = (false, 0);
        let start = self.found.fd_locks.len();
        (self.of_process, self.locked) = (BTreeSet::new(), 0);
        let visited = visit_fds(pid, &is_interesting, &mut |dir, fd, info| {
            count += 1;
            if count == MANY_DESCRIPTORS
                && let Some(has) = self.copy_shared(pid, start)
            {
                has_file |= has;
                return ControlFlow::Break(());
            }
            has_file |= self.examine_fd(dir, pid, fd, info);
            self.check_time()
        });
        if count > MANY_DESCRIPTORS && self.large.len() < MAX_LARGE {
            let locks = start..self.found.fd_locks.len();
            self.large.push((pid, locks, has_file));
        }
        match visited {
            Ok(_) if self.found.is_cut_short => return ControlFlow::Break(()),
            Ok(_) => self.found.add_visible(pid),
            Err(Errno::ACCESS | Errno::PERM) => self.found.hidden += 1,
            Err(errno) => self.record_exhaustion(errno),
        }
        if self.search.waiters == WaiterSearch::AllThreads && has_file {
            self.find_blocked_threads(pid)?;
        }
        CONTINUE
    }

    /// Looks for a process that has been examined and has the same table of descriptors
    /// (`CLONE_FILES`): any number of processes can share one with millions of descriptors. Replaces
    /// the locks of this process, from `start` on, by those of that one. Returns whether that one
    /// has one of the files open.
    fn copy_shared(&mut self, pid: Pid, start: usize) -> Option<bool> {
        let shares = |other: Pid| self.can_compare && share_descriptors(pid, other) == Some(true);
        let found = self.large.iter().find(|(other, ..)| shares(*other));
        let (_, locks, has_file) = found?.clone();
        self.found.fd_locks.truncate(start);
        for index in locks {
            let lock = self.found.fd_locks[index].clone();
            self.found.fd_locks.push(FdLock { pid, ..lock });
        }
        if has_file && self.search.waiters == WaiterSearch::AllThreads {
            self.found.openers.push(pid);
        }
        Some(has_file)
    }

    /// Examines a descriptor. Returns whether it is open on one of the files.
    fn examine_fd(&mut self, dir: &str, pid: Pid, fd: RawFd, info: Result<FdInfo, Errno>) -> bool {
        let info = match info {
            Ok(info) => info,
            Err(errno) => {
                self.record_exhaustion(errno);
                return false;
            }
        };
        let is_all = matches!(self.search.files, Files::All);
        if is_all && info.locks.is_empty() {
            // Any descriptor may be one that a thread waits with.
            return true;
        }
        let Some(file) = self.file_of(dir, &info) else {
            if let Some(on_other) = self.search.on_other {
                on_other(dir, fd, &info);
            }
            return false;
        };
        if !file.is_open_at(&format!("{dir}/fd/{fd}")) {
            return false;
        }
        let mut is_first = true;
        self.locked += usize::from(!info.locks.is_empty());
        for record in info.locks {
            let is_new = || {
                let pid = pid.as_raw_nonzero().get();
                self.known.is_empty() || !self.known.contains(&(pid, fd, record))
            };
            if record.file != file.key || !(self.search.is_wanted)(&record) || !is_new() {
                continue;
            }
            if !self.of_process.insert(record) && self.locked > MANY_DESCRIPTORS {
                self.found.uncounted.insert(record);
                continue;
            }
            self.ranges += usize::from(!record.is_whole());
            let is_full = is_all && self.found.fd_locks.len() >= MAX_FD_LOCKS;
            if !is_full && (record.is_whole() || self.ranges <= MAX_RANGES || is_first) {
                self.found.fd_locks.push(FdLock { pid, fd, record });
            } else {
                self.found.omitted += 1;
            }
            is_first = false;
        }
        let is_opener =
            !is_all && info.inode.is_some() && self.search.waiters == WaiterSearch::AllThreads;
        if is_opener && self.found.openers.last() != Some(&pid) {
            self.found.openers.push(pid);
        }
        true
    }

    /// Returns the file, of those that are searched for, that a descriptor of the process or thread
    /// with this directory in `/proc` is open on. Without a lock, it matters only if its threads
    /// may wait. Before Linux 5.14, such a descriptor may be open on any file for all that the
    /// kernel says.
    fn file_of(&mut self, dir: &str, info: &FdInfo) -> Option<Identity> {
        if let Some(record) = info.locks.first() {
            return self.search.files.find(record.file);
        }
        if self.search.waiters == WaiterSearch::TableOnly {
            return None;
        }
        let Files::Listed(files) = self.search.files else {
            let (device, inode) = (self.device_of(dir, info)?, info.inode?);
            return self.search.files.find(FileKey { device, inode });
        };
        let Some(inode) = info.inode else {
            return files.first().copied();
        };
        let start = self.by_inode.partition_point(|(other, _)| *other < inode);
        let alike = self.by_inode[start..].iter();
        let mut alike = alike.take_while(|(other, _)| *other == inode).peekable();
        alike.peek()?;
        let alike: Vec<Identity> = alike.map(|(_, index)| files[*index]).collect();
        let device = self.device_of(dir, info);
        let mut alike = alike.into_iter();
        alike.find(|file| device.is_none_or(|device| device == file.key.device))
    }

    /// Returns the device of the file system that a descriptor of the process or thread with this
    /// directory in `/proc` is open on. A process can have any number of mounts, so they are read
    /// once.
    fn device_of(&mut self, dir: &str, info: &FdInfo) -> Option<(u32, u32)> {
        let mount = info.mount?;
        if self.mounts.as_ref().is_none_or(|(of, _)| of != dir) {
            self.mounts = Some((dir.to_owned(), mountinfo::devices_in(dir)));
        }
        let (_, devices) = self.mounts.as_ref()?;
        devices.as_ref()?.get(&mount).copied()
    }

    /// Finds the threads of a process that are blocked in a call for one of the files. Each thread
    /// is asked for its own descriptors, because they may differ.
    fn find_blocked_threads(&mut self, pid: Pid) -> ControlFlow<()> {
        let dir = process_dir(pid);
        for thread in numeric_entries(&format!("{dir}/task")).unwrap_or_default() {
            self.find_blocked_thread(pid, &format!("{dir}/task/{thread}"));
            self.check_time()?;
        }
        CONTINUE
    }

    fn find_blocked_thread(&mut self, pid: Pid, dir: &str) {
        let Some(call) = BlockedCall::read_in(dir) else {
            return;
        };
        let info = FdInfo::read_in(dir, call.fd());
        let file = info.ok().and_then(|info| self.file_of(dir, &info));
        self.found.blocked.extend(
            file.filter(|file| file.is_open_at(&format!("{dir}/fd/{}", call.fd())))
                .map(|file| BlockedThread {
                    pid,
                    file: file.key,
                    call,
                }),
        );
    }

    /// Examines the threads of a process that do not share the descriptors of another thread that
    /// has been examined.
    fn examine_threads(&mut self, pid: Pid) -> ControlFlow<()> {
        /// How many tables of descriptors a thread is compared with. Only a process that has more
        /// is examined more often than necessary.
        const MAX_TABLES: usize = 8;
        let dir = process_dir(pid);
        let is_interesting = is_wanted(self.search.files);
        let mut examined = vec![pid];
        (self.of_process, self.locked) = (BTreeSet::new(), 0);
        for thread in numeric_entries(&format!("{dir}/task")).unwrap_or_default() {
            self.check_time()?;
            let thread = i32::try_from(thread).ok().and_then(Pid::from_raw);
            let Some(thread) = thread.filter(|thread| *thread != pid) else {
                continue;
            };
            let shares = |other: &Pid| share_descriptors(thread, *other) == Some(true);
            if self.can_compare && examined.iter().any(shares) {
                continue;
            }
            if examined.len() < MAX_TABLES {
                examined.push(thread);
            }
            let dir = format!("{dir}/task/{}", thread.as_raw_nonzero());
            let mut has_file = false;
            let _ = visit_fds_in(&dir, &is_interesting, &mut |dir, fd, info| {
                has_file |= self.examine_fd(dir, pid, fd, info);
                self.check_time()
            });
            if has_file && self.search.waiters == WaiterSearch::AllThreads {
                self.find_blocked_thread(pid, &dir);
            }
        }
        CONTINUE
    }

    fn record_exhaustion(&mut self, errno: Errno) {
        if is_exhaustion(errno) {
            self.found.error = Some(errno);
        }
    }
}

/// Returns whether a file is one of these.
fn is_wanted(files: Files<'_>) -> impl Fn(FileKey) -> bool {
    move |key| files.find(key).is_some()
}

/// Returns the lock calls in which threads of a process are blocked, as far as they are visible.
pub(super) fn blocked_calls(pid: Pid) -> Vec<BlockedCall> {
    let dir = process_dir(pid);
    let threads = numeric_entries(&format!("{dir}/task")).unwrap_or_default();
    let call = |thread| BlockedCall::read_in(&format!("{dir}/task/{thread}"));
    threads.into_iter().filter_map(call).collect()
}

#[cfg(test)]
mod tests;
