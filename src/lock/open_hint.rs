//! Why a lock file could not be opened, if the reason of the system is easily misunderstood.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Symbolic links that are followed at most, as in the kernel.
pub const MAX_LINKS: usize = 40;

/// Returns what the error of the system for this path does not say. As missing lock files are
/// created, "No such file or directory" is about something else.
#[cold]
pub fn for_path(path: &OsStr, errno: Errno) -> Option<OsString> {
    match errno {
        Errno::NOENT if path.is_empty() => Some("the name is empty; is a variable unset?".into()),
        Errno::NOENT => missing_directory(path),
        _ => None,
    }
}

/// Names the directory in which the file cannot be created because it does not exist: that of the
/// path or, if the path is a dangling symbolic link, that of its target.
fn missing_directory(path: &OsStr) -> Option<OsString> {
    let mut path = PathBuf::from(path);
    let mut link = OsString::new();
    for _ in 0..MAX_LINKS {
        let directory = match path.parent()? {
            _ if ends_with_slash(&path) => &path,
            parent if parent.as_os_str().is_empty() => Path::new("."),
            parent => parent,
        };
        if !directory.exists() {
            let mut hint = link;
            hint.push("the directory ");
            hint.push(directory);
            hint.push(" does not exist");
            return Some(hint);
        }
        let target = std::fs::read_link(&path).ok()?;
        link = "it is a symbolic link, and ".into();
        path = directory.join(target);
    }
    None
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}
