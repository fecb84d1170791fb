//! What was probably meant by a command that does not exist.

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;

use super::{LockRequest, Target, args};
use crate::run;

/// What only a shell can run. Some systems have programs of these names too; they are found.
const SHELL_WORDS: &[&str] = &[
    "!", ".", ":", "[[", "alias", "bg", "break", "builtin", "case", "cd", "command", "continue",
    "declare", "dirs", "disown", "eval", "exec", "exit", "export", "fc", "fg", "for", "function",
    "getopts", "hash", "if", "jobs", "let", "local", "mapfile", "popd", "pushd", "read",
    "readonly", "return", "select", "set", "shift", "shopt", "source", "suspend", "time", "times",
    "trap", "type", "typeset", "ulimit", "umask", "unalias", "unset", "until", "wait", "while",
    "{", "(",
];

/// Adds a hint to an error of the request's command if its name is not that of a program: an option
/// in the wrong place, or something for a shell; or if it is that of the lock file, which is open
/// for writing (NFS).
#[must_use]
pub fn add(mut failure: run::Error, request: &LockRequest) -> run::Error {
    if let run::Error::Exec { name, error, hint } = &mut failure
        && error.raw_os_error() == Some(Errno::TXTBSY.raw_os_error())
        && request.target == Target::Path(name.clone())
    {
        let text = "over NFS, its lock opens it for writing; let the interpreter open it: flock ";
        *hint = Some([OsStr::new(text), name, " sh ".as_ref(), name].join(OsStr::new("")));
        return failure;
    }
    add_for(failure, &Subject::from_request(request))
}

/// The same for a command under a lock elsewhere.
#[must_use]
pub fn add_for_url(failure: run::Error) -> run::Error {
    add_for(failure, &Subject::Url)
}

/// What is locked for a command.
enum Subject {
    File,
    Name,
    Descriptor(RawFd),
    Url,
}

impl Subject {
    fn from_request(request: &LockRequest) -> Self {
        match request.target {
            Target::Path(_) if request.is_named => Self::Name,
            Target::Path(_) => Self::File,
            Target::Descriptor(number) => Self::Descriptor(number),
        }
    }

    /// Returns how it is written, and what options go before.
    fn text(&self) -> (String, &'static str) {
        match self {
            Self::File => ("FILE".to_owned(), "the lock file"),
            Self::Name => ("--name NAME".to_owned(), "the command"),
            Self::Descriptor(number) => (format!("--fd {number}"), "the command"),
            Self::Url => ("SCHEME://...".to_owned(), "the URL"),
        }
    }
}

#[cold]
fn add_for(mut failure: run::Error, subject: &Subject) -> run::Error {
    if let run::Error::Exec { name, error, hint } = &mut failure
        && hint.is_none()
        // With -c, the name is that of the shell.
        && std::env::var_os("SHELL").as_ref() != Some(name)
        && matches!(
            error.raw_os_error().map(Errno::from_raw_os_error),
            Some(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::NAMETOOLONG)
        )
    {
        *hint = hint_for(name, subject);
    }
    failure
}

fn hint_for(name: &OsStr, locked: &Subject) -> Option<OsString> {
    let (subject, place) = locked.text();
    let text = name.as_bytes();
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let hint = if text == b"--" {
        format!("-- goes before {place}, and is rarely needed")
    } else if text.starts_with(b"-c") || text.starts_with(b"--command=") {
        format!("-c and its value must be two arguments: flock {subject} -c 'LINE'")
    } else if is_option(text) {
        let mut hint = OsString::from(format!("options go before {place}: flock "));
        hint.push(name);
        hint.push(format!(" ... {subject} COMMAND"));
        return Some(hint);
    } else if is_number && matches!(locked, Subject::Url) {
        let mut hint = OsString::from("the descriptor goes before the URL: flock ");
        hint.push(name);
        hint.push(format!(" {subject}"));
        return Some(hint);
    } else if SHELL_WORDS.iter().any(|word| name == *word) {
        let mut hint = OsString::from("it is part of the shell, not a program; use: flock ");
        hint.push(format!("{subject} -c '"));
        hint.push(name);
        hint.push(" ...'");
        return Some(hint);
    } else if text.iter().any(|byte| b" \t\n|&;<>()$`".contains(byte)) {
        format!("to run a shell command line, use: flock {subject} -c 'LINE'")
    } else if is_assignment(text) {
        let mut hint = OsString::from(format!("to set a variable, use: flock {subject} env "));
        hint.push(name);
        hint.push(" COMMAND");
        return Some(hint);
    } else {
        return None;
    };
    Some(hint.into())
}

/// Returns whether an argument is an option of `flock`, apart from its value.
fn is_option(arg: &[u8]) -> bool {
    let options = (args::SPEC.options)();
    match arg {
        [b'-', b'-', name @ ..] => {
            let name = name.split(|byte| *byte == b'=').next().unwrap_or_default();
            let mut long = options.iter().flat_map(|option| option.long);
            !name.is_empty() && long.any(|known| known.as_bytes().starts_with(name))
        }
        [b'-', letter, ..] => {
            let letter = char::from(*letter);
            options.iter().any(|option| option.short.contains(letter))
        }
        _ => false,
    }
}

/// Returns whether a word is an assignment to a variable.
fn is_assignment(word: &[u8]) -> bool {
    let name = word.split(|byte| *byte == b'=').next().unwrap_or_default();
    name.len() < word.len()
        && name.first().is_some_and(|byte| !byte.is_ascii_digit())
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_hint(name: &str, subject: &Subject, expected: Option<&str>) {
        let hint = hint_for(OsStr::new(name), subject);
        assert_eq!(hint, expected.map(OsString::from), "{name}");
    }

    #[test]
    fn the_hint_shows_what_is_right() {
        for (name, expected) in [
            ("--", "-- goes before the lock file, and is rarely needed"),
            (
                "-w",
                "options go before the lock file: flock -w ... FILE COMMAND",
            ),
            (
                "--timeout=5",
                "options go before the lock file: flock --timeout=5 ... FILE COMMAND",
            ),
            (
                "-cls",
                "-c and its value must be two arguments: flock FILE -c 'LINE'",
            ),
            (
                "cd",
                "it is part of the shell, not a program; use: flock FILE -c 'cd ...'",
            ),
            (
                "cd /tmp && ls",
                "to run a shell command line, use: flock FILE -c 'LINE'",
            ),
            (
                "A_1=x",
                "to set a variable, use: flock FILE env A_1=x COMMAND",
            ),
        ] {
            assert_hint(name, &Subject::File, Some(expected));
        }
        let expected = "to run a shell command line, use: flock --fd 8 -c 'LINE'";
        assert_hint("a;b", &Subject::Descriptor(8), Some(expected));
        let expected = "the descriptor goes before the URL: flock 8 SCHEME://...";
        assert_hint("8", &Subject::Url, Some(expected));
    }

    #[test]
    fn there_is_no_hint_for_the_name_of_a_program() {
        for name in [
            "backup", "./backup", "/opt/x", "", "a.b=c", "1=2", "=x", "-5", "-", "--nosuch", "8",
        ] {
            assert_hint(name, &Subject::File, None);
        }
    }
}
