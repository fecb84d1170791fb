//! `loto`: its table of options, and what its words ask for.

use std::ffi::OsString;

use crate::loto::{Request, Verbosity};
use fdlock::cli::parser::{ScanResult, scan};
use fdlock::cli::{
    Abbrev, Action, OPTIONS_HEADING, OptionSpec, ParseResult, ProgramSpec, Synopsis, UsageError,
    UsageHint, duration,
};
use fdlock::lock::Wait;
use fdlock::run::Command;

/// What a user may read about `loto`.
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

/// What the options have said so far.
#[derive(Debug)]
struct RawArgs {
    files: Vec<OsString>,
    wait: Wait,
    verbosity: Verbosity,
}

static OPTIONS: &[OptionSpec<RawArgs>] = &[
    OptionSpec {
        short: "L",
        long: &[],
        abbrev: Abbrev::Allowed,
        action: Action::Value("FILE", |raw, word| {
            if word.is_empty() {
                return Err(UsageError::new(
                    "-L requires the name of a file or resource",
                ));
            }
            raw.files.push(word.to_owned());
            Ok(())
        }),
        group: OPTIONS_HEADING,
        help: "lock this file or resource (repeatable)",
        manual: "A missing file is created. A resource is cpu, net, or a name that the \
                 administrator has defined. Several locks are acquired in a fixed global order, \
                 and all are held until the command has exited.",
    },
    OptionSpec {
        short: "w",
        long: &[],
        abbrev: Abbrev::Allowed,
        action: Action::Flag(|raw| {
            if raw.wait == Timeout::NonBlocking {
                raw.wait = Timeout::Infinite;
            }
        }),
        group: OPTIONS_HEADING,
        help: "wait for the lock",
        manual: "Without it, loto gives up at once if the lock is held.",
    },
    OptionSpec {
        short: "t",
        long: &[],
        abbrev: Abbrev::Allowed,
        action: Action::Value("TIME", |raw, word| {
            let right = "expected seconds, e.g. 5 or 0.5, or a duration, e.g. 150ms or 1m30s";
            let time = duration::parse(word)
                .ok_or_else(|| UsageError::invalid("invalid time", word, right))?;
            raw.wait = Timeout::After(time);
            Ok(())
        }),
        group: OPTIONS_HEADING,
        help: "wait at most TIME, e.g. 5, 0.5, 1m30s",
        manual: "Implies -w. With several locks, the timeout covers all of them together.",
    },
    OptionSpec {
        short: "q",
        long: &[],
        abbrev: Abbrev::Allowed,
        action: Action::Flag(|raw| raw.verbosity = Verbosity::Quiet),
        group: OPTIONS_HEADING,
        help: "if the lock is held, print nothing and return 0",
        manual: "All other failures are still reported, with a non-zero status.",
    },
    OptionSpec {
        short: "v",
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

/// What the words after the name ask for.
///
/// The command stands behind the first `--`, and nothing else may stand before it: a word that is no option is more
/// likely half of a file name than a command.
///
/// # Errors
///
/// They ask for nothing that can be done; nothing has been opened, made or locked.
pub fn parse(mut words: Vec<OsString>) -> Result<ParseResult<Request>, UsageError> {
    let dashes = words.iter().position(|word| word == "--");
    let command = dashes.map(|dashes| words.split_off(dashes).split_off(1));
    let mut raw = RawArgs {
        files: Vec::new(),
        wait: Timeout::NonBlocking,
        verbosity: Verbosity::Normal,
    };
    match scan(OPTIONS, words, 1, &mut raw)? {
        ScanResult::Help => return Ok(ParseResult::Help),
        ScanResult::Version => return Ok(ParseResult::Version),
        ScanResult::Operands(operands) => {
            if let Some(word) = operands.first() {
                let right = "the command must follow --";
                return Err(UsageError::invalid("not an option", word, right));
            }
        }
    }
    if raw.files.is_empty() {
        return Err(UsageError::new("missing -L FILE"));
    }
    let command = command
        .and_then(Command::new)
        .ok_or_else(|| UsageError::new("missing command after --"))?;
    Ok(ParseResult::Request(Request {
        files: raw.files,
        wait: raw.wait,
        command,
        verbosity: raw.verbosity,
    }))
}

#[cfg(test)]
mod tests;
