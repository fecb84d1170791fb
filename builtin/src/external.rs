//! What is handed to the program: commands that are no functions, and waits that may be stopped.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{Access, access};

use crate::entry;
use crate::ffi::{self, Bash};
use crate::fork;

/// The name that bash knows us by, and the program's.
pub const NAME: &CStr = c"flock";

/// How the program is started.
#[derive(Clone, Copy, Debug)]
pub enum Plan {
    /// By bash itself, which takes the call for one of a program now.
    FallBack,
    /// From this path, in a child.
    Start(&'static CStr),
    /// From this path, in place of this process, which is there for nothing else.
    Become(&'static CStr),
}

/// Decides how.
///
/// A process that bash has forked for this very command (`flock f c &`, `flock f c | x`) becomes the program, so that `kill
/// $!` and the like reach it. Elsewhere bash falls back to the program (`EX_DISKFALLBACK`), as if there had never been a
/// builtin. But there are three things to that. Redirections have been made for the builtin; bash undoes them and makes
/// them again, so `<<<"$(next)"` would take two, and a FIFO's reader would see an end. It executes the words as they are,
/// which are not ours if they begin with `builtin`, and finds the program by its memory, unless that is switched off (`set
/// +h`) or PATH is set for this command. And 4.4 knows nothing of it. In those cases the program is started from here, as
/// bash starts programs.
pub fn plan(bash: &Bash) -> Plan {
    let Some(program) = program().filter(|_| !bash.is_restricted()) else {
        // Restricted or not, whatever PATH has is what there would be without us.
        return if bash.can_fall_back() {
            Plan::FallBack
        } else {
            Plan::Start(bash.search_path(NAME).unwrap_or(NAME))
        };
    };
    let text = bash.command_text().map_or(&b""[..], CStr::to_bytes);
    if fork::is_alone(bash, text) {
        Plan::Become(program)
    } else if bash.can_fall_back() && bash.has_memory() && names_us(text) && !may_redirect(text) {
        bash.remember(NAME, program);
        Plan::FallBack
    } else {
        Plan::Start(program)
    }
}

/// Our own program, at its place beside the library: `PREFIX/bin/flock` and `PREFIX/lib/bash/flock`.
pub fn program() -> Option<&'static CStr> {
    static PROGRAM: OnceLock<Option<CString>> = OnceLock::new();
    let find = || {
        let prefix = Path::new(library()?).ancestors().nth(3)?;
        CString::new(prefix.join("bin/flock").into_os_string().into_vec()).ok()
    };
    PROGRAM
        .get_or_init(find)
        .as_deref()
        .filter(|path| access(*path, Access::EXEC_OK).is_ok())
}

/// Whether the command, as it was written, begins with our name: perhaps behind assignments and `command`.
fn names_us(text: &[u8]) -> bool {
    let mut words = text.split(|byte| *byte == b' ').peekable();
    while words.next_if(|word| is_assignment(word)).is_some() {}
    let _ = words.next_if_eq(&&b"command"[..]);
    words.next() == Some(NAME.to_bytes())
}

/// Whether a word is a plain assignment. One with quotes may go on behind the blank, and is not looked into; one to PATH
/// means another program.
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

/// Whether a command has redirections, or at least something that looks like one.
fn may_redirect(text: &[u8]) -> bool {
    text.iter().any(|byte| b"<>".contains(byte))
}

/// The library, as bash has loaded it.
pub fn library() -> Option<&'static OsStr> {
    ffi::library_of(entry::flock_builtin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_name_may_stand_behind_assignments_and_command() {
        for text in [
            "flock f c",
            "command flock f c",
            "LANG=C A_1= flock f c >out",
            "A=$b command flock f c",
        ] {
            assert!(names_us(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_is_not_plainly_our_name_is_not_taken_for_it() {
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
            assert!(!names_us(text.as_bytes()), "{text}");
        }
    }
}
