//! The file that a path leads to now, also on a file server.
//!
//! On a local file system, stat(2) knows. The client of a file server (NFS) answers from what the
//! server reported some seconds ago: if another client, or the server itself, has removed or
//! replaced the file since, stat(2) still reports the old one.
//!
//! Asking for the attributes of the file again (`AT_STATX_FORCE_SYNC`) does not help, because the
//! client asks about the file that it knows, and that one exists for as long as a process has it
//! open. The number of its links does not show that it was moved, and opening the path again may
//! return the known file too. But a directory changes with the names in it: if its attributes are
//! asked for, and it has changed, the client forgets what it knows about those names. So the
//! directory is asked for, and then stat(2) looks the name up on the server.
//!
//! *Race:* the server may replace the file right after it has answered. To the comparison of a
//! locked file with its path, that is a file that was replaced after the comparison: see
//! [`file::acquire`](super::file::acquire).
//!
//! NFSv3 recognizes a changed directory only by its times: two changes in one tick of the server's
//! clock (some milliseconds, more on a machine without processor time) look like one, so the second
//! may go unnoticed if the client has looked in between. Therefore the server is also asked whether
//! the file that was opened has a name at all. That leaves a file that was moved in such a tick.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Stat, StatxFlags};
use rustix::io::Errno;

use super::file_id::FileId;
use super::open_hint::MAX_LINKS;
use crate::sys::filesystem;

/// Whether the target of a symbolic link is meant, or the link itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symlink {
    /// The target.
    Follow,
    /// The link.
    NoFollow,
}

/// stat(2), lstat(2) – returns the status of the file that the path leads to now. `opened` is a
/// file that was opened at the path, and `id` its identity.
///
/// Returns `ESTALE` if the server has removed the file although the path still seems to lead to it.
///
/// Costs nothing more than stat(2) on a file system with a block device, and one call more on other
/// local ones.
///
/// # Errors
///
/// Those of stat(2).
pub fn stat(path: &OsStr, symlink: Symlink, opened: impl AsFd, id: FileId) -> Result<Stat, Errno> {
    let is_on_server = filesystem::is_on_server(&opened, id.device);
    if is_on_server {
        refresh(path, symlink);
    }
    let stat = match symlink {
        Symlink::Follow => rustix::fs::stat(path),
        Symlink::NoFollow => rustix::fs::lstat(path),
    }?;
    if is_on_server && FileId::from_stat(&stat) == id && is_nameless(opened) {
        return Err(Errno::STALE);
    }
    Ok(stat)
}

/// Returns whether the server says that an open file has no name any more.
#[cold]
fn is_nameless(opened: impl AsFd) -> bool {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
    match rustix::fs::statx(opened, "", flags, StatxFlags::BASIC_STATS) {
        Ok(stat) => stat.stx_nlink == 0,
        Err(errno) => errno == Errno::STALE,
    }
}

/// Makes the client of a file server forget what it knows about the names on the path, if they have
/// changed. The path may be answered from the cache again if an error prevents that.
///
/// Every directory above the file counts, up to the root of the mount, because any of them may have
/// been replaced; and if the path is a symbolic link, those of its target too.
#[cold]
pub fn refresh(path: &OsStr, symlink: Symlink) {
    // Without a slash at the end, which would make readlink(2) follow a link.
    let mut path: PathBuf = Path::new(path).components().collect();
    for _ in 0..MAX_LINKS {
        refresh_ancestors(&path);
        let (Symlink::Follow, Ok(target)) = (symlink, std::fs::read_link(&path)) else {
            return;
        };
        path.pop();
        path.push(target);
    }
}

fn refresh_ancestors(path: &Path) {
    let mut device = None;
    for dir in path.ancestors().skip(1) {
        let dir = match dir.as_os_str() {
            empty if empty.is_empty() => OsStr::new("."),
            dir => dir,
        };
        let flags = AtFlags::STATX_FORCE_SYNC;
        let Ok(stat) = rustix::fs::statx(CWD, dir, flags, StatxFlags::BASIC_STATS) else {
            return;
        };
        let of_dir = (stat.stx_dev_major, stat.stx_dev_minor);
        // A local directory, or that of another mount.
        if of_dir.0 != 0 || device.is_some_and(|device| device != of_dir) {
            return;
        }
        device = Some(of_dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_only_on_request() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let [file, link] = ["file", "link"].map(|name| dir.path().join(name));
        std::os::unix::fs::symlink("file", &link).expect("a link");
        let opened = std::fs::File::create(&file).expect("a new file");
        let id = FileId::from_fd(&opened).expect("an open file");
        let at_path = |symlink| {
            refresh(link.as_os_str(), symlink);
            let stat = stat(link.as_os_str(), symlink, &opened, id);
            FileId::from_stat(&stat.expect("it exists")) == id
        };
        assert!(at_path(Symlink::Follow));
        assert!(!at_path(Symlink::NoFollow));
    }

    #[test]
    fn a_loop_of_links_ends() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("link", &link).expect("a link");
        refresh(link.as_os_str(), Symlink::Follow);
    }
}
