//! `flock`: its table of options, and what its words ask for.

mod who;

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;

use crate::cli::parser::{Scanned, scan};
use crate::cli::{Asked, Effect, Form, Length, OnMisuse, Opt, Page, Usage, duration, number};
use crate::exit;
use crate::flock::{Afterwards, Job, Lock, Manner, Order, Request, Target, Verbosity};
use crate::lock::{Kind, Mode, Wait};
use crate::run::Command;

use who::Asking;

/// What a user may read about `flock`.
pub static PAGE: Page = Page {
    name: "flock",
    about: "Lock files from shell scripts, or run a command under a lock.",
    forms: &[
        Form {
            words: "[OPTION]... NUMBER",
            help: "lock a descriptor that the script has opened",
        },
        Form {
            words: "[OPTION]... FILE COMMAND [ARGUMENT]...",
            help: "lock FILE, then run COMMAND",
        },
        Form {
            words: "[OPTION]... FILE -c LINE",
            help: "lock FILE, then run a shell command line",
        },
        Form {
            words: "[OPTION]... --fd NUMBER COMMAND [ARGUMENT]...",
            help: "lock descriptor NUMBER, then run COMMAND",
        },
        Form {
            words: "--who [OPTION]... FILE...",
            help: "list the holders and waiters of the lock on FILE",
        },
        Form {
            words: "--who [OPTION]... --fd NUMBER",
            help: "list the holders of the file open on NUMBER",
        },
    ],
    options: || OPTIONS.iter().map(Opt::shown).collect(),
    closing: "\
Exit status: COMMAND's own; 1 (or -E STATUS) if the lock is held elsewhere; 64 on
usage errors; 65-73 on other errors, see flock(1).

Examples:
  exec 8>>/run/lock/job; flock 8          wait, then hold the lock until the script exits
  if flock -n 8; then ...; else ...; fi   do something else if the lock is held
  flock -n /run/lock/backup backup.sh     skip this run if the previous one is still active
  flock -w 5m /run/lock/deploy ./deploy   wait at most five minutes",
    help: include_str!("../help.txt"),
    on_misuse: OnMisuse::ReferToHelp,
};

/// What the options have said so far.
#[derive(Debug)]
struct Draft {
    mode: Option<Mode>,
    nonblock: bool,
    limit: Option<Wait>,
    on_conflict: Option<u8>,
    close: bool,
    no_fork: bool,
    fcntl: Option<(i64, i64)>,
    descriptor: Option<RawFd>,
    fair: bool,
    slots: Option<u32>,
    also: Vec<OsString>,
    afterwards: Afterwards,
    verbosity: Verbosity,
    asking: Asking,
}

// The headings of `--help`.
const LOCK_MODE: &str = "Lock mode";
const WAITING: &str = "Waiting";
const COMMAND: &str = "Command";
const BYTE_RANGES: &str = "Byte ranges (fcntl)";
const LOCK_FILES: &str = "Lock files";
const INSPECTION: &str = "Inspection";
const GENERAL: &str = "General options";

static OPTIONS: &[Opt<Draft>] = &[
    Opt {
        short: "s",
        long: &["shared"],
        length: Length::Short,
        effect: Effect::Flag(|draft| draft.mode = Some(Mode::Shared)),
        group: LOCK_MODE,
        help: "get a shared lock (read lock)",
        manual: "Other processes can hold a shared lock at the same time, but not an exclusive \
                 one.",
    },
    Opt {
        short: "xe",
        long: &["exclusive"],
        length: Length::Short,
        effect: Effect::Flag(|draft| draft.mode = Some(Mode::Exclusive)),
        group: LOCK_MODE,
        help: "get an exclusive lock (write lock), the default",
        manual: "No other process can hold a lock at the same time. The last of -s, -x and -u \
                 takes effect.",
    },
    Opt {
        short: "u",
        long: &["unlock"],
        length: Length::Short,
        effect: Effect::Flag(|draft| draft.mode = Some(Mode::Unlocked)),
        group: LOCK_MODE,
        help: "release the lock",
        manual: "Rarely needed, because a lock is released when its descriptor is closed, at the \
                 latest when the script exits. It is needed if a background process still has the \
                 descriptor open.",
    },
    Opt {
        short: "n",
        long: &["nonblock", "nonblocking", "nb"],
        length: Length::Short,
        effect: Effect::Flag(|draft| draft.nonblock = true),
        group: WAITING,
        help: "fail rather than wait",
        manual: "The status is 1, or the one given with -E, and nothing is printed. Overrides -w.",
    },
    Opt {
        short: "w",
        long: &["timeout", "wait"],
        length: Length::Short,
        effect: Effect::Value("TIME", |draft, word| {
            let right = "expected seconds, e.g. 5 or 0.5, or a duration, e.g. 150ms or 1m30s";
            let time = duration::parse(word)
                .ok_or_else(|| Usage::of_word("invalid timeout value", word, right))?;
            draft.limit = Some(Wait::For(time));
            Ok(())
        }),
        group: WAITING,
        help: "wait at most TIME, e.g. 5, 0.5, 150ms, 1m30s",
        manual: "TIME is a number of seconds, which may have a fraction, with a decimal point in \
                 every locale, or a duration with units, such as 150ms, 1m30s or 2h. When it has \
                 elapsed, the status is 1, or the one given with -E. 0 is the same as -n.",
    },
    Opt {
        short: "E",
        long: &["conflict-exit-code"],
        length: Length::Short,
        effect: Effect::Value("STATUS", |draft, word| {
            let right = "expected a number from 0 to 255";
            let status = number::decimal(word)
                .ok_or_else(|| Usage::of_word("invalid exit code", word, right))?;
            let range = |_| Usage::of_word("exit code out of range", word, right);
            draft.on_conflict = Some(u8::try_from(status).map_err(range)?);
            Ok(())
        }),
        group: WAITING,
        help: "exit status on conflict or timeout [default: 1]",
        manual: "A number from 0 to 255, used when -n finds the lock held or when the timeout of \
                 -w expires. It distinguishes a lock that is held from a command that failed.",
    },
    Opt {
        short: "o",
        long: &["close"],
        length: Length::Short,
        effect: Effect::Flag(|draft| draft.close = true),
        group: COMMAND,
        help: "do not pass the lock's descriptor to COMMAND",
        manual: "The lock is then released when flock exits. Use it for a command that leaves \
                 behind a process that must not keep the lock. If flock itself is killed with \
                 SIGKILL, the command continues without the lock.",
    },
    Opt {
        short: "F",
        long: &["no-fork"],
        length: Length::Short,
        effect: Effect::Flag(|draft| draft.no_fork = true),
        group: COMMAND,
        help: "exec COMMAND instead of forking",
        manual: "The command replaces the flock process and holds the lock itself. Cannot be \
                 combined with -o or --unlink.",
    },
    Opt {
        short: "c",
        long: &["command"],
        length: Length::Short,
        effect: Effect::BehindFile("LINE", "it must follow the lock file: flock FILE -c LINE"),
        group: COMMAND,
        help: "after FILE: run LINE with $SHELL -c",
        manual: "Must directly follow FILE and take exactly one argument. /bin/sh is used if SHELL \
                 is unset or empty.",
    },
    Opt {
        short: "",
        long: &["fcntl"],
        length: Length::Short,
        effect: Effect::Flag(|draft| draft.fcntl = Some(draft.fcntl.unwrap_or_default())),
        group: BYTE_RANGES,
        help: "use open file description locks of fcntl(2)",
        manual: "They replace the locks of flock(2); neither kind conflicts with the other. They \
                 work over NFS, and conflict with the locks of programs that use fcntl(2) or \
                 lockf(3) themselves. An exclusive lock requires a writable file, a shared lock a \
                 readable one.",
    },
    Opt {
        short: "",
        long: &["start"],
        length: Length::Short,
        effect: Effect::Value("OFFSET", |draft, word| {
            let length = draft.fcntl.unwrap_or_default().1;
            draft.fcntl = Some((bytes("invalid start offset", word)?, length));
            Ok(())
        }),
        group: BYTE_RANGES,
        help: "first byte of the lock [default: 0]; implies --fcntl",
        manual: "OFFSET is decimal, octal (0...) or hexadecimal (0x...). The suffixes K, M, G, T, \
                 P and E, or KiB, MiB and so on, multiply by powers of 1024; KB, MB and so on \
                 multiply by powers of 1000.",
    },
    Opt {
        short: "",
        long: &["length"],
        length: Length::Short,
        effect: Effect::Value("BYTES", |draft, word| {
            let start = draft.fcntl.unwrap_or_default().0;
            draft.fcntl = Some((start, bytes("invalid length", word)?));
            Ok(())
        }),
        group: BYTE_RANGES,
        help: "bytes to lock [default: 0, all]; implies --fcntl",
        manual: "Written like OFFSET. 0 locks up to the end of the file and beyond.",
    },
    Opt {
        short: "",
        long: &["fd"],
        length: Length::Short,
        effect: Effect::Value("NUMBER", |draft, word| {
            draft.descriptor = Some(descriptor(word)?);
            Ok(())
        }),
        group: COMMAND,
        help: "lock descriptor NUMBER, then run COMMAND",
        manual: "All operands are the command and its arguments, and there is no FILE. The lock \
                 stays with the descriptor after the command has exited.",
    },
    Opt {
        short: "",
        long: &["fair"],
        length: Length::Full,
        effect: Effect::Flag(|draft| draft.fair = true),
        group: WAITING,
        help: "queue in arrival order with other --fair users",
        manual: "Without it, the next holder is arbitrary, and readers can starve a writer. A \
                 place in the queue survives signals, stopping and continuing. Processes that lock \
                 the file without --fair are excluded by the lock, but do not queue. See FAIRNESS.",
    },
    Opt {
        short: "",
        long: &["slots"],
        length: Length::Full,
        effect: Effect::Value("N", |draft, word| {
            let right = "expected a positive number";
            let slots = number::decimal(word)
                .and_then(|number| u32::try_from(number).ok())
                .filter(|slots| *slots > 0);
            draft.slots =
                Some(slots.ok_or_else(|| Usage::of_word("invalid number of slots", word, right))?);
            Ok(())
        }),
        group: LOCK_MODE,
        help: "allow up to N holders at once, in arrival order",
        manual: "Requires FILE and COMMAND. A slot is released when the last process that holds it \
                 exits, for whatever reason. All users of the file should give the same N; see \
                 SLOTS.",
    },
    Opt {
        short: "",
        long: &["also"],
        length: Length::Full,
        effect: Effect::Value("FILE", |draft, word| {
            draft.also.push(word.to_owned());
            Ok(())
        }),
        group: LOCK_FILES,
        help: "also lock FILE; take all locks or none (repeatable)",
        manual: "The locks are acquired in a fixed global order, whatever their order on the \
                 command line, which prevents deadlock. The mode and the timeout apply to all of \
                 them. While flock waits, it already holds the locks that come first in that \
                 order.",
    },
    Opt {
        short: "",
        long: &["unlink"],
        length: Length::Full,
        effect: Effect::Flag(|draft| draft.afterwards = Afterwards::Unlink),
        group: LOCK_FILES,
        help: "remove the lock file after the last holder exits",
        manual: "After the command has exited, the file is removed unless another process holds \
                 the lock or waits for it. Use it only if this flock is the only program that \
                 locks the file: others, such as util-linux's, do not check that the file they \
                 lock still exists. Directories, symbolic links and their targets are not removed.",
    },
    Opt {
        short: "",
        long: &["verbose"],
        length: Length::Short,
        effect: Effect::Flag(|draft| draft.verbosity = Verbosity::Verbose),
        group: INSPECTION,
        help: "report the current holder, the wait time and the command",
        manual: "The current holder is reported on standard error, once before flock starts to \
                 wait, and again, with the reason, if the lock was not acquired. The wait time and \
                 the command are reported on standard output.",
    },
    Opt {
        short: "",
        long: &["who"],
        length: Length::Full,
        effect: Effect::Flag(|draft| draft.asking.who = true),
        group: INSPECTION,
        help: "list the lock's holders and waiters",
        manual: "Prints a table on standard output. The status is 0 if the lock is held and 1 if \
                 it is not. No lock is acquired and no file is created. See LISTING HOLDERS.",
    },
    Opt {
        short: "",
        long: &["json"],
        length: Length::Full,
        effect: Effect::Flag(|draft| draft.asking.json = true),
        group: INSPECTION,
        help: "with --who: print JSON",
        manual: "An array with one object for each holder and each waiter.",
    },
    Opt {
        short: "",
        long: &["pids"],
        length: Length::Full,
        effect: Effect::Flag(|draft| draft.asking.pids = true),
        group: INSPECTION,
        help: "with --who: print only holder PIDs",
        manual: "One per line, for kill(1). Unverified holders are omitted.",
    },
    Opt {
        short: "h",
        long: &["help"],
        length: Length::Short,
        effect: Effect::Help,
        group: GENERAL,
        help: "print help and exit",
        manual: "",
    },
    Opt {
        short: "V",
        long: &["version"],
        length: Length::Short,
        effect: Effect::Version,
        group: GENERAL,
        help: "print version and exit",
        manual: "",
    },
];

/// What the words after the name ask for.
///
/// # Errors
///
/// They ask for nothing that can be done; nothing has been opened, made or locked.
pub fn parse(words: Vec<OsString>) -> Result<Asked<Request>, Usage> {
    if words.is_empty() {
        return Err(Usage::new("not enough arguments"));
    }
    let mut draft = Draft {
        mode: None,
        nonblock: false,
        limit: None,
        on_conflict: None,
        close: false,
        no_fork: false,
        fcntl: None,
        descriptor: None,
        fair: false,
        slots: None,
        also: Vec::new(),
        afterwards: Afterwards::Keep,
        verbosity: Verbosity::Quiet,
        asking: Asking::default(),
    };
    match scan(OPTIONS, words, 1, &mut draft)? {
        Scanned::Help => Ok(Asked::Help),
        Scanned::Version => Ok(Asked::Version),
        Scanned::Operands(operands) => draft.request(operands).map(Asked::Request),
    }
}

impl Draft {
    fn request(self, operands: Vec<OsString>) -> Result<Request, Usage> {
        if self.asking.is_anything()
            && let Some(question) = self.question(&operands)?
        {
            return Ok(question);
        }
        let manner = match (self.close, self.no_fork) {
            (true, true) => {
                return Err(Usage::new(
                    "the --no-fork and --close options are incompatible",
                ));
            }
            (true, false) => Manner::ChildWithoutLock,
            (false, true) => Manner::InPlace,
            (false, false) => Manner::Child,
        };
        let kind = match self.fcntl {
            None => Kind::Flock,
            // The last byte that a file can have is number i64::MAX.
            Some((start, length)) if length > 0 && start.checked_add(length - 1).is_none() => {
                return Err(Usage::new(format!(
                    "--start {start} with --length {length} exceeds the largest file offset"
                )));
            }
            Some((start, length)) => Kind::Ofd { start, length },
        };
        let order = match (self.slots, self.fair) {
            (Some(slots), _) => Order::Slots(slots),
            (None, true) => Order::Arrival,
            (None, false) => Order::Kernel,
        };
        if order != Order::Kernel && kind != Kind::Flock {
            let option = if self.fair { "--fair" } else { "--slots" };
            return Err(Usage::new(format!(
                "{option} cannot be used with --fcntl, --start or --length"
            )));
        }
        if self.slots.is_some() && self.mode.is_some_and(|mode| mode != Mode::Exclusive) {
            return Err(Usage::new(
                "--slots cannot be used with --shared or --unlock",
            ));
        }
        let wait = if self.nonblock {
            Wait::Now
        } else {
            self.limit.unwrap_or(Wait::Forever)
        };
        let (target, command) = self.operands(operands)?;
        if manner == Manner::InPlace && self.afterwards == Afterwards::Unlink {
            return Err(Usage::new(
                "the --no-fork and --unlink options are incompatible",
            ));
        }
        if self.slots.is_some() && (!self.also.is_empty() || self.afterwards != Afterwards::Keep) {
            return Err(Usage::new("--slots cannot be used with --also or --unlink"));
        }
        if let Target::Descriptor(_) = target {
            let option = match self.afterwards {
                _ if self.slots.is_some() => "--slots",
                _ if !self.also.is_empty() => "--also",
                Afterwards::Unlink => "--unlink",
                Afterwards::Keep => "",
            };
            if !option.is_empty() {
                return Err(Usage::new(format!(
                    "{option} requires a lock file and a command: flock {option} ... FILE COMMAND"
                )));
            }
        }
        Ok(Request::Lock(Lock {
            target,
            also: self.also,
            afterwards: self.afterwards,
            kind,
            order,
            mode: self.mode.unwrap_or(Mode::Exclusive),
            wait,
            job: command.map(|command| Job { command, manner }),
            on_conflict: self.on_conflict.unwrap_or(exit::FLOCK.conflict),
            verbosity: self.verbosity,
        }))
    }

    fn operands(&self, mut operands: Vec<OsString>) -> Result<(Target, Option<Command>), Usage> {
        if let Some(number) = self.descriptor {
            let command = Command::new(operands)
                .ok_or_else(|| Usage::new("--fd requires a command to run"))?;
            return Ok((Target::Descriptor(number), Some(command)));
        }
        match operands.len() {
            0 => Err(Usage::new("requires file descriptor, file or directory")),
            1 => Ok((Target::Descriptor(descriptor(&operands[0])?), None)),
            _ => {
                let words = operands.split_off(1);
                let path = operands.remove(0);
                let command = if words[0] == "-c" || words[0] == "--command" {
                    match <[OsString; 2]>::try_from(words) {
                        Ok([_, line]) => Some(Command::shell(line)),
                        Err(mut words) => {
                            let mut message = words.swap_remove(0);
                            message.push(" requires exactly one command argument");
                            return Err(Usage::new(message));
                        }
                    }
                } else {
                    Command::new(words)
                };
                Ok((Target::Path(path), command))
            }
        }
    }
}

fn descriptor(word: &OsStr) -> Result<RawFd, Usage> {
    let number = number::decimal(word)
        .and_then(|number| RawFd::try_from(number).ok())
        .filter(|number| *number >= 0);
    let right = "expected a descriptor number; to lock a file, add a command: flock FILE COMMAND";
    number.ok_or_else(|| Usage::of_word("bad file descriptor", word, right))
}

fn bytes(what: &str, word: &OsStr) -> Result<i64, Usage> {
    number::size(word).ok_or_else(|| {
        Usage::of_word(
            what,
            word,
            "expected a number of bytes, e.g. 4096, 0x1000 or 4K",
        )
    })
}

#[cfg(test)]
mod tests;
