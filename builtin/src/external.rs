//! Calls that the external program carries out: commands that are not functions, and waits that may
//! be stopped.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::OnceLock;

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
pub fn plan(bash: &Bash) -> Plan {
    let Some(program) = installed_program().filter(|_| !bash.is_restricted()) else {
        // In a restricted shell or not: run the program in PATH, as without the builtin.
        return if bash.supports_disk_fallback() {
            Plan::DiskFallback
        } else {
            Plan::Spawn(bash.search_path(NAME).unwrap_or(NAME))
        };
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

/// Returns the path of the program that is installed with the library, if it is executable:
/// `PREFIX/bin/flock` for `PREFIX/lib/bash/flock`.
pub fn installed_program() -> Option<&'static CStr> {
    static PROGRAM: OnceLock<Option<CString>> = OnceLock::new();
    let find = || {
        let prefix = Path::new(ffi::library_path()?).ancestors().nth(3)?;
        CString::new(prefix.join("bin/flock").into_os_string().into_vec()).ok()
    };
    PROGRAM
        .get_or_init(find)
        .as_deref()
        .filter(|path| access(*path, Access::EXEC_OK).is_ok())
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
