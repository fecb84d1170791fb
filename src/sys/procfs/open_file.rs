//! `/proc/PID/fd/N`: the open files of processes.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::ops::ControlFlow;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::process::Pid;

use super::fdinfo::visit_locks;
use super::locks::FileKey;
use super::read::read_prefix;
use super::{numeric_entries, process_dir};

/// The path of an open file, as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFile {
    /// The path; of a deleted file, the one that it had.
    pub path: OsString,
    /// Whether the file has no name any more.
    pub is_deleted: bool,
}

impl OpenFile {
    /// Returns what a descriptor is open on. Returns `None` if that is hidden.
    ///
    /// Only cached attributes are read, because the server of the file may be unreachable. The
    /// kernel appends ` (deleted)` to the path of a deleted file, but a path can also end like that.
    pub fn read(pid: Pid, fd: RawFd) -> Option<Self> {
        let link = format!("{}/fd/{fd}", process_dir(pid));
        let path = fs::read_link(&link).ok()?.into_os_string();
        let flags = AtFlags::STATX_DONT_SYNC;
        let stat = statx(CWD, &link, flags, StatxFlags::NLINK).ok();
        let is_deleted = stat.is_some_and(|stat| stat.stx_nlink == 0);
        let former = path.as_bytes().strip_suffix(b" (deleted)");
        let former = former.map(|path| OsStr::from_bytes(path).to_owned());
        Some(Self {
            path: former.filter(|_| is_deleted).unwrap_or(path),
            is_deleted,
        })
    }

    /// Returns what a descriptor is open on that has locks on the file with this key.
    ///
    /// *Race:* the descriptor may have been closed since its locks were seen, and its number reused
    /// for another file. So its locks are read again after the path.
    pub fn read_locked(pid: Pid, fd: RawFd, key: FileKey) -> Option<Self> {
        let file = Self::read(pid, fd)?;
        let mut is_same = false;
        let visited = visit_locks(&process_dir(pid), fd, &mut |lock| {
            // All locks of a descriptor are on one file.
            is_same = lock.file == key;
            ControlFlow::Break(())
        });
        visited.ok().and(is_same.then_some(file))
    }
}

/// Returns the contents of a memory file of this name that a process has open, or `None` if it has
/// none, or is hidden.
///
/// # References
///
/// memfd_create(2).
pub fn read_memory_file(pid: Pid, name: &str) -> Option<Vec<u8>> {
    /// Others may have created it.
    const MAX_SIZE: usize = 1 << 16;
    let dir = format!("{}/fd", process_dir(pid));
    let target = format!("/memfd:{name} (deleted)");
    let is_it = |fd: &u32| {
        let link = fs::read_link(format!("{dir}/{fd}"));
        link.is_ok_and(|link| link.as_os_str() == target.as_str())
    };
    let fd = numeric_entries(&dir).ok()?.into_iter().find(is_it)?;
    read_prefix(&format!("{dir}/{fd}"), MAX_SIZE).ok()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use rustix::process::getpid;

    use super::*;

    #[test]
    fn a_deleted_file_has_its_former_path() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["x", "x (deleted)"] {
            let path = dir.path().join(name);
            let file = fs::File::create(&path).expect("a file");
            let read = || OpenFile::read(getpid(), file.as_raw_fd()).expect("/proc");
            let existing = OpenFile {
                path: path.clone().into_os_string(),
                is_deleted: false,
            };
            assert_eq!(read(), existing);
            fs::remove_file(path).expect("a file");
            let deleted = OpenFile {
                is_deleted: true,
                ..existing
            };
            assert_eq!(read(), deleted);
        }
    }

    #[test]
    fn a_descriptor_without_a_lock_is_not_the_locked_file() {
        let file = tempfile::tempfile().expect("a file");
        let key = FileKey {
            device: (0, 0),
            inode: 1,
        };
        assert_eq!(OpenFile::read_locked(getpid(), file.as_raw_fd(), key), None);
    }
}
