//! Lock files by name: every user has one directory for them, whose path depends on nothing but the
//! user.
//!
//! Two processes that lock "the same" name in different directories do not exclude each other, and
//! nothing tells them. So the path must be the same for a shell, a cron job and a service, at any
//! time. `$XDG_RUNTIME_DIR` is not set under cron, and `/run/user/UID` appears with a login and
//! disappears with the last logout, even while a background process holds a lock in it; a directory
//! that is used only where it exists has the same defect. What remains are directories that always
//! exist: `/run` for root, to which only root can write, and `/tmp` for other users, where anyone
//! could have taken the name. Therefore the directory is checked each time.
//!
//! *Race:* the directory could be replaced between the check and the moment at which the lock file
//! is opened by its path. But what was checked is a directory of this user, in one where only the
//! owner of an entry (and root) can remove or rename it: not writable by others, or sticky. So only
//! the user's own processes could replace it, and a lock file that they replace is detected like
//! any other one.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode as Permissions, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::Error;

/// The directory of root's lock files. `/run/lock` would not do: it is writable for everyone on some
/// systems, and on others it does not exist until a package creates it.
const ROOT_DIR: &str = "/run/flock";

/// The directory of another user's lock files, followed by the user's number.
const USER_DIR: &str = "/tmp/flock-";

/// The end of the name of a lock file.
const SUFFIX: &str = ".lock";

/// Only the user can list, enter or change the directory.
const DIR_MODE: u32 = 0o700;

/// The sticky bit keeps systemd-tmpfiles(8) from removing an old file, which may be locked.
const FILE_MODE: u32 = 0o1600;

/// All bits of [`Stat::st_mode`] that chmod(2) can set, except for the group that new files inherit.
const MODE_MASK: u32 = 0o5777;

const STICKY: u32 = 0o1000;
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// How often a directory is created that disappears again, because a cleanup program removes empty
/// directories.
const MAX_ATTEMPTS: u32 = 16;

/// Returns whether a text is a name for a lock: a single component of a path.
pub fn is_valid(name: &OsStr) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.as_bytes().contains(&b'/')
}

/// Returns the path of this user's lock file of a valid name.
#[cold]
pub fn path(name: &OsStr) -> OsString {
    let uid = geteuid();
    let mut path = OsString::from(if uid.is_root() { ROOT_DIR } else { USER_DIR });
    if !uid.is_root() {
        path.push(uid.as_raw().to_string());
    }
    path.push("/");
    path.push(name);
    path.push(SUFFIX);
    path
}

/// Checks the directory of a path that [`path()`] has returned, and creates the directory and the
/// lock file if they are missing.
///
/// # Errors
///
/// The directory or the file cannot be created, or the directory is not safe to use.
#[cold]
#[inline(never)]
pub fn prepare(path: &OsStr) -> Result<(), Error> {
    let path = Path::new(path);
    let (Some(dir), Some(file)) = (path.parent(), path.file_name()) else {
        return Ok(());
    };
    let failed = |errno: Errno, hint: Option<&str>| Error::Open {
        path: path.into(),
        error: errno.into(),
        hint: hint.map(OsString::from),
    };
    let unsafe_dir = |dir: &Path, reason: String| Error::UnsafeDirectory {
        path: dir.into(),
        reason,
    };
    if let Some(parent) = dir.parent() {
        let stat = rustix::fs::stat(parent).map_err(|errno| failed(errno, None))?;
        if let Some(reason) = parent_defect(&stat) {
            return Err(unsafe_dir(parent, reason));
        }
    }
    for _ in 0..MAX_ATTEMPTS {
        match rustix::fs::mkdir(dir, Permissions::from_raw_mode(DIR_MODE)) {
            Ok(()) | Err(Errno::EXIST) => {}
            // It may exist although no directory can be created here.
            Err(errno) if rustix::fs::lstat(dir).is_err() => {
                return Err(failed(errno, Some("its directory cannot be created")));
            }
            Err(_) => {}
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match rustix::fs::openat(CWD, dir, flags, Permissions::empty()) {
            Err(Errno::NOENT) => continue,
            other => other.map_err(|errno| failed(errno, None))?,
        };
        let stat = rustix::fs::fstat(&opened).map_err(|errno| failed(errno, None))?;
        if let Some(reason) = defect(&stat) {
            return Err(unsafe_dir(dir, reason));
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&opened, file, flags, Permissions::from_raw_mode(FILE_MODE)) {
            Ok(_) | Err(Errno::EXIST) => return Ok(()),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(errno, None)),
        }
    }
    Err(failed(
        Errno::NOENT,
        Some("its directory keeps disappearing"),
    ))
}

/// Returns why the directory above that of the lock files is not safe.
fn parent_defect(stat: &Stat) -> Option<String> {
    let mode = stat.st_mode & MODE_MASK;
    (mode & WRITABLE_BY_OTHERS != 0 && mode & STICKY == 0)
        .then(|| format!("other users can replace its entries: its mode is {mode:04o}, not 1777"))
}

/// Returns why the directory of the lock files is not safe.
fn defect(stat: &Stat) -> Option<String> {
    let mode = stat.st_mode & MODE_MASK;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {}
        FileType::Symlink => return Some("it is a symbolic link, not a directory".to_owned()),
        _ => return Some("it is not a directory".to_owned()),
    }
    if stat.st_uid != geteuid().as_raw() {
        return Some("it belongs to another user".to_owned());
    }
    (mode != DIR_MODE).then(|| format!("its mode is {mode:04o}, not {DIR_MODE:04o}"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_name_is_one_component_of_a_path() {
        for name in ["nightly", "-n", "a b", "...", "ä", ".hidden"] {
            assert!(is_valid(OsStr::new(name)), "{name}");
        }
        assert!(is_valid(OsStr::from_bytes(b"\xff\n")));
        for name in ["", ".", "..", "/", "a/b", "/tmp/x", "a/"] {
            assert!(!is_valid(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn the_path_depends_on_the_user_alone() {
        let expected = match geteuid().as_raw() {
            0 => "/run/flock/nightly.lock".to_owned(),
            uid => format!("/tmp/flock-{uid}/nightly.lock"),
        };
        assert_eq!(path(OsStr::new("nightly")), OsStr::new(&expected));
    }

    fn stat_with_mode(mode: u32) -> Stat {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut stat = rustix::fs::stat(dir.path()).expect("it exists");
        stat.st_mode = mode;
        stat
    }

    #[rstest]
    #[case::own(0o040_700, None)]
    #[case::inherited_group(0o042_700, None)]
    #[case::readable(0o040_755, Some("0755"))]
    #[case::writable(0o040_777, Some("0777"))]
    #[case::sticky(0o041_700, Some("1700"))]
    #[case::not_writable(0o040_500, Some("0500"))]
    #[case::link(0o120_777, Some("symbolic link"))]
    #[case::file(0o100_700, Some("not a directory"))]
    fn only_a_private_directory_is_safe(#[case] mode: u32, #[case] reason: Option<&str>) {
        let found = defect(&stat_with_mode(mode));
        match reason {
            None => assert_eq!(found, None),
            Some(part) => assert!(found.is_some_and(|text| text.contains(part))),
        }
    }

    #[test]
    fn the_directory_of_another_user_is_not_safe() {
        let mut stat = stat_with_mode(0o040_700);
        stat.st_uid += 1;
        assert!(defect(&stat).is_some_and(|reason| reason.contains("another user")));
    }

    #[rstest]
    #[case::tmp(0o041_777, true)]
    #[case::run(0o040_755, true)]
    #[case::everyone(0o040_777, false)]
    #[case::group(0o040_775, false)]
    fn entries_above_must_be_safe_from_others(#[case] mode: u32, #[case] is_safe: bool) {
        assert_eq!(parent_defect(&stat_with_mode(mode)).is_none(), is_safe);
    }
}
