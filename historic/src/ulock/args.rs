//! The command line of `ulock`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use crate::ulock::{Request, UlockOp};
use fdlock::cli::parser::{ScanResult, scan};
use fdlock::cli::{
    Abbrev, Action, Letters, OPTIONS_HEADING, OptionSpec, ParseResult, ProgramSpec, Synopsis,
    UsageError, UsageHint, duration,
};
use fdlock::lock::Timeout;

/// The documentation of `ulock`.
pub static SPEC: ProgramSpec = ProgramSpec {
    name: "ulock",
    about: "Lock with hard links, which also works over NFS.",
    synopses: &[
        Synopsis {
            args: "[OPTION]... LOCK",
            help: "create LOCK; remove it to release the lock",
        },
        Synopsis {
            args: "-w [OPTION]... LOCK [COUNTER]",
            help: "the same, and wait until there are no readers",
        },
        Synopsis {
            args: "-r [OPTION]... LOCK COUNTER COMMAND [ARGUMENT]...",
            help: "run a shell command line as a reader",
        },
    ],
    options: || OPTIONS.iter().map(OptionSpec::doc).collect(),
    after_help: "\
Exit status: 0 if the lock was acquired; 1 on timeout, on usage errors and on other
errors; with -r, COMMAND's own.

Examples:
  if ulock lock; then ...; rm -f lock; fi
  if ulock -w lock counter; then mv new master; rm -f lock; fi
  ulock -r lock counter cat master",
    help: include_str!("help.txt"),
    usage_hint: UsageHint::ShowSynopses,
};

/// The options as they were given.
#[derive(Debug)]
struct RawArgs {
    read: bool,
    write: bool,
    timeout: Timeout,
    max_age: Duration,
}

static OPTIONS: &[OptionSpec<RawArgs>] = &[
    OptionSpec {
        short: Letters::one('w'),
        long: &[],
        abbrev: Abbrev::Allowed,
        action: Action::Flag(|raw| raw.write = true),
        group: OPTIONS_HEADING,
        help: "create LOCK as a writer, and wait until there are no readers",
        manual: "Readers are the links of COUNTER beyond its own name. Without COUNTER there are \
                 no readers.",
    },
    OptionSpec {
        short: Letters::one('r'),
        long: &[],
        abbrev: Abbrev::Allowed,
        action: Action::Flag(|raw| raw.read = true),
        group: OPTIONS_HEADING,
        help: "run a command as a reader, once there is no writer",
        manual: "COUNTER has one more link while the command runs. The command's arguments are \
                 joined with spaces and run by /bin/sh. If the command fails, the link remains, \
                 and blocks writers until it is removed.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["timeout"],
        abbrev: Abbrev::Allowed,
        action: Action::Value("SECONDS", |raw, value| {
            raw.timeout = if value == "-1" {
                Timeout::Infinite
            } else {
                let or = ", or -1 for no limit";
                Timeout::After(parse_duration("invalid timeout", value, or)?)
            };
            Ok(())
        }),
        group: OPTIONS_HEADING,
        help: "wait at most SECONDS [default: -1, no limit]",
        manual: "SECONDS may be fractional, or a duration such as 150ms, 1m30s or 2h, with the \
                 units ms, s, m (minutes), h and d (days). 0 tries once. When the time has elapsed, \
                 the status is 1 and nothing is printed.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["invalid"],
        abbrev: Abbrev::Allowed,
        action: Action::Value("SECONDS", |raw, value| {
            raw.max_age = parse_duration("invalid age", value, "")?;
            Ok(())
        }),
        group: OPTIONS_HEADING,
        help: "take over a LOCK older than SECONDS [default: 60]",
        manual: "Its creator is assumed to be dead. SECONDS must exceed the longest time for which \
                 any script holds the lock legitimately, and must be the same in all scripts.",
    },
    OptionSpec::help(OPTIONS_HEADING),
    OptionSpec::version(OPTIONS_HEADING),
];

fn parse_duration(what: &str, value: &OsStr, or: &str) -> Result<Duration, UsageError> {
    let expected = format!("{}{or}", duration::EXPECTED);
    duration::parse(value).ok_or_else(|| UsageError::invalid(what, value, &expected))
}

/// Parses the arguments. Options may be anywhere before the command; of those of the command,
/// `--timeout=…` and `--invalid=…` before a `--` are taken from it, as in the original.
///
/// # Errors
///
/// The arguments are not valid. Nothing has been created or locked.
pub fn parse(args: Vec<OsString>) -> Result<ParseResult<Request>, UsageError> {
    let mut raw = RawArgs {
        read: false,
        write: false,
        timeout: Timeout::Infinite,
        max_age: Duration::from_secs(60),
    };
    let dashes = args.iter().position(|arg| arg == "--");
    // After `--`, options are not recognized any more, here or in the command.
    let after_dashes = dashes.map_or(0, |index| args.len() - index);
    let mut operands = match scan(OPTIONS, args, MAX_OPERANDS, &mut raw)? {
        ScanResult::Help => return Ok(ParseResult::Help),
        ScanResult::Version => return Ok(ParseResult::Version),
        ScanResult::Operands(operands) => operands,
    };
    let end = operands.len().saturating_sub(after_dashes);
    let command = end.min(MAX_OPERANDS - 1)..end;
    let options = operands.extract_if(command, |arg| belongs_to_ulock(arg));
    scan(OPTIONS, options.collect(), MAX_OPERANDS, &mut raw)?;
    raw.into_request(operands).map(ParseResult::Request)
}

/// Operands before which options are recognized: LOCK, COUNTER, and the name of the command.
const MAX_OPERANDS: usize = 3;

/// Returns whether an argument of the command is an option of `ulock` nevertheless, as in the
/// original. Its other options, `-r` and `-w`, belong to the command.
fn belongs_to_ulock(arg: &OsStr) -> bool {
    let has_value = |option: &[u8]| {
        let value = arg.as_bytes().strip_prefix(option);
        value.is_some_and(|value| !value.is_empty())
    };
    has_value(b"--timeout=") || has_value(b"--invalid=")
}

impl RawArgs {
    fn into_request(self, operands: Vec<OsString>) -> Result<Request, UsageError> {
        let mut operands = operands.into_iter();
        let mut next_path = |name: &str| match operands.next() {
            Some(path) if path.is_empty() => Err(UsageError::new(format!("{name} is empty"))),
            path => Ok(path),
        };
        let lock = next_path("LOCK")?.ok_or_else(|| UsageError::new("missing LOCK"))?;
        let counter = next_path("COUNTER")?;
        if counter.as_ref() == Some(&lock) {
            return Err(UsageError::new("LOCK and COUNTER are the same file"));
        }
        let command = operands.collect::<Vec<_>>();
        let op = match (self.read, self.write) {
            (true, true) => return Err(UsageError::new("-r and -w are incompatible")),
            (true, false) => {
                let counter = counter.ok_or_else(|| UsageError::new("-r requires COUNTER"))?;
                if command.is_empty() {
                    return Err(UsageError::new("-r requires a command to run"));
                }
                let line = command.join(OsStr::new(" "));
                UlockOp::Read { counter, line }
            }
            (false, _) if !command.is_empty() => {
                return Err(UsageError::new("a command requires -r"));
            }
            (false, true) => UlockOp::Write { counter },
            (false, false) if counter.is_some() => {
                return Err(UsageError::new("COUNTER requires -w or -r"));
            }
            (false, false) => UlockOp::Exclusive,
        };
        Ok(Request {
            lock,
            op,
            timeout: self.timeout,
            max_age: self.max_age,
        })
    }
}

#[cfg(test)]
mod tests;
