//! The option table of `flock`.

use super::raw::RawArgs;
use super::remote::parse_time;
use super::replace;
use super::values::{parse_bytes, parse_descriptor};
use crate::cli::{Abbrev, Action, Letters, OptionSpec, UsageError, duration, number};
use crate::flock::{OnRelease, ProgressMode, Verbosity};
use crate::lock::{Mode, named};

// The headings of `--help`.
const LOCK_MODE: &str = "Lock mode";
const WAITING: &str = "Waiting";
const COMMAND: &str = "Command";
const BYTE_RANGES: &str = "Byte ranges (fcntl)";
const LOCK_FILES: &str = "Lock files";
const LOCKS_ELSEWHERE: &str = "Locks elsewhere (SCHEME://...)";
const INSPECTION: &str = "Inspection";
const GENERAL: &str = "General options";

/// All options, in the order in which `--help` shows them.
pub(super) static OPTIONS: &[OptionSpec<RawArgs>] = &[
    OptionSpec {
        short: Letters::one('s'),
        long: &["shared"],
        abbrev: Abbrev::Allowed,
        action: Action::Flag(|raw| raw.mode = Some(Mode::Shared)),
        group: LOCK_MODE,
        help: "get a shared lock (read lock)",
        manual: "Other processes can hold a shared lock at the same time, but not an exclusive \
                 one.",
    },
    OptionSpec {
        short: Letters::two('x', 'e'),
        long: &["exclusive"],
        abbrev: Abbrev::Allowed,
        action: Action::Flag(|raw| raw.mode = Some(Mode::Exclusive)),
        group: LOCK_MODE,
        help: "get an exclusive lock (write lock), the default",
        manual: "No other process can hold a lock at the same time. The last of -s, -x and -u \
                 takes effect.",
    },
    OptionSpec {
        short: Letters::one('u'),
        long: &["unlock"],
        abbrev: Abbrev::Allowed,
        action: Action::Flag(|raw| raw.mode = Some(Mode::Unlocked)),
        group: LOCK_MODE,
        help: "release the lock",
        manual: "Rarely needed, because a lock is released when its descriptor is closed, at the \
                 latest when the script exits. It is needed if a background process still has the \
                 descriptor open.",
    },
    OptionSpec {
        short: Letters::one('n'),
        long: &["nonblock", "nonblocking", "nb"],
        abbrev: Abbrev::Allowed,
        action: Action::Flag(|raw| raw.nonblock = true),
        group: WAITING,
        help: "fail rather than wait",
        manual: "The status is 1, or the one given with -E, and nothing is printed. Overrides -w.",
    },
    OptionSpec {
        short: Letters::one('w'),
        long: &["timeout", "wait"],
        abbrev: Abbrev::Allowed,
        action: Action::Value("TIME", |raw, arg| {
            let expected = match duration::means_forever(arg) {
                true => "to wait without a limit, leave -w out",
                false => duration::EXPECTED,
            };
            let time = duration::parse(arg)
                .ok_or_else(|| UsageError::invalid("invalid timeout value", arg, expected))?;
            raw.timeout = Some(time);
            Ok(())
        }),
        group: WAITING,
        help: "wait at most TIME, e.g. 5, 0.5, 150ms, 1m30s",
        manual: "TIME is a number of seconds, which may have a fraction, with a decimal point in \
                 every locale, or a duration with units, such as 150ms, 1m30s or 2h. The units are \
                 ms, s, m (minutes), h and d (days), or the English words, such as minutes. When \
                 TIME has elapsed, the status is 1, or the one given with -E. 0 is the same as -n. \
                 To wait without a limit, leave -w out: a negative TIME is a usage error.",
    },
    OptionSpec {
        short: Letters::one('E'),
        long: &["conflict-exit-code"],
        abbrev: Abbrev::Allowed,
        action: Action::Value("STATUS", |raw, arg| {
            let expected = "expected a number from 0 to 255";
            let status = number::decimal(arg)
                .ok_or_else(|| UsageError::invalid("invalid exit code", arg, expected))?;
            let range = |_| UsageError::invalid("exit code out of range", arg, expected);
            raw.conflict_status = Some(u8::try_from(status).map_err(range)?);
            Ok(())
        }),
        group: WAITING,
        help: "exit status on conflict or timeout [default: 1]",
        manual: "A number from 0 to 255, used when -n finds the lock held or when the timeout of \
                 -w expires. It distinguishes a lock that is held from a command that failed.",
    },
    OptionSpec {
        short: Letters::one('o'),
        long: &["close"],
        abbrev: Abbrev::Allowed,
        action: Action::Flag(|raw| raw.close = true),
        group: COMMAND,
        help: "do not pass the lock's descriptor to COMMAND",
        manual: "The lock is then released when flock exits. Use it for a command that leaves \
                 behind a process that must not keep the lock. If flock itself is killed with \
                 SIGKILL, the command continues without the lock. There is nothing to close with \
                 NUMBER alone: the option then has no effect, except in the bash builtin, which \
                 sets the descriptor to close-on-exec once the lock is held, so that programs that \
                 the script starts later do not inherit it.",
    },
    OptionSpec {
        short: Letters::one('F'),
        long: &["no-fork"],
        abbrev: Abbrev::Allowed,
        action: Action::Flag(|raw| raw.no_fork = true),
        group: COMMAND,
        help: "exec COMMAND instead of forking",
        manual: "The command replaces the flock process and holds the lock itself. Cannot be \
                 combined with -o or --unlink.",
    },
    OptionSpec {
        short: Letters::one('c'),
        long: &["command"],
        abbrev: Abbrev::Allowed,
        action: Action::AfterFile(
            "LINE",
            "it must follow the lock file: flock FILE -c LINE",
            |raw| raw.descriptor.is_some() || raw.name.is_some(),
        ),
        group: COMMAND,
        help: "after FILE: run LINE with $SHELL -c",
        manual: "Must directly follow FILE, or with --fd the options, and take exactly one \
                 argument. /bin/sh is used if SHELL is unset or empty.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["fcntl"],
        abbrev: Abbrev::Allowed,
        action: Action::Flag(|raw| raw.range = Some(raw.range.unwrap_or_default())),
        group: BYTE_RANGES,
        help: "use open file description locks of fcntl(2)",
        manual: "They replace the locks of flock(2), with which they conflict only on network file \
                 systems. They also conflict with the locks of programs that use fcntl(2) or \
                 lockf(3) themselves. An exclusive lock requires a writable file, a shared lock a \
                 readable one.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["start"],
        abbrev: Abbrev::Allowed,
        action: Action::Value("OFFSET", |raw, arg| {
            let length = raw.range.unwrap_or_default().1;
            raw.range = Some((parse_bytes("invalid start offset", arg)?, length));
            Ok(())
        }),
        group: BYTE_RANGES,
        help: "first byte of the lock [default: 0]; implies --fcntl",
        manual: "OFFSET is decimal, octal (0...) or hexadecimal (0x...). The suffixes K, M, G, T, \
                 P and E, or KiB, MiB and so on, multiply by powers of 1024; KB, MB and so on \
                 multiply by powers of 1000.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["length"],
        abbrev: Abbrev::Allowed,
        action: Action::Value("BYTES", |raw, arg| {
            let start = raw.range.unwrap_or_default().0;
            raw.range = Some((start, parse_bytes("invalid length", arg)?));
            Ok(())
        }),
        group: BYTE_RANGES,
        help: "bytes to lock [default: 0, all]; implies --fcntl",
        manual: "Written like OFFSET. 0 locks up to the end of the file and beyond.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["fd"],
        abbrev: Abbrev::Allowed,
        action: Action::Value("NUMBER", |raw, arg| {
            raw.descriptor = Some(parse_descriptor(arg)?);
            Ok(())
        }),
        group: COMMAND,
        help: "lock descriptor NUMBER, then run COMMAND",
        manual: "All operands are the command and its arguments, or -c LINE, and there is no FILE. \
                 The lock stays with the descriptor after the command has exited.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["fair"],
        abbrev: Abbrev::Forbidden,
        action: Action::Flag(|raw| raw.fair = true),
        group: WAITING,
        help: "queue in arrival order with other --fair users",
        manual: "Without it, the order is not guaranteed, and readers can starve a writer. See \
                 FAIRNESS.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["queue"],
        abbrev: Abbrev::Forbidden,
        action: Action::Value("N", |raw, arg| {
            let what = "invalid number of waiters";
            let waiters = number::decimal(arg)
                .and_then(|number| u32::try_from(number).ok())
                .ok_or_else(|| UsageError::invalid(what, arg, "expected a number from 0 on"))?;
            raw.max_waiters = Some(waiters);
            Ok(())
        }),
        group: WAITING,
        help: "fail rather than wait if N processes already wait",
        manual: "The status is 1, or the one given with -E. With --queue 1, a job that is started \
                 many times while it runs runs once more. 0 is the same as -n. See BOUNDED QUEUE.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["replace"],
        abbrev: Abbrev::Forbidden,
        action: Action::OptionalValue("SIGNAL", |raw, arg| {
            raw.replace = Some(replace::parse_signal(arg)?);
            Ok(())
        }),
        group: WAITING,
        help: "stop the processes that hold the lock, by SIGTERM or SIGNAL",
        manual: "SIGNAL is a name, such as INT, or a number. Processes that still hold the lock \
                 after the time of --grace are killed. -w limits the whole. See REPLACING THE \
                 HOLDER.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["progress"],
        abbrev: Abbrev::Forbidden,
        action: Action::Flag(|raw| raw.progress = ProgressMode::Shown),
        group: WAITING,
        help: "show what flock waits for, and for how long",
        manual: "On a terminal, a line on standard error, until the wait ends; elsewhere, a message \
                 at its start and at growing intervals. See PROGRESS.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["slots"],
        abbrev: Abbrev::Forbidden,
        action: Action::Value("N", |raw, arg| {
            let what = "invalid number of slots";
            let slots = number::decimal(arg)
                .and_then(|number| u32::try_from(number).ok())
                .filter(|slots| *slots > 0)
                .ok_or_else(|| UsageError::invalid(what, arg, "expected a positive number"))?;
            raw.slots = Some(slots);
            Ok(())
        }),
        group: LOCK_MODE,
        help: "allow up to N holders at once, in arrival order",
        manual: "Requires FILE and COMMAND. All users of the file should give the same N. See \
                 SLOTS.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["name"],
        abbrev: Abbrev::Forbidden,
        action: Action::Value("NAME", |raw, arg| {
            if !named::is_valid(arg) {
                let expected = "expected a file name without a slash";
                return Err(UsageError::invalid("invalid name", arg, expected));
            }
            raw.name = Some(arg.to_owned());
            Ok(())
        }),
        group: LOCK_FILES,
        help: "lock the user's lock file of this name, instead of FILE",
        manual: "It is created if it is missing, in a directory of the user, and its path is the \
                 same for every process of the user. See LOCK FILES BY NAME.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["path"],
        abbrev: Abbrev::Forbidden,
        action: Action::Flag(|raw| raw.path = true),
        group: LOCK_FILES,
        help: "with --name: print the path of the lock file",
        manual: "The file is created if it is missing, and not locked.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["also"],
        abbrev: Abbrev::Forbidden,
        action: Action::Value("FILE", |raw, arg| {
            raw.also.push(arg.to_owned());
            Ok(())
        }),
        group: LOCK_FILES,
        help: "also lock FILE; take all locks or none (repeatable)",
        manual: "The locks are acquired in a fixed global order, whatever their order on the \
                 command line, which prevents deadlock. The mode and the timeout apply to all of \
                 them. While flock waits, it already holds the locks that come first in that \
                 order. With SCHEME://... as the operand, FILE is another such URL.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["unlink"],
        abbrev: Abbrev::Forbidden,
        action: Action::Flag(|raw| raw.on_release = OnRelease::Unlink),
        group: LOCK_FILES,
        help: "remove the lock file after the last holder exits",
        manual: "After the command has exited, the file is removed unless another process holds \
                 the lock or waits for it. Only an empty regular file with a single name is removed; \
                 any other file, or the file of a command that could not be run, stays, and a \
                 message says so. Use it only if this flock is the only program that locks the \
                 file: others, such as util-linux's, do not check that the file they lock still \
                 exists.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["ttl"],
        abbrev: Abbrev::Forbidden,
        action: Action::Value("TIME", |raw, arg| {
            raw.terms.ttl = parse_time("--ttl", arg)?;
            Ok(())
        }),
        group: LOCKS_ELSEWHERE,
        help: "the lock outlasts this machine by TIME [default: 30s]",
        manual: "Written like the TIME of -w, from 5s to 1d. If the lock has not been renewed for \
                 nearly that long, the command is stopped.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["grace"],
        abbrev: Abbrev::Forbidden,
        action: Action::Value("TIME", |raw, arg| {
            raw.terms.grace = parse_time("--grace", arg)?;
            Ok(())
        }),
        group: LOCKS_ELSEWHERE,
        help: "from SIGTERM to SIGKILL if it is lost, or with --replace [default: 5s]",
        manual: "At most half of --ttl. The default is a third of --ttl if that is less than 5s. With \
                 --replace, any time; with 0, the holders are killed at once.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["print-token"],
        abbrev: Abbrev::Forbidden,
        action: Action::Flag(|raw| raw.terms.prints_token = true),
        group: LOCKS_ELSEWHERE,
        help: "with NUMBER SCHEME://...: print the lock's token",
        manual: "The number that a command finds in FLOCK_TOKEN, as a line on standard output.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["verbose"],
        abbrev: Abbrev::Allowed,
        action: Action::Flag(|raw| raw.verbosity = Verbosity::Verbose),
        group: INSPECTION,
        help: "report the current holder, the wait time and the command",
        manual: "The current holder is reported on standard error, once before flock starts to \
                 wait, and again, with the reason, if the lock was not acquired. The wait time and \
                 the command are reported on standard output.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["who"],
        abbrev: Abbrev::Forbidden,
        action: Action::Flag(|raw| raw.who.who = true),
        group: INSPECTION,
        help: "list the lock's holders and waiters",
        manual: "Prints a table on standard output. Without FILE, it lists all locks of the \
                 machine. The status is 0 if a lock is held and 1 if none is. No lock is acquired \
                 and no file is created. See LISTING HOLDERS.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["json"],
        abbrev: Abbrev::Forbidden,
        action: Action::Flag(|raw| raw.who.json = true),
        group: INSPECTION,
        help: "with --who: print JSON",
        manual: "An array with one object for each holder and each waiter.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["pids"],
        abbrev: Abbrev::Forbidden,
        action: Action::Flag(|raw| raw.who.pids = true),
        group: INSPECTION,
        help: "with --who: print only holder PIDs",
        manual: "One per line, for kill(1). Unverified holders are omitted. Requires FILE or --fd.",
    },
    OptionSpec {
        short: Letters::NONE,
        long: &["watch"],
        abbrev: Abbrev::Forbidden,
        action: Action::Flag(|raw| raw.who.watch = true),
        group: INSPECTION,
        help: "with --who: keep the table on the screen current",
        manual: "Fills the terminal and refreshes the table every two seconds, until q or Ctrl-C \
                 is typed.",
    },
    OptionSpec::help(GENERAL),
    OptionSpec::version(GENERAL),
];
