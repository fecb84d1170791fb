//! `runlock`: its table of options, and what its words ask for.

use std::ffi::OsString;

use crate::runlock::Request;
use fdlock::cli::parser::{Scanned, scan};
use fdlock::cli::{Asked, Effect, Form, Length, OPTIONS_HEADING, OnMisuse, Opt, Page, Usage};
use fdlock::run::Command;

/// What a user may read about `runlock`.
pub static PAGE: Page = Page {
    name: "runlock",
    about: "Run a command unless it is already running; the lock is a PID file.",
    forms: &[Form {
        words: "LOCKFILE COMMAND [ARGUMENT]...",
        help: "run COMMAND unless LOCKFILE.lock is held",
    }],
    options: || OPTIONS.iter().map(Opt::shown).collect(),
    closing: "\
Exit status: COMMAND's own; 0 if it is still locked; 127 on usage errors; 126 if
COMMAND cannot be executed; 65-73 on other errors, see runlock(1).

Example:
  */5 * * * *  runlock /run/lock/sync sync-photos --all",
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
/// They ask for nothing that can be done; nothing has been made or locked.
pub fn parse(words: Vec<OsString>) -> Result<Asked<Request>, Usage> {
    let mut operands = match scan(OPTIONS, words, 1, &mut ())? {
        Scanned::Help => return Ok(Asked::Help),
        Scanned::Version => return Ok(Asked::Version),
        Scanned::Operands(operands) => operands,
    };
    if operands.is_empty() {
        return Err(Usage::new("missing LOCKFILE"));
    }
    let command = operands.split_off(1);
    let file = operands.remove(0);
    if file.is_empty() {
        return Err(Usage::new("LOCKFILE is empty"));
    }
    let command = Command::new(command).ok_or_else(|| Usage::new("missing COMMAND"))?;
    Ok(Asked::Request(Request { file, command }))
}

#[cfg(test)]
mod tests;
