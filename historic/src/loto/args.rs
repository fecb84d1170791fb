//! The command line of `loto`.

use std::ffi::OsString;

use crate::loto::{Request, Verbosity};
use fdlock::cli::parser::{ScanResult, scan};
use fdlock::cli::{
    Abbrev, Action, Letters, OPTIONS_HEADING, OptionSpec, ParseResult, ProgramSpec, Synopsis,
    UsageError, UsageHint, duration,
};
use fdlock::lock::Timeout;
use fdlock::run::Command;

/// The documentation of `loto`.
pub static SPEC: ProgramSpec = ProgramSpec {
    name: "loto",
    about: "Lock-out, tag-out: run a command under a lock on a file or a resource.",
    synopses: &[Synopsis {
        args: "-L FILE|RESOURCE [OPTION]... -- COMMAND [ARGUMENT]...",
        help: "run COMMAND under the lock",
    }],
    options: || OPTIONS.iter().map(OptionSpec::doc).collect(),
    after_help: "\
Exit status: COMMAND's own; 1 if the lock is held elsewhere (0 with -q) and on other
errors; 127 if there is no such command; 126 if it cannot be executed.

Examples:
  */5 * * * *  loto -L net -q -- rsync ...
  loto -w -L cpu -- gzip archive.tar &",
    help: include_str!("help.txt"),
    usage_hint: UsageHint::ShowSynopses,
};

/// The options as they were given.
#[derive(Debug)]
struct RawArgs {
    targets: Vec<OsString>,
    timeout: Timeout,
    verbosity: Verbosity,
}

static OPTIONS: &[OptionSpec<RawArgs>] = &[
    OptionSpec {
        short: Letters::one('L'),
        long: &[],
        abbrev: Abbrev::Allowed,
        action: Action::Value("FILE", |raw, value| {
            if value.is_empty() {
                return Err(UsageError::new(
                    "-L requires the name of a file or resource",
                ));
            }
            raw.targets.push(value.to_owned());
            Ok(())
        }),
        group: OPTIONS_HEADING,
        help: "lock this file or resource (repeatable)",
        manual: "A missing file is created. A resource is cpu, net, or a name that the \
                 administrator has defined. Several locks are acquired in a fixed global order, \
                 and all are held until the command has exited.",
    },
    OptionSpec {
        short: Letters::one('w'),
        long: &[],
        abbrev: Abbrev::Allowed,
        action: Action::Flag(|raw| {
            if raw.timeout == Timeout::NonBlocking {
                raw.timeout = Timeout::Infinite;
            }
        }),
        group: OPTIONS_HEADING,
        help: "wait for the lock",
        manual: "Without it, loto gives up at once if the lock is held.",
    },
    OptionSpec {
        short: Letters::one('t'),
        long: &[],
        abbrev: Abbrev::Allowed,
        action: Action::Value("TIME", |raw, value| {
            let expected = match duration::means_forever(value) {
                true => "to wait without a limit, use -w instead of -t",
                false => duration::EXPECTED,
            };
            let time = duration::parse(value)
                .ok_or_else(|| UsageError::invalid("invalid time", value, expected))?;
            raw.timeout = Timeout::After(time);
            Ok(())
        }),
        group: OPTIONS_HEADING,
        help: "wait at most TIME, e.g. 5, 0.5, 1m30s",
        manual: "TIME is a number of seconds, or a duration with the units ms, s, m (minutes), h and d \
                 (days). Implies -w. With several locks, the timeout covers all of them together.",
    },
    OptionSpec {
        short: Letters::one('q'),
        long: &[],
        abbrev: Abbrev::Allowed,
        action: Action::Flag(|raw| raw.verbosity = Verbosity::Quiet),
        group: OPTIONS_HEADING,
        help: "if the lock is held, print nothing and return 0",
        manual: "All other failures are still reported, with a non-zero status.",
    },
    OptionSpec {
        short: Letters::one('v'),
        long: &[],
        abbrev: Abbrev::Allowed,
        action: Action::Flag(|raw| {
            raw.verbosity = match raw.verbosity {
                Verbosity::Quiet => Verbosity::Normal,
                Verbosity::Normal | Verbosity::Verbose => Verbosity::Verbose,
            }
        }),
        group: OPTIONS_HEADING,
        help: "report what is done",
        manual: "Messages are printed on standard output.",
    },
    OptionSpec::help(OPTIONS_HEADING),
    OptionSpec::version(OPTIONS_HEADING),
];

/// Parses the arguments.
///
/// The command follows the first `--`, and no operand may precede it: an argument that is not an
/// option is more likely half of a file name than a command.
///
/// # Errors
///
/// The arguments are not valid. Nothing has been opened, created or locked.
pub fn parse(mut args: Vec<OsString>) -> Result<ParseResult<Request>, UsageError> {
    let separator = args.iter().position(|arg| arg == "--");
    let command = separator.map(|separator| args.split_off(separator).split_off(1));
    let mut raw = RawArgs {
        targets: Vec::new(),
        timeout: Timeout::NonBlocking,
        verbosity: Verbosity::Normal,
    };
    match scan(OPTIONS, args, 1, &mut raw)? {
        ScanResult::Help => return Ok(ParseResult::Help),
        ScanResult::Version => return Ok(ParseResult::Version),
        ScanResult::Operands(operands) => {
            if let Some(operand) = operands.first() {
                let expected = "the command must follow --";
                return Err(UsageError::invalid("not an option", operand, expected));
            }
        }
    }
    if raw.targets.is_empty() {
        return Err(UsageError::new("missing -L FILE"));
    }
    let command = command
        .and_then(Command::new)
        .ok_or_else(|| UsageError::new("missing command after --"))?;
    Ok(ParseResult::Request(Request {
        targets: raw.targets,
        timeout: raw.timeout,
        command,
        verbosity: raw.verbosity,
    }))
}

#[cfg(test)]
mod tests;
