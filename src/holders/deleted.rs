//! Lock files that were deleted while locked.
//!
//! A process that locks the path after that creates a new file, and does not wait. The old lock is
//! visible only at the descriptors of its holders: the kernel shows their path as `PATH (deleted)`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::ops::ControlFlow;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;

use super::file::File;
use super::lock_user::Namespace;
use super::scan::visit_fds;
use super::time_limit::TimeLimit;
use crate::sys::procfs::fdinfo::FdInfo;
use crate::sys::procfs::locks::{self, FileKey, TableRead};
use crate::sys::procfs::{self, pids};

/// How many symbolic links are followed to a file that does not exist.
const MAX_LINKS: u32 = 8;

/// How many deleted files are listed. Any process that may create files in the directory can create
/// and delete any number.
const MAX_FILES: usize = 32;

/// How many locks on other files are looked up at the processes that acquired them.
const MAX_LOOKUPS: usize = 64;

/// How much processor time the search takes. Other users' processes can have any number of
/// descriptors.
const MAX_TIME: Duration = Duration::from_secs(2);

/// How many descriptors are examined between two looks at the clock.
const CHECK_INTERVAL: u32 = 64;

/// On a busy machine, it takes as many times longer.
const MAX_SLOWDOWN: u32 = 4;

/// Returns the locked files that were at a path at which no file exists any more.
///
/// Best effort: what cannot be examined, or not in time, is not found.
pub fn find_deleted(path: &OsStr) -> Vec<File> {
    DeletedSearch::start(path, None).map_or_else(Vec::new, DeletedSearch::examine_processes)
}

/// A search for deleted files among the descriptors of processes.
pub(super) struct DeletedSearch {
    /// An existing directory above the file, on the same device.
    dir: PathBuf,
    /// Its major and minor number.
    device: (u32, u32),
    /// The file that is at the path now.
    existing: Option<FileKey>,
    /// The locks on other files of the device, with the processes that acquired them.
    locks: Vec<(FileKey, Option<Pid>)>,
    /// Whether these are all.
    is_complete: bool,
    /// The path that the kernel shows for a deleted file.
    link: OsString,
    /// The inode of a file that really has this name.
    impostor: Option<u64>,
    /// The candidates that were seen at any descriptor, at most `MAX_LOOKUPS`.
    seen: Vec<FileKey>,
    /// Those that have been deleted.
    deleted: Vec<FileKey>,
    /// The number of descriptors.
    examined: u32,
    limit: TimeLimit,
    is_late: bool,
}

impl DeletedSearch {
    /// Starts a search for files that were at this path. `existing` is the file that is there now.
    /// `None` if the kernel's name of the path is unknown.
    pub fn start(path: &OsStr, existing: Option<&File>) -> Option<Self> {
        let (dir, path) = match existing.map(File::kernel_path) {
            Some(path) => {
                let path = path?;
                (path.parent()?.to_owned(), path)
            }
            None => missing_path(path)?,
        };
        let mut link = OsString::from(path);
        link.push(" (deleted)");
        let mut search = Self {
            device: File::from_path(dir.as_os_str()).ok()?.identity.key.device,
            dir,
            existing: existing.map(|file| file.identity.key),
            locks: Vec::new(),
            is_complete: false,
            impostor: fs::symlink_metadata(&link)
                .map(|metadata| metadata.ino())
                .ok(),
            link,
            seen: Vec::new(),
            deleted: Vec::new(),
            examined: 0,
            is_late: false,
            limit: TimeLimit::start(MAX_TIME, MAX_TIME * MAX_SLOWDOWN),
        };
        search.read_table()?;
        Some(search)
    }

    fn read_table(&mut self) -> Option<()> {
        let mut locks = Vec::new();
        let read = locks::read_table(&mut |record| {
            let lock = (record.file, record.pid);
            if self.is_candidate(record.file) && !locks.contains(&lock) {
                locks.push(lock);
            }
            match locks.len() <= MAX_LOOKUPS {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        self.is_complete = read.ok()? == TableRead::Atomic
            && locks.len() <= MAX_LOOKUPS
            && Namespace::current() == Namespace::Whole;
        self.locks = locks;
        Some(())
    }

    fn is_candidate(&self, key: FileKey) -> bool {
        key.device == self.device && self.existing != Some(key)
    }

    /// Examines the processes, and returns the files. Most locks are still held by the process that
    /// acquired them. If its descriptors show all files, the other processes need not be examined.
    pub fn examine_processes(mut self) -> Vec<File> {
        let mut acquirers: Vec<Pid> = self.locks.iter().filter_map(|(_, pid)| *pid).collect();
        acquirers.dedup();
        for pid in acquirers {
            self.examine(pid);
        }
        if !self.is_complete || self.locks.iter().any(|(key, _)| !self.seen.contains(key)) {
            for pid in pids().unwrap_or_default() {
                self.examine(pid);
            }
        }
        self.files()
    }

    fn examine(&mut self, pid: Pid) {
        let _: Result<(), Errno> = visit_fds(pid, &|_| false, &mut |dir, fd, info| {
            if let Ok(info) = info {
                self.add(dir, fd, &info);
            }
            match self.is_over() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
    }

    fn is_over(&self) -> bool {
        self.is_late || self.deleted.len() >= MAX_FILES
    }

    /// Examines a descriptor.
    pub fn add(&mut self, dir: &str, fd: RawFd, info: &FdInfo) {
        if self.is_over() {
            return;
        }
        self.examined = self.examined.wrapping_add(1);
        self.is_late = self.examined.is_multiple_of(CHECK_INTERVAL) && self.limit.is_over();
        // All locks of a descriptor are on one file.
        let Some(key) = info.locks.first().map(|record| record.file) else {
            return;
        };
        if !self.is_candidate(key) || self.deleted.contains(&key) {
            return;
        }
        if self.seen.len() < MAX_LOOKUPS && !self.seen.contains(&key) {
            self.seen.push(key);
        }
        let is_deleted =
            || fs::read_link(format!("{dir}/fd/{fd}")).is_ok_and(|path| path == *self.link);
        if self.impostor != Some(key.inode) && is_deleted() {
            self.deleted.push(key);
        }
    }

    /// Returns the files that have been found.
    pub fn files(self) -> Vec<File> {
        let file = |key| {
            let parent = File::from_path(self.dir.as_os_str()).ok()?;
            Some(File::deleted_from(parent, key))
        };
        self.deleted.into_iter().filter_map(file).collect()
    }
}

/// Returns an existing directory above a file that does not exist, and the path under which the
/// kernel knew the file. Its directory may have been deleted too.
fn missing_path(path: &OsStr) -> Option<(PathBuf, PathBuf)> {
    let mut path = PathBuf::from(path);
    for _ in 0..MAX_LINKS {
        let (existing, dir) = absolute_dir(path.parent()?)?;
        match fs::read_link(&path) {
            Ok(target) => path = dir.join(target),
            Err(_) => return Some((existing, dir.join(path.file_name()?))),
        }
    }
    None
}

/// Returns the nearest existing directory, and the absolute path of the directory.
fn absolute_dir(dir: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut dir = dir.to_owned();
    let mut missing = Vec::new();
    let mut links = 0;
    loop {
        if dir.as_os_str().is_empty() {
            dir.push(".");
        }
        if let Ok(existing) = fs::canonicalize(&dir) {
            let absolute = missing
                .iter()
                .rev()
                .fold(existing.clone(), |mut path, name| {
                    path.push(name);
                    path
                });
            return Some((existing, absolute));
        }
        if dir == Path::new(".") {
            // The working directory has been deleted.
            dir = procfs::deleted_working_dir()?;
            continue;
        }
        if let Ok(target) = fs::read_link(&dir)
            && links < MAX_LINKS
        {
            links += 1;
            dir.pop();
            dir.push(target);
            continue;
        }
        missing.push(dir.file_name()?.to_owned());
        dir.pop();
    }
}
