//! Removing a dead one's file, and nobody else's.

use std::ffi::OsStr;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::new_file;
use fdlock::lock::file::{self, Id};
use fdlock::sys::deferred_signals::DeferredSignals;

/// Removes what the path means, if it is the file of this identity; says whether it was. flock(2) of that file must be ours,
/// and the path must have meant it since.
///
/// *The race* with the original, which knows nothing of flock(2): it may have removed the file a moment ago, and it, or one
/// of ours after it, may have made another. So the file gets a name of our own first, and then we look which it is. If it is
/// another's, it gets its name back. Between the two that name was free, and could be taken: for that the original has to
/// break the same lock within the same moment, and a third to come in the next.
///
/// Where no name can be had without taking the place of somebody (NFS), it is removed at once.
///
/// # Errors
///
/// Those of renameat2(2) and unlink(2): it cannot be removed.
pub(super) fn remove(path: &OsStr, dead: Id) -> Result<bool, Errno> {
    // No name of ours shall be left behind.
    let _held = DeferredSignals::terminating();
    let rename = |from: &OsStr, to: &OsStr| {
        rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
    };
    let renamed = new_file::first_free(new_file::folder(path), |place| rename(path, place));
    let place = match renamed {
        Ok((place, ())) => place,
        Err(Errno::NOENT) => return Ok(false),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => return unlink(path),
        Err(error) => return Err(error),
    };
    let is_another = rustix::fs::lstat(&place).is_ok_and(|stat| FileId::from_stat(&stat) != dead);
    if is_another && rename(&place, path).is_ok() {
        return Ok(false);
    }
    // Whoever has taken the name meanwhile has it; there is nothing to give back.
    unlink(&place).map(|removed| removed && !is_another)
}

/// Says whether there was anything.
fn unlink(path: &OsStr) -> Result<bool, Errno> {
    match rustix::fs::unlink(path) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What is at a path, and the names beside it.
    fn scratch(test: impl Fn(&OsStr, &dyn Fn() -> usize)) {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("l.lock");
        let names = || fs::read_dir(folder.path()).expect("a folder").count();
        test(path.as_os_str(), &names);
    }

    fn id(path: &OsStr) -> Id {
        FileId::from_stat(&rustix::fs::lstat(path).expect("it is there"))
    }

    #[test]
    fn a_dead_ones_file_is_removed() {
        scratch(|path, names| {
            fs::write(path, "1\n").expect("it can be written");
            assert_eq!(remove(path, id(path)), Ok(true));
            assert_eq!(names(), 0);
            assert_eq!(remove(path, (0, 0)), Ok(false));
        });
    }

    #[test]
    fn what_has_taken_its_place_is_left_there() {
        scratch(|path, names| {
            fs::write(path, "1\n").expect("it can be written");
            let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
            let dead = rustix::fs::open(path, flags, rustix::fs::Mode::empty());
            let was = id(path);
            fs::remove_file(path).expect("it is there");
            fs::write(path, "2\n").expect("it can be written");
            let is = id(path);
            assert_eq!(remove(path, was), Ok(false));
            assert_eq!((id(path), names()), (is, 1));
            drop(dead);
        });
    }
}
