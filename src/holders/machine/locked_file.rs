//! A file with locks, and where it is.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use rustix::process::Pid;

use crate::holders::lock_user::{LockUser, Role};
use crate::holders::scan::{FdLock, blocked_calls};
use crate::sys::procfs::fdinfo::FdInfo;
use crate::sys::procfs::locks::FileKey;
use crate::sys::procfs::mountinfo::{devices_in, mount_point};
use crate::sys::procfs::open_file::OpenFile;
use crate::sys::procfs::process_dir;

/// How many descriptors are asked for the path of a file.
const MAX_ATTEMPTS: usize = 8;

/// The mount points of file systems, each of which is read once.
#[derive(Debug, Default)]
pub(super) struct MountPoints(BTreeMap<(u32, u32), Option<PathBuf>>);

impl MountPoints {
    fn find(&mut self, device: (u32, u32)) -> Option<PathBuf> {
        let look_up = || mount_point(device);
        self.0.entry(device).or_insert_with(look_up).clone()
    }
}

/// A file with locks.
#[derive(Debug)]
pub struct LockedFile {
    /// Its device and inode.
    pub key: FileKey,
    /// Its path, or that which it had before it was deleted; `None` if no process is visible that
    /// has it open.
    pub path: Option<OsString>,
    /// Where its file system is mounted, if its path is not known.
    pub mount_point: Option<PathBuf>,
    /// Whether it has been deleted.
    pub is_deleted: bool,
    /// The processes that use its locks, holders first, and waiters in the order of the queue.
    pub users: Vec<LockUser>,
}

impl LockedFile {
    pub(super) fn new(
        key: FileKey,
        users: Vec<LockUser>,
        fd_locks: &[FdLock],
        mounts: &mut MountPoints,
    ) -> Self {
        let locked = fd_locks.iter().take(MAX_ATTEMPTS);
        let mut locked = locked.filter_map(|lock| OpenFile::read_locked(lock.pid, lock.fd, key));
        let waiters = users.iter().filter_map(|user| user.pid).take(MAX_ATTEMPTS);
        let mut waiters = waiters.filter_map(|pid| file_of_waiter(pid, key));
        let file = locked.next().or_else(|| waiters.next());
        let is_holder = |user: &LockUser| user.role == Role::Holder;
        let (mut ordered, others): (Vec<LockUser>, Vec<LockUser>) =
            users.into_iter().partition(is_holder);
        ordered.extend(others);
        Self {
            key,
            is_deleted: file.as_ref().is_some_and(|file| file.is_deleted),
            mount_point: match file {
                Some(_) => None,
                None => mounts.find(key.device),
            },
            path: file.map(|file| file.path),
            users: ordered,
        }
    }

    pub(super) fn sort_key(&self) -> (bool, Option<&OsStr>) {
        (self.path.is_none(), self.path.as_deref())
    }
}

/// Returns the file that a process waits for, if it is the one with this key: its holder may be
/// hidden.
fn file_of_waiter(pid: Pid, key: FileKey) -> Option<OpenFile> {
    let dir = process_dir(pid);
    let mut files = blocked_calls(pid).into_iter().filter_map(|call| {
        let file = OpenFile::read(pid, call.fd())?;
        let info = FdInfo::read_in(&dir, call.fd()).ok()?;
        let device = *devices_in(&dir)?.get(&info.mount?)?;
        (info.inode == Some(key.inode) && device == key.device).then_some(file)
    });
    files.next()
}
