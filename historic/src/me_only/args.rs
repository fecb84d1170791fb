//! `me-only`: its table of options, and what its words ask for.

use std::ffi::OsString;

use crate::abstract_socket::Name;
use crate::me_only::Request;
use fdlock::cli::parser::{Scanned, scan};
use fdlock::cli::{Asked, Effect, Form, Length, OPTIONS_HEADING, OnMisuse, Opt, Page, Usage};
use fdlock::run::Command;

/// What a user may read about `me-only`.
pub static PAGE: Page = Page {
    name: "me-only",
    about: "Run a script unless it is already running; the lock is an abstract socket address.",
    forms: &[Form {
        words: "LOCK_PATH SCRIPT_PATH [ARGUMENT]...",
        help: "run the script as the only instance",
    }],
    options: || OPTIONS.iter().map(Opt::shown).collect(),
    closing: "\
Exit status: the script's own, plus 200 if that is 1 to 4; 1 if there is no such
script; 2 on usage errors; 3 if no socket is available; 4 if it is already running.

Example:
  me-only /tmp/a /path/script 1 2 3 || echo \"not run, or failed\" >&2",
    help: include_str!("help.txt"),
    on_misuse: OnMisuse::ShowForms,
};

static OPTIONS: &[Opt<()>] = &[
    Opt {
        short: "h",
        long: &["help"],
        length: Length::Short,
        effect: Effect::Help,
        group: OPTIONS_HEADING,
        help: "print help and exit",
        manual: "",
    },
    Opt {
        short: "V",
        long: &["version"],
        length: Length::Short,
        effect: Effect::Version,
        group: OPTIONS_HEADING,
        help: "print version and exit",
        manual: "",
    },
];

/// What the words after the name ask for.
///
/// # Errors
///
/// They ask for nothing that can be done; no name has been taken.
pub fn parse(words: Vec<OsString>) -> Result<Asked<Request>, Usage> {
    let mut operands = match scan(OPTIONS, words, 1, &mut ())? {
        Scanned::Help => return Ok(Asked::Help),
        Scanned::Version => return Ok(Asked::Version),
        Scanned::Operands(operands) => operands,
    };
    if operands.is_empty() {
        return Err(Usage::new("missing LOCK_PATH"));
    }
    let script = operands.split_off(1);
    let path = operands.remove(0);
    let command = Command::here(script).ok_or_else(|| Usage::new("missing SCRIPT_PATH"))?;
    let right = format!("expected 1 to {} bytes", Name::MAX);
    let name =
        Name::new(&path).ok_or_else(|| Usage::of_word("invalid lock path", &path, &right))?;
    Ok(Asked::Request(Request { name, command }))
}

#[cfg(test)]
mod tests;
