//! Finding a program, as execvp(3) does.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::Errno;

use super::Lookup;
use crate::sys::process::ExecImage;

/// Where programs are looked for when `PATH` is unset, as confstr(3) has it.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Everything that is needed to execute these words, name first.
pub(super) fn image(words: &[OsString], lookup: Lookup) -> ExecImage {
    let name = &words[0];
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
        words.iter().cloned().map(c_string).collect(),
    )
}

/// The name in each folder of the path. An empty folder is the working directory; an empty name is nowhere.
fn candidates(name: &OsStr, path: &OsStr) -> Vec<OsString> {
    if name.is_empty() {
        return Vec::new();
    }
    let join = |folder: &[u8]| {
        let mut file = OsStr::from_bytes(folder).to_owned();
        if !folder.is_empty() {
            file.push("/");
        }
        file.push(name);
        file
    };
    path.as_bytes()
        .split(|byte| *byte == b':')
        .map(join)
        .collect()
}

/// What came from a C string has no NUL inside. What did not is cut there, as C would.
fn c_string(word: OsString) -> CString {
    let mut bytes = word.into_vec();
    bytes.truncate(
        bytes
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(bytes.len()),
    );
    CString::new(bytes).expect("cut at its first NUL")
}

/// Whether one of the places holds a file that may be executed; the error is the one that executing would meet.
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
            // Whether this one matters only executing can tell.
            _ => return Ok(()),
        }
    }
    Err(worst.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_folder_in_the_path_is_the_working_directory() {
        let found = candidates(OsStr::new("job"), OsStr::new("/a::/b/"));
        assert_eq!(found, ["/a/job", "job", "/b//job"]);
    }

    #[test]
    fn an_empty_name_is_nowhere() {
        assert!(candidates(OsStr::new(""), OsStr::new("/a")).is_empty());
    }

    #[test]
    fn a_name_with_a_slash_is_not_looked_for() {
        let image = image(&["./no/such".into()], Lookup::Path);
        assert_eq!(image.paths(), [c"./no/such".to_owned()]);
        assert_eq!(
            find(&image).unwrap_err().raw_os_error(),
            Some(Errno::NOENT.raw_os_error())
        );
    }
}
