//! Removing the file of a dead process, and no other.

use std::ffi::OsStr;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::new_file;
use fdlock::lock::file_id::FileId;
use fdlock::sys::deferred_signals::DeferredSignals;

/// Removes the file at the path if it is the one with this identity, and returns whether it was.
/// The caller must hold the flock(2) lock on that file, and the path must have led to the file
/// since then.
///
/// *Race* with the original, which does not use flock(2): it may have removed the file a moment
/// ago, and then it or a process of ours may have created another. Therefore the file is first
/// moved to a temporary name, and then compared. If it is another file, it gets its name back.
/// Between the two steps its name is free and could be taken, but only if the original breaks the
/// same lock in the same moment and a third process arrives in the next.
///
/// If the file system cannot rename without replacing a file (NFS), the file is removed at once.
pub(super) fn remove(path: &OsStr, stale: FileId) -> Result<bool, Errno> {
    // The temporary name must not be left behind.
    let _deferred = DeferredSignals::terminating();
    let rename = |from: &OsStr, to: &OsStr| {
        rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
    };
    let dir = new_file::parent_dir(path);
    let temp_path = match new_file::create_unique(dir, |temp_path| rename(path, temp_path)) {
        Ok((temp_path, ())) => temp_path,
        Err(Errno::NOENT) => return Ok(false),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => return unlink(path),
        Err(errno) => return Err(errno),
    };
    let is_another =
        rustix::fs::lstat(&temp_path).is_ok_and(|stat| FileId::from_stat(&stat) != stale);
    if is_another && rename(&temp_path, path).is_ok() {
        return Ok(false);
    }
    // If the name has been taken in the meantime, the other file cannot have it back.
    unlink(&temp_path).map(|removed| removed && !is_another)
}

/// Returns whether there was a file.
fn unlink(path: &OsStr) -> Result<bool, Errno> {
    match rustix::fs::unlink(path) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Runs the test with a path and a function that counts the names in its directory.
    fn with_path(test: impl Fn(&OsStr, &dyn Fn() -> usize)) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("l.lock");
        let count_names = || {
            fs::read_dir(dir.path())
                .expect("the directory exists")
                .count()
        };
        test(path.as_os_str(), &count_names);
    }

    fn id(path: &OsStr) -> FileId {
        FileId::from_stat(&rustix::fs::lstat(path).expect("the file exists"))
    }

    #[test]
    fn a_stale_file_is_removed() {
        with_path(|path, count_names| {
            fs::write(path, "1\n").expect("a new file");
            let stale = id(path);
            assert_eq!(remove(path, stale), Ok(true));
            assert_eq!(count_names(), 0);
            assert_eq!(remove(path, stale), Ok(false));
        });
    }

    #[test]
    fn a_file_that_has_replaced_it_is_left_alone() {
        with_path(|path, count_names| {
            fs::write(path, "1\n").expect("a new file");
            // Keeps the inode number from being reused.
            let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
            let open = rustix::fs::open(path, flags, rustix::fs::Mode::empty());
            let stale = id(path);
            fs::remove_file(path).expect("the file exists");
            fs::write(path, "2\n").expect("a new file");
            let new = id(path);
            assert_eq!(remove(path, stale), Ok(false));
            assert_eq!((id(path), count_names()), (new, 1));
            drop(open);
        });
    }
}
