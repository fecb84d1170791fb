//! Lock files that were deleted while locked.
//!
//! A process that locks the path after that creates a new file, and does not wait. The old lock is
//! visible only at the descriptors of its holders: the kernel shows their path as `PATH (deleted)`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::ops::ControlFlow;
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

/// Returns the locked files that were at this path and have been deleted. `existing` is the file
/// that is there now.
///
/// Best effort: what cannot be examined, or not in time, is not found.
pub fn find_deleted(path: &OsStr, existing: Option<&File>) -> Vec<File> {
    find(path, existing).unwrap_or_default()
}

fn find(path: &OsStr, existing: Option<&File>) -> Option<Vec<File>> {
    let (dir, path) = match existing.map(File::kernel_path) {
        Some(path) => {
            let path = path?;
            (path.parent()?.to_owned(), path)
        }
        None => missing_path(path)?,
    };
    let device = File::from_path(dir.as_os_str()).ok()?.identity.key.device;
    let is_candidate =
        |key: FileKey| key.device == device && existing.is_none_or(|file| file.identity.key != key);
    let mut locks: Vec<(FileKey, Option<Pid>)> = Vec::new();
    let read = locks::read_table(&mut |record| {
        let lock = (record.file, record.pid);
        if is_candidate(record.file) && !locks.contains(&lock) {
            locks.push(lock);
        }
        match locks.len() <= MAX_LOOKUPS {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    });
    let is_complete = read.ok()? == TableRead::Atomic
        && locks.len() <= MAX_LOOKUPS
        && Namespace::current() == Namespace::Whole;
    let mut link = OsString::from(path);
    link.push(" (deleted)");
    let mut search = Search {
        is_candidate: &is_candidate,
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
    // Most locks are still held by the process that acquired them. If its descriptors show all
    // files, the other processes need not be examined.
    let mut acquirers: Vec<Pid> = locks.iter().filter_map(|(_, pid)| *pid).collect();
    acquirers.dedup();
    for pid in acquirers {
        search.examine(pid);
    }
    if !is_complete || locks.iter().any(|(key, _)| !search.seen.contains(key)) {
        for pid in pids().ok()? {
            search.examine(pid);
        }
    }
    let file = |key| {
        Some(File::deleted_from(
            File::from_path(dir.as_os_str()).ok()?,
            key,
        ))
    };
    search.deleted.into_iter().map(file).collect()
}

/// A search for deleted files among the descriptors of processes.
struct Search<'s> {
    is_candidate: &'s dyn Fn(FileKey) -> bool,
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

impl Search<'_> {
    fn examine(&mut self, pid: Pid) {
        if self.is_late {
            return;
        }
        let mut add = |dir: &str, fd: i32, info: Result<FdInfo, Errno>| {
            self.add(dir, fd, info);
            self.examined = self.examined.wrapping_add(1);
            self.is_late |= self.examined.is_multiple_of(CHECK_INTERVAL) && self.limit.is_over();
            match self.deleted.len() < MAX_FILES && !self.is_late {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        };
        let _: Result<(), Errno> = visit_fds(pid, &|_| false, &mut add);
    }

    fn add(&mut self, dir: &str, fd: i32, info: Result<FdInfo, Errno>) {
        // All locks of a descriptor are on one file.
        let record = info.ok().and_then(|info| info.locks.first().copied());
        let Some(key) = record.map(|record| record.file) else {
            return;
        };
        if !(self.is_candidate)(key) || self.deleted.contains(&key) {
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
