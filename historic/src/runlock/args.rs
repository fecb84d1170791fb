//! The command line of `runlock`.

use std::ffi::OsString;

use crate::runlock::Request;
use fdlock::cli::parser::{ScanResult, scan};
use fdlock::cli::{
    OPTIONS_HEADING, OptionSpec, ParseResult, ProgramSpec, Synopsis, UsageError, UsageHint,
};
use fdlock::run::Command;

/// The documentation of `runlock`.
pub static SPEC: ProgramSpec = ProgramSpec {
    name: "runlock",
    about: "Run a command unless it is already running; the lock is a PID file.",
    synopses: &[Synopsis {
        args: "LOCKFILE COMMAND [ARGUMENT]...",
        help: "run COMMAND unless LOCKFILE.lock is held",
    }],
    options: || OPTIONS.iter().map(OptionSpec::doc).collect(),
    after_help: "\
Exit status: COMMAND's own; 0 if it is still locked; 127 on usage errors; 126 if
COMMAND cannot be executed; 65-73 on other errors, see runlock(1).

Example:
  */5 * * * *  runlock /run/lock/sync sync-photos --all",
    help: include_str!("help.txt"),
    usage_hint: UsageHint::ShowSynopses,
};

static OPTIONS: &[OptionSpec<()>] = &[
    OptionSpec::help(OPTIONS_HEADING),
    OptionSpec::version(OPTIONS_HEADING),
];

/// Parses the arguments.
///
/// # Errors
///
/// The arguments are not valid. Nothing has been created or locked.
pub fn parse(args: Vec<OsString>) -> Result<ParseResult<Request>, UsageError> {
    let mut operands = match scan(OPTIONS, args, 1, &mut ())? {
        ScanResult::Help => return Ok(ParseResult::Help),
        ScanResult::Version => return Ok(ParseResult::Version),
        ScanResult::Operands(operands) => operands,
    };
    if operands.is_empty() {
        return Err(UsageError::new("missing LOCKFILE"));
    }
    let command = operands.split_off(1);
    let file = operands.remove(0);
    if file.is_empty() {
        return Err(UsageError::new("LOCKFILE is empty"));
    }
    let command = Command::new(command).ok_or_else(|| UsageError::new("missing COMMAND"))?;
    Ok(ParseResult::Request(Request { file, command }))
}

#[cfg(test)]
mod tests;
