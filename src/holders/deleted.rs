//! Lock files that were deleted while locked.
//!
//! A process that locks the path after that creates a new file, and does not wait. The old lock is
//! visible only at the descriptors of its holders: the kernel shows their path as `PATH (deleted)`.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::file::File;
use super::lock_user::Namespace;
use super::scan::visit_fds;
use crate::sys::procfs::fdinfo::FdInfo;
use crate::sys::procfs::locks::{self, FileKey, TableRead};
use crate::sys::procfs::pids;

/// How many symbolic links are followed to a file that does not exist.
const MAX_LINKS: u32 = 8;

/// How many deleted files are listed. Any process that may create files in the directory can create
/// and delete any number.
const MAX_FILES: usize = 32;

/// Returns the locked files that were at this path and have been deleted. `existing` is the file
/// that is there now.
///
/// Best effort: what cannot be examined is not found.
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
    let mut has_candidate = false;
    let read = locks::read_table(&mut |record| {
        has_candidate |= is_candidate(record.file);
        match has_candidate {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    let is_complete = read.ok()? == TableRead::Atomic && Namespace::current() == Namespace::Whole;
    if is_complete && !has_candidate {
        return Some(Vec::new());
    }
    let mut link = OsString::from(path);
    link.push(" (deleted)");
    // A file may really have this name.
    let impostor = fs::symlink_metadata(&link).map(|metadata| metadata.ino());
    let mut keys: Vec<FileKey> = Vec::new();
    let mut add = |pid_dir: &str, fd: i32, info: Result<FdInfo, Errno>| {
        // All locks of a descriptor are on one file.
        let record = info.ok().and_then(|info| info.locks.first().copied());
        if let Some(key) = record.map(|record| record.file)
            && is_candidate(key)
            && !keys.contains(&key)
            && impostor.as_ref().ok() != Some(&key.inode)
            && fs::read_link(format!("{pid_dir}/fd/{fd}")).is_ok_and(|path| path == *link)
        {
            keys.push(key);
        }
        match keys.len() < MAX_FILES {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    };
    for pid in pids().ok()? {
        let _: Result<(), Errno> = visit_fds(pid, &|_| false, &mut add);
    }
    let file = |key| {
        Some(File::deleted_from(
            File::from_path(dir.as_os_str()).ok()?,
            key,
        ))
    };
    keys.into_iter().map(file).collect()
}

/// Returns the directory of a file that does not exist, and the path under which the kernel knew
/// the file.
fn missing_path(path: &OsStr) -> Option<(PathBuf, PathBuf)> {
    let mut path = PathBuf::from(path);
    for _ in 0..MAX_LINKS {
        let dir = path.parent()?;
        let dir = if dir.as_os_str().is_empty() {
            Path::new(".")
        } else {
            dir
        };
        let dir = fs::canonicalize(dir).ok()?;
        match fs::read_link(&path) {
            Ok(target) => path = dir.join(target),
            Err(_) => {
                let path = dir.join(path.file_name()?);
                return Some((dir, path));
            }
        }
    }
    None
}
