//! Files that appear under their name complete or, if the name is taken, not at all.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat};
use rustix::io::Errno;

use fdlock::sys::fd::dup_above_stderr;

/// A file without a name, or with a temporary one.
///
/// Where the file system supports it, the file has no name and vanishes when this process exits,
/// however it exits. Elsewhere (over NFS) it has a temporary name in the directory of its final
/// one, which is removed when the value is dropped.
#[derive(Debug)]
pub struct TempFile {
    file: OwnedFd,
    name: Option<TempName>,
}

/// A temporary name. Dropping it removes the name.
#[derive(Debug)]
struct TempName(OsString);

impl TempFile {
    /// Creates a file on the file system of the path, with these contents and with permissions 0666
    /// minus the umask.
    ///
    /// # Errors
    ///
    /// Those of open(2) and write(2): the directory does not exist, or does not accept new files.
    pub fn new_in_dir_of(path: &OsStr, contents: &[u8]) -> Result<Self, Errno> {
        let temp = match create_unnamed(parent_dir(path)) {
            Ok(file) => Self { file, name: None },
            Err(_) => Self::named_in_dir_of(path)?,
        };
        temp.write(contents)?;
        Ok(temp)
    }

    /// Creates an empty file that always has a temporary name, so that it can be renamed.
    ///
    /// # Errors
    ///
    /// Those of open(2).
    pub fn named_in_dir_of(path: &OsStr) -> Result<Self, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let create = |name: &OsStr| rustix::fs::open(name, flags, PERMISSIONS);
        let (name, file) = create_unique(parent_dir(path), create)?;
        let name = Some(TempName(name));
        dup_above_stderr(file).map(|file| Self { file, name })
    }

    fn write(&self, mut contents: &[u8]) -> Result<(), Errno> {
        while !contents.is_empty() {
            match rustix::io::write(&self.file, contents) {
                Err(Errno::INTR) => {}
                result => contents = &contents[result?..],
            }
        }
        Ok(())
    }

    /// link(2) – gives the file this name. Returns `false` if another file has the name.
    ///
    /// *Race:* other processes want the same name, and link(2) lets one of them win. Over NFS the
    /// reply may get lost: the client repeats the request, and the server replies that the name is
    /// taken, namely by us. Therefore a refusal is believed only if the file has as many links as
    /// before.
    ///
    /// # Errors
    ///
    /// Those of link(2), except `EEXIST`.
    pub fn persist_noclobber(&self, path: &OsStr) -> Result<bool, Errno> {
        let links = self.stat()?.st_nlink;
        let linked = match &self.name {
            Some(TempName(name)) => rustix::fs::linkat(CWD, name, CWD, path, AtFlags::empty()),
            None => {
                let descriptor = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                rustix::fs::linkat(CWD, descriptor, CWD, path, AtFlags::SYMLINK_FOLLOW)
            }
        };
        match linked {
            Ok(()) => Ok(true),
            Err(_) if self.stat()?.st_nlink > links => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// stat(2) – returns the status of the file, by its temporary name if it has one: over NFS that
    /// asks the server.
    ///
    /// # Errors
    ///
    /// Those of stat(2).
    pub fn stat(&self) -> Result<Stat, Errno> {
        match &self.name {
            Some(TempName(name)) => rustix::fs::lstat(name),
            None => rustix::fs::fstat(&self.file),
        }
    }

    /// Returns the path of the temporary name, if there is one.
    pub fn temp_path(&self) -> Option<&OsStr> {
        self.name.as_ref().map(|TempName(name)| name.as_os_str())
    }

    /// Returns the open file and removes its temporary name.
    pub fn into_file(self) -> OwnedFd {
        self.file
    }
}

impl AsFd for TempFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for TempName {
    fn drop(&mut self) {
        let _ = rustix::fs::unlink(&self.0);
    }
}

const PERMISSIONS: Mode = Mode::from_bits_truncate(0o666);

/// Creates a file without a name. Giving it one later requires `/proc`.
fn create_unnamed(dir: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let file = rustix::fs::open(dir, flags, PERMISSIONS)?;
    rustix::fs::lstat(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    dup_above_stderr(file)
}

/// Calls `create` with temporary paths in the directory until one of them is free, and returns it.
///
/// No other machine and no other process of this one uses the same paths, except in containers that
/// share everything but their process IDs. The number at the end tells those apart.
///
/// # Errors
///
/// Those of `create`, except `EEXIST`.
pub fn create_unique<T>(
    dir: &OsStr,
    mut create: impl FnMut(&OsStr) -> Result<T, Errno>,
) -> Result<(OsString, T), Errno> {
    let uname = rustix::system::uname();
    // A host name is arbitrary, but a slash would lead into another directory.
    let host = uname.nodename().to_bytes().iter();
    let host = host.map(|byte| if *byte == b'/' { b'_' } else { *byte });
    let host = OsString::from_vec(host.collect());
    let pid = rustix::process::getpid().as_raw_nonzero();
    let mut number = 0_u32;
    loop {
        let mut path = dir.to_owned();
        path.push("/.fdlock.");
        path.push(&host);
        path.push(format!(".{pid}.{number}"));
        match create(&path) {
            Ok(created) => return Ok((path, created)),
            Err(Errno::EXIST) => number += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Returns the directory of the path's last component.
pub fn parent_dir(path: &OsStr) -> &OsStr {
    match path.as_bytes().iter().rposition(|byte| *byte == b'/') {
        None => OsStr::new("."),
        Some(0) => OsStr::new("/"),
        Some(slash) => OsStr::from_bytes(&path.as_bytes()[..slash]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the test with an unnamed and a named file, each with the path that it is to get.
    fn for_both_kinds(test: impl Fn(TempFile, &OsStr)) {
        for create in [
            |path: &OsStr| TempFile::new_in_dir_of(path, b""),
            |path: &OsStr| TempFile::named_in_dir_of(path),
        ] {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let path = dir.path().join("file").into_os_string();
            test(create(&path).expect("a new file"), &path);
            let entries = std::fs::read_dir(dir.path()).expect("the directory exists");
            let names = entries.map(|entry| entry.expect("an entry").file_name());
            assert!(names.eq(["file"]));
        }
    }

    #[test]
    fn only_one_file_gets_a_name() {
        for_both_kinds(|temp, path| {
            assert_eq!(temp.persist_noclobber(path), Ok(true));
            let other = TempFile::new_in_dir_of(path, b"other").expect("a new file");
            assert_eq!(other.persist_noclobber(path), Ok(false));
            let at_path = rustix::fs::stat(path).expect("the file exists");
            assert_eq!(at_path.st_ino, temp.stat().expect("it has a name").st_ino);
        });
    }

    #[test]
    fn a_file_appears_with_its_contents() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("file");
        let temp = TempFile::new_in_dir_of(path.as_os_str(), b"contents").expect("a new file");
        assert!(!path.exists());
        assert_eq!(temp.persist_noclobber(path.as_os_str()), Ok(true));
        assert_eq!(std::fs::read(&path).expect("the file exists"), b"contents");
    }

    #[test]
    fn into_file_keeps_the_final_name_only() {
        for_both_kinds(|temp, path| {
            assert_eq!(temp.persist_noclobber(path), Ok(true));
            let file = temp.into_file();
            assert_eq!(rustix::fs::fstat(&file).expect("open").st_nlink, 1);
        });
    }

    #[test]
    fn the_parent_directory_of_a_path() {
        let dir = |path| parent_dir(OsStr::new(path));
        assert_eq!(["file", "./file"].map(dir), [".", "."]);
        assert_eq!(["/file", "a/b/file"].map(dir), ["/", "a/b"]);
    }
}
