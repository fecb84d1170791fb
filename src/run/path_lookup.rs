//! Finding a program as execvp(3) does.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::Errno;

use crate::sys::spawn::ExecImage;

/// The search path if `PATH` is unset, as returned by confstr(3).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Where to look for a program whose name contains no slash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// In `PATH`, as execvp(3) does.
    Path,
    /// In the working directory, as execv(2) does, and if it is not there, in `PATH`.
    WorkingDirectory,
}

/// Returns the image of a program with these arguments, name first.
pub(super) fn exec_image(args: &[OsString], lookup: Lookup) -> ExecImage {
    let name = &args[0];
    let mut paths = match std::env::var_os("PATH") {
        _ if name.as_bytes().contains(&b'/') => vec![name.clone()],
        Some(path) => candidates(name, &path),
        None => candidates(name, OsStr::new(DEFAULT_PATH)),
    };
    if lookup == Lookup::WorkingDirectory && rustix::fs::access(name, Access::EXISTS).is_ok() {
        paths = vec![name.clone()];
    }
    ExecImage::new(
        paths.into_iter().map(c_string).collect(),
        args.iter().cloned().map(c_string).collect(),
    )
}

/// Returns the path of the name in each directory of `PATH`. An empty directory means the working
/// directory. An empty name has no candidates.
fn candidates(name: &OsStr, path: &OsStr) -> Vec<OsString> {
    if name.is_empty() {
        return Vec::new();
    }
    let join = |directory: &[u8]| {
        let mut file = OsStr::from_bytes(directory).to_owned();
        if !directory.is_empty() {
            file.push("/");
        }
        file.push(name);
        file
    };
    let directories = path.as_bytes().split(|byte| *byte == b':');
    directories.map(join).collect()
}

/// Converts a string, truncated at an interior NUL as in C. Strings from a C string contain none.
fn c_string(string: OsString) -> CString {
    let mut bytes = string.into_vec();
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    CString::new(bytes).expect("truncated at the first NUL")
}

/// Checks that one of the paths leads to a file that can be executed. The error is the one that
/// executing the image would cause.
pub(super) fn find(image: &ExecImage) -> io::Result<()> {
    let mut worst = Errno::NOENT;
    for path in image.paths() {
        let is_file = rustix::fs::stat(path)
            .map(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        let error = match is_file {
            Ok(true) => match rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            },
            Ok(false) => Errno::ACCESS,
            Err(error) => error,
        };
        match error {
            Errno::ACCESS => worst = error,
            Errno::NOENT | Errno::NOTDIR | Errno::STALE | Errno::NODEV | Errno::TIMEDOUT => {
                worst = if worst == Errno::ACCESS { worst } else { error };
            }
            // Only an attempt to execute the file shows whether another error matters.
            _ => return Ok(()),
        }
    }
    Err(worst.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_directory_means_the_working_directory() {
        let found = candidates(OsStr::new("job"), OsStr::new("/a::/b/"));
        assert_eq!(found, ["/a/job", "job", "/b//job"]);
    }

    #[test]
    fn an_empty_name_has_no_candidates() {
        assert!(candidates(OsStr::new(""), OsStr::new("/a")).is_empty());
    }

    #[test]
    fn a_name_with_a_slash_is_not_looked_up() {
        let image = exec_image(&["./no/such".into()], Lookup::Path);
        assert_eq!(image.paths(), [c"./no/such".to_owned()]);
        let error = find(&image).unwrap_err().raw_os_error();
        assert_eq!(error, Some(Errno::NOENT.raw_os_error()));
    }
}
