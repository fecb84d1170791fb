//! Counting readers by the links of a file: one link is COUNTER itself, and every reader adds
//! another.
//!
//! *Races:* links are added only by a process that holds LOCK, so if a writer that holds LOCK sees
//! a single link, there are no readers, and there will be none. Links are removed at any time, so a
//! writer may at worst wait too long; it watches COUNTER.

use std::ffi::{OsStr, OsString};

use rustix::fs::{AtFlags, CWD, FileType};
use rustix::io::Errno;

use super::guard::remove_if_present;
use super::metadata::FileMeta;
use crate::error::{Error, create_error, open_error};
use crate::new_file::{self, TempFile};

/// Returns the number of readers. Creates COUNTER if it is missing, for programs that can only link
/// to it. Fails if it is not a file that can have more links.
pub(super) fn count(counter: &OsStr) -> Result<u64, Error> {
    loop {
        let errno = match FileMeta::from_path(counter) {
            // The links of a directory are not its names.
            Ok(meta) if meta.file_type == FileType::Directory => Errno::ISDIR,
            Ok(meta) => return Ok(meta.links.saturating_sub(1)),
            Err(errno) => errno,
        };
        let is_symlink = |meta: FileMeta| meta.file_type == FileType::Symlink;
        if errno != Errno::NOENT || FileMeta::from_path_nofollow(counter).is_ok_and(is_symlink) {
            return Err(open_error(counter)(errno).into());
        }
        // With link(2), like LOCK: complete, with a single link in the end, and no matter which
        // other process creates it, too.
        let file = TempFile::new_in_dir_of(counter, b"");
        file.and_then(|file| file.persist_noclobber(counter))
            .map_err(create_error(counter))?;
    }
}

/// Checks that COUNTER is not LOCK by another name: a file that is removed and created again cannot
/// count anything. The caller must hold LOCK.
pub(super) fn check_distinct(counter: &OsStr, lock: &OsStr) -> Result<(), Error> {
    let metas = (
        FileMeta::from_path(counter),
        FileMeta::from_path_nofollow(lock),
    );
    if let (Ok(counter_meta), Ok(lock_meta)) = metas
        && counter_meta.id == lock_meta.id
    {
        return Err(Error::SameFile(counter.to_owned()));
    }
    Ok(())
}

/// A reader: a link to COUNTER. Dropping it removes the link.
#[derive(Debug)]
pub struct Reader {
    /// The path of the link; empty if it is not to be removed.
    link: OsString,
}

impl Reader {
    /// Adds a reader. The caller must hold LOCK.
    pub(super) fn register(counter: &OsStr) -> Result<Self, Error> {
        loop {
            count(counter)?;
            let dir = new_file::parent_dir(counter);
            match new_file::create_unique(dir, |path| link_counter(counter, path)) {
                Ok((link, ())) => return Ok(Self { link }),
                // COUNTER has just been removed, by a process that cleans up.
                Err(Errno::NOENT | Errno::STALE) if FileMeta::from_path(counter).is_err() => {}
                Err(errno) => return Err(link_error(counter, errno)),
            }
        }
    }

    /// Returns the path of the link.
    pub fn link(&self) -> &OsStr {
        &self.link
    }

    /// Removes the reader.
    ///
    /// # Errors
    ///
    /// The link could not be removed. If it has been removed already, that is not an error.
    pub fn unregister(self) -> Result<(), Error> {
        let removed = remove_if_present(&self.link);
        self.keep();
        removed
    }

    /// Keeps the link, so that the reader still counts until a user has dealt with its failure.
    pub fn keep(mut self) {
        self.link.clear();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if !self.link.is_empty() {
            // Best effort: a caller that wants the error calls `unregister`.
            let _ = rustix::fs::unlink(&self.link);
        }
    }
}

/// link(2) – adds a link to COUNTER, with this path.
///
/// Over NFS the reply may get lost: the client repeats the request, and the server replies that the
/// path is taken, namely by us. Therefore a refusal is believed only if the path, which was free
/// before, is not COUNTER afterwards. No other process uses our temporary paths, and a link that an
/// earlier process with our PID has left behind was there before.
fn link_counter(counter: &OsStr, path: &OsStr) -> Result<(), Errno> {
    link_counter_with(counter, path, || {
        rustix::fs::linkat(CWD, counter, CWD, path, AtFlags::SYMLINK_FOLLOW)
    })
}

fn link_counter_with(
    counter: &OsStr,
    path: &OsStr,
    link: impl FnOnce() -> Result<(), Errno>,
) -> Result<(), Errno> {
    match FileMeta::from_path_nofollow(path) {
        Ok(_) => return Err(Errno::EXIST),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    link().or_else(|errno| {
        let linked = FileMeta::from_path_nofollow(path);
        match (linked, FileMeta::from_path(counter)) {
            (Ok(linked), Ok(counter)) if linked.id == counter.id => Ok(()),
            _ => Err(errno),
        }
    })
}

fn link_error(counter: &OsStr, errno: Errno) -> Error {
    let own_uid = rustix::process::geteuid().as_raw();
    let is_foreign = || FileMeta::from_path(counter).is_ok_and(|meta| meta.owner != own_uid);
    Error::Io {
        action: "link to",
        path: counter.to_owned(),
        error: errno.into(),
        hint: (errno == Errno::PERM && is_foreign()).then_some(
            "it belongs to another user and must be readable and writable (fs.protected_hardlinks)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the test with the paths of a counter and of a link to it.
    fn with_paths(test: impl Fn(&OsStr, &OsStr)) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let [counter, link] = ["counter", "link"].map(|name| dir.path().join(name));
        test(counter.as_os_str(), link.as_os_str());
    }

    #[test]
    fn every_reader_is_one_more_link() {
        with_paths(|counter, _| {
            assert_eq!(count(counter).expect("a new counter"), 0);
            let first = Reader::register(counter).expect("a new link");
            let second = Reader::register(counter).expect("a new link");
            assert_eq!(count(counter).expect("it exists"), 2);
            first.unregister().expect("the link exists");
            assert_eq!(count(counter).expect("it exists"), 1);
            drop(second);
            assert_eq!(count(counter).expect("it exists"), 0);
        });
    }

    #[test]
    fn a_link_that_exists_counts_despite_an_error() {
        for errno in [Errno::EXIST, Errno::IO, Errno::TIMEDOUT] {
            with_paths(|counter, link| {
                assert_eq!(count(counter).expect("a new counter"), 0);
                let linked = link_counter_with(counter, link, || {
                    std::fs::hard_link(counter, link).expect("a new link");
                    Err(errno)
                });
                assert_eq!(linked, Ok(()));
                let other = [link, OsStr::new("2")].join(OsStr::new(""));
                let refused = link_counter_with(counter, &other, || Err(errno));
                assert_eq!(refused, Err(errno));
            });
        }
    }

    #[test]
    fn the_link_of_a_failed_reader_is_not_reused() {
        with_paths(|counter, _| {
            let failed = Reader::register(counter).expect("a new link");
            let path = failed.link().to_owned();
            failed.keep();
            assert_eq!(link_counter(counter, &path), Err(Errno::EXIST));
            let new = Reader::register(counter).expect("a new link");
            assert_ne!(new.link(), path);
            assert_eq!(count(counter).expect("it exists"), 2);
        });
    }
}
