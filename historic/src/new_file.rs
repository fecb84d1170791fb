//! Files that come into being under their name in one moment, whole, or not at all because the name is taken.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat};
use rustix::io::Errno;

use fdlock::sys::fd::dup_above_stderr;

/// A file that has no name yet, or none that matters.
///
/// Where the file system can, it has no name at all and vanishes with this process, however that ends; elsewhere (over
/// NFS) it has one of its own beside the name that it is to get, which dropping it removes.
#[derive(Debug)]
pub struct Draft {
    file: OwnedFd,
    place: Option<Place>,
}

/// A name of a draft's own, which goes with it.
#[derive(Debug)]
struct Place(OsString);

impl Draft {
    /// A new file on the file system of this path, with permissions 0666 less the umask, and these contents.
    ///
    /// # Errors
    ///
    /// Those of open(2) and write(2): there is no such folder, or none where a file can be made.
    pub fn beside(path: &OsStr, contents: &[u8]) -> Result<Self, Errno> {
        let folder = folder(path);
        let draft = match unnamed(folder) {
            Ok(file) => Self { file, place: None },
            Err(_) => Self::named(path)?,
        };
        draft.write(contents)?;
        Ok(draft)
    }

    /// The same, empty, with a name of its own in any case, for a file that is to be renamed.
    ///
    /// # Errors
    ///
    /// Those of open(2).
    pub fn named(path: &OsStr) -> Result<Self, Errno> {
        let folder = folder(path);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let (place, file) = first_free(folder, |place| rustix::fs::open(place, flags, SHARED))?;
        let place = Place(place);
        Ok(Self {
            file: dup_above_stderr(file)?,
            place: Some(place),
        })
    }

    fn write(&self, mut contents: &[u8]) -> Result<(), Errno> {
        while !contents.is_empty() {
            match rustix::io::write(&self.file, contents) {
                Ok(written) => contents = &contents[written..],
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// link(2) – gives it this name, and says whether it has it now: not when the name is taken.
    ///
    /// *The race:* whoever else wants the name races us, and link(2) lets one of all win. Over NFS the answer may get
    /// lost: then the client asks again, and is told that the name is taken, by us. So a refusal is believed only if
    /// the file has as many links as before.
    ///
    /// # Errors
    ///
    /// Those of link(2), besides `EEXIST`.
    pub fn publish(&self, name: &OsStr) -> Result<bool, Errno> {
        let links = self.stat()?.st_nlink;
        let linked = match &self.place {
            Some(Place(place)) => rustix::fs::linkat(CWD, place, CWD, name, AtFlags::empty()),
            None => {
                let descriptor = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                rustix::fs::linkat(CWD, descriptor, CWD, name, AtFlags::SYMLINK_FOLLOW)
            }
        };
        match linked {
            Ok(()) => Ok(true),
            Err(_) if self.stat()?.st_nlink > links => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// stat(2) – what the file system says of it, by its name where it has one: over NFS that asks the server.
    ///
    /// # Errors
    ///
    /// Those of stat(2).
    pub fn stat(&self) -> Result<Stat, Errno> {
        match &self.place {
            Some(Place(place)) => rustix::fs::lstat(place),
            None => rustix::fs::fstat(&self.file),
        }
    }

    /// The name of its own that it has, if any.
    pub fn place(&self) -> Option<&OsStr> {
        self.place.as_ref().map(|Place(place)| place.as_os_str())
    }

    /// The open file, which has no longer any name but those that were published.
    pub fn into_file(self) -> OwnedFd {
        self.file
    }
}

impl AsFd for Draft {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed can be told to nobody who could do better.
        let _ = rustix::fs::unlink(&self.0);
    }
}

const SHARED: Mode = Mode::from_bits_truncate(0o666);

/// A file without a name that can be given one: `/proc` is needed for that.
fn unnamed(folder: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let file = rustix::fs::open(folder, flags, SHARED)?;
    rustix::fs::lstat(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    dup_above_stderr(file)
}

/// The first name in the folder that is free, of those that are ours: no other machine and no other process of this one
/// has the same, except in containers that share everything but their process ids, and those the number tells apart.
///
/// # Errors
///
/// What making it says, besides `EEXIST`.
pub fn first_free<T>(
    folder: &OsStr,
    mut make: impl FnMut(&OsStr) -> Result<T, Errno>,
) -> Result<(OsString, T), Errno> {
    let host = rustix::system::uname();
    // A host may be called anything, but a slash would lead into another folder.
    let host = host.nodename().to_bytes().iter();
    let host = host.map(|byte| if *byte == b'/' { b'_' } else { *byte });
    let host = OsString::from_vec(host.collect());
    let process = rustix::process::getpid().as_raw_nonzero();
    let mut number = 0_u32;
    loop {
        let mut place = folder.to_owned();
        place.push("/.fdlock.");
        place.push(&host);
        place.push(format!(".{process}.{number}"));
        match make(&place) {
            Ok(made) => return Ok((place, made)),
            Err(Errno::EXIST) => number += 1,
            Err(error) => return Err(error),
        }
    }
}

/// The folder that a path leads into.
pub fn folder(path: &OsStr) -> &OsStr {
    match path.as_bytes().iter().rposition(|byte| *byte == b'/') {
        None => OsStr::new("."),
        Some(0) => OsStr::new("/"),
        Some(slash) => OsStr::from_bytes(&path.as_bytes()[..slash]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both kinds, and the name that they are to get.
    fn drafts(test: impl Fn(Draft, &OsStr)) {
        for make in [
            |path: &OsStr| Draft::beside(path, b""),
            |path: &OsStr| Draft::named(path),
        ] {
            let folder = tempfile::tempdir().expect("a scratch folder");
            let path = folder.path().join("file").into_os_string();
            test(make(&path).expect("it can be made"), &path);
            let left = std::fs::read_dir(folder.path()).expect("a folder");
            assert!(
                left.map(|entry| entry.expect("an entry").file_name())
                    .eq(["file"])
            );
        }
    }

    #[test]
    fn a_name_is_given_to_one_file_only() {
        drafts(|draft, path| {
            assert_eq!(draft.publish(path), Ok(true));
            let other = Draft::beside(path, b"other").expect("it can be made");
            assert_eq!(other.publish(path), Ok(false));
            let there = rustix::fs::stat(path).expect("it is there");
            assert_eq!(there.st_ino, draft.stat().expect("it is there").st_ino);
        });
    }

    #[test]
    fn a_file_appears_with_all_that_is_in_it() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("file");
        let draft = Draft::beside(path.as_os_str(), b"all of it").expect("it can be made");
        assert!(!path.exists());
        assert_eq!(draft.publish(path.as_os_str()), Ok(true));
        assert_eq!(std::fs::read(&path).expect("it is there"), b"all of it");
    }

    #[test]
    fn what_is_published_stays_when_the_draft_is_turned_into_a_file() {
        drafts(|draft, path| {
            assert_eq!(draft.publish(path), Ok(true));
            let file = draft.into_file();
            assert_eq!(rustix::fs::fstat(&file).expect("open").st_nlink, 1);
        });
    }

    #[test]
    fn paths_lead_into_folders() {
        for (path, wanted) in [
            ("file", "."),
            ("/file", "/"),
            ("a/b/file", "a/b"),
            ("./file", "."),
        ] {
            assert_eq!(folder(OsStr::new(path)), wanted);
        }
    }
}
