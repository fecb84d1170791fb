//! The command line of `me-only`.

use std::ffi::OsString;

use crate::abstract_socket::Name;
use crate::me_only::Request;
use fdlock::cli::parser::{ScanResult, scan};
use fdlock::cli::{
    OPTIONS_HEADING, OptionSpec, ParseResult, ProgramSpec, Synopsis, UsageError, UsageHint,
};
use fdlock::run::Command;

/// The documentation of `me-only`.
pub static SPEC: ProgramSpec = ProgramSpec {
    name: "me-only",
    about: "Run a script unless it is already running; the lock is an abstract socket address.",
    synopses: &[Synopsis {
        args: "LOCK_PATH SCRIPT_PATH [ARGUMENT]...",
        help: "run the script as the only instance",
    }],
    options: || OPTIONS.iter().map(OptionSpec::doc).collect(),
    after_help: "\
Exit status: the script's own, plus 200 if that is 1 to 4; 1 if there is no such
script; 2 on usage errors; 3 if no socket is available; 4 if it is already running.

Example:
  me-only /tmp/a /path/script 1 2 3 || echo \"not run, or failed\" >&2",
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
/// The arguments are not valid. No name has been acquired.
pub fn parse(args: Vec<OsString>) -> Result<ParseResult<Request>, UsageError> {
    let mut operands = match scan(OPTIONS, args, 1, &mut ())? {
        ScanResult::Help => return Ok(ParseResult::Help),
        ScanResult::Version => return Ok(ParseResult::Version),
        ScanResult::Operands(operands) => operands,
    };
    if operands.is_empty() {
        return Err(UsageError::new("missing LOCK_PATH"));
    }
    let script = operands.split_off(1);
    let path = operands.remove(0);
    let command = Command::in_working_directory(script)
        .ok_or_else(|| UsageError::new("missing SCRIPT_PATH"))?;
    let expected = format!("expected 1 to {} bytes", Name::MAX);
    let name = Name::new(&path)
        .ok_or_else(|| UsageError::invalid("invalid lock path", &path, &expected))?;
    Ok(ParseResult::Request(Request { name, command }))
}

#[cfg(test)]
mod tests;
