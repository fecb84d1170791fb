//! Calls that the external program carries out: commands that are not functions, and waits that may
//! be stopped.

use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use fdlock::report::Report;
use rustix::fs::{Access, access};

use crate::ffi::{self, Bash};
use crate::fork;

/// The name of the builtin, and of the program.
pub const NAME: &CStr = c"flock";

/// How to start the program.
#[derive(Clone, Copy, Debug)]
pub enum Plan {
    /// Let bash run it, as if there were no builtin.
    DiskFallback,
    /// Run the program at this path in a child.
    Spawn(&'static CStr),
    /// Execute the program at this path in place of this process, which exists only for this call.
    Exec(&'static CStr),
    /// There is no program.
    NotFound,
}

/// Chooses how to start the program.
///
/// A process that bash forked for this very command (`flock f c &`, `flock f c | x`) executes the
/// program in its own place, so that `kill $!` and the like reach it. Otherwise bash falls back to
/// the program (`EX_DISKFALLBACK`), as if there were no builtin. But this has its limits:
///
/// * bash has already performed the redirections for the builtin. It undoes and repeats them, so
///   `<<<"$(next)"` would take two numbers, and the reader of a FIFO would see the end of the
///   stream.
/// * bash executes the words as they are; if they start with `builtin`, they do not name the
///   program.
/// * bash finds the program through its hash table, unless hashing is disabled (`set +h`) or PATH
///   is set for this command.
/// * bash 4.4 does not support it.
///
/// In these cases the program is spawned from here, the way bash spawns programs.
///
/// The path of the program is always absolute.
pub fn plan(bash: &Bash) -> Plan {
    let Some(program) = find_program(bash) else {
        return Plan::NotFound;
    };
    let text = bash.command_text().map_or(&b""[..], CStr::to_bytes);
    if fork::is_sole_command(bash, text) {
        Plan::Exec(program)
    } else if bash.supports_disk_fallback()
        && bash.hashing_enabled()
        && starts_with_name(text)
        && !may_redirect(text)
    {
        bash.add_to_hash_table(NAME, program);
        Plan::DiskFallback
    } else {
        Plan::Spawn(program)
    }
}

/// Returns the path of the program: a restricted shell, and one without an installed program, gets the
/// program in `PATH`. If that does not exist, prints a message.
pub fn find_program(bash: &Bash) -> Option<&'static CStr> {
    let installed = installed_program().filter(|_| !bash.is_restricted());
    let program = installed.or_else(|| program_in(bash.variable("PATH")?));
    if program.is_none() {
        Report::new(OsStr::new("flock")).error("command not found");
    }
    program
}

/// The status of bash if there is no program of a name.
pub const COMMAND_NOT_FOUND: u8 = 127;

static INSTALLED: OnceLock<Option<CString>> = OnceLock::new();

/// Determines the path of the program that is installed with the library. Called when the builtin
/// is loaded: a relative path of the library is meaningless once the shell has changed its working
/// directory.
pub fn locate_installed_program() {
    INSTALLED.get_or_init(|| installed_with(Path::new(ffi::library_path()?)));
}

/// Returns the path of the program that is installed with the library, if it is executable:
/// `PREFIX/bin/flock` for `PREFIX/lib/bash/flock`.
pub fn installed_program() -> Option<&'static CStr> {
    let program = INSTALLED.get()?.as_deref();
    program.filter(|path| access(*path, Access::EXEC_OK).is_ok())
}

/// Returns the path of the program that belongs to the library at this path, which may be relative
/// to the working directory. The result is absolute, and contains no symbolic link and no `..`.
/// Returns `None` if the library is in another directory than `lib/bash`, or `lib64/bash` and the
/// like, or if its directory cannot be found.
fn installed_with(library: &Path) -> Option<CString> {
    // The first part is the working directory if the path is a plain name.
    let dir = fs::canonicalize(Path::new(".").join(library.parent()?)).ok()?;
    let lib_dir = dir.parent()?;
    let is_installed =
        dir.file_name()? == "bash" && lib_dir.file_name()?.as_bytes().starts_with(b"lib");
    if !is_installed {
        return None;
    }
    let program = lib_dir.parent()?.join("bin/flock");
    CString::new(program.into_os_string().into_vec()).ok()
}

/// Returns the first program in these directories. Relative ones, and empty ones, which mean the
/// working directory, are skipped: another user may have put a program there.
fn program_in(path: &[u8]) -> Option<&'static CStr> {
    static LAST: Mutex<Option<&CStr>> = Mutex::new(None);

    let dirs = path.split(|byte| *byte == b':');
    let dirs = dirs.map(|dir| PathBuf::from(OsStr::from_bytes(dir)));
    let programs = dirs
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join("flock"));
    let found = programs
        .filter(|path| path.is_file())
        .find(|path| access(path, Access::EXEC_OK).is_ok())?;
    let found = CString::new(found.into_os_string().into_vec()).ok()?;
    // bash may jump across the caller, which therefore cannot own the path.
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if *last != Some(&*found) {
        *last = Some(Box::leak(found.into_boxed_c_str()));
    }
    *last
}

/// Returns whether the command, as written, starts with our name, possibly after assignments and
/// `command`.
fn starts_with_name(text: &[u8]) -> bool {
    let mut words = text.split(|byte| *byte == b' ').peekable();
    while words.next_if(|word| is_assignment(word)).is_some() {}
    let _ = words.next_if_eq(&&b"command"[..]);
    words.next() == Some(NAME.to_bytes())
}

/// Returns whether a word is a plain assignment. One with quotes may continue after the space, and
/// is not examined; one to PATH leads to another program.
fn is_assignment(word: &[u8]) -> bool {
    let name_end = word.iter().position(|byte| *byte == b'=').unwrap_or(0);
    let (name, value) = word.split_at(name_end);
    name_end > 0
        && name != b"PATH"
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        && !value.iter().any(|byte| b"'\"`\\({".contains(byte))
}

/// Returns whether a command has redirections, or at least a character that may belong to one.
fn may_redirect(text: &[u8]) -> bool {
    text.iter().any(|byte| b"<>".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_is_beside_the_library() {
        let prefix = tempfile::tempdir().expect("a directory");
        let prefix = fs::canonicalize(prefix.path()).expect("it exists");
        fs::create_dir_all(prefix.join("lib/bash/sub")).expect("a directory");
        std::os::unix::fs::symlink("lib/bash", prefix.join("link")).expect("a link");
        let program = prefix.join("bin/flock").into_os_string().into_vec();
        let program = CString::new(program).expect("no NUL");
        for library in ["lib/bash/flock", "lib/bash/sub/../flock", "link/flock"] {
            let found = installed_with(&prefix.join(library));
            assert_eq!(found.as_ref(), Some(&program), "{library}");
        }
        for library in ["lib/flock", "lib/bash/sub/flock", "missing/lib/bash/flock"] {
            assert_eq!(installed_with(&prefix.join(library)), None, "{library}");
        }
        // The working directory of the test is not called `bash`.
        assert_eq!(installed_with(Path::new("flock")), None);
    }

    #[test]
    fn our_name_may_follow_assignments_and_command() {
        for text in [
            "flock f c",
            "command flock f c",
            "LANG=C A_1= flock f c >out",
            "A=$b command flock f c",
        ] {
            assert!(starts_with_name(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn anything_else_is_not_our_name() {
        for text in [
            "",
            "builtin flock f c",
            "PATH=/x flock f c",
            "$b flock f c",
            "command -p flock f c",
            "A='x flock f c' other flock f c",
            "A=$(flock x y) other",
            "=x flock f c",
            "flocks f c",
        ] {
            assert!(!starts_with_name(text.as_bytes()), "{text}");
        }
    }
}
