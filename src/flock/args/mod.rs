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
    about: "Locks for shell scripts: queue up, or do something else while it is taken.",
    forms: &[
        Form {
            words: "[OPTION]... NUMBER",
            help: "lock a descriptor that the script has open",
        },
        Form {
            words: "[OPTION]... FILE COMMAND [ARGUMENT]...",
            help: "run a command under a lock on FILE",
        },
        Form {
            words: "[OPTION]... FILE -c LINE",
            help: "run a line of shell under it",
        },
        Form {
            words: "[OPTION]... --fd NUMBER COMMAND [ARGUMENT]...",
            help: "run a command under a lock on NUMBER",
        },
        Form {
            words: "--who [OPTION]... FILE...",
            help: "show who holds the lock",
        },
        Form {
            words: "--who [OPTION]... --fd NUMBER",
            help: "show who holds that of a descriptor",
        },
    ],
    options: || OPTIONS.iter().map(Opt::shown).collect(),
    closing: "\
Status: the command's own; 1 (or -E) when somebody else has the lock; 64 for bad
usage; 65 to 73 when something went wrong, as flock(1) tells.

Examples:
  exec 8>>/run/lock/job; flock 8          queue up for the rest of the script
  if flock -n 8; then ...; else ...; fi   or do something else when it is taken
  flock -n /run/lock/backup backup.sh     run it unless it still runs
  flock -w 5m /run/lock/deploy ./deploy   wait five minutes at most",
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

static OPTIONS: &[Opt<Draft>] = &[
    Opt {
        short: "s",
        long: &["shared"],
        length: Length::Short,
        effect: Effect::Flag(|draft| draft.mode = Some(Mode::Shared)),
        help: "get a shared lock (read lock)",
        manual: "Others may have a shared one at the same time, but nobody an exclusive one.",
    },
    Opt {
        short: "xe",
        long: &["exclusive"],
        length: Length::Short,
        effect: Effect::Flag(|draft| draft.mode = Some(Mode::Exclusive)),
        help: "get an exclusive lock (write lock), the default",
        manual: "Nobody else has any at the same time. Of -s, -x and -u the last one counts.",
    },
    Opt {
        short: "u",
        long: &["unlock"],
        length: Length::Short,
        effect: Effect::Flag(|draft| draft.mode = Some(Mode::Unlocked)),
        help: "drop the lock",
        manual: "Mostly there is no need, as a lock goes when its descriptor is closed, at the latest when the script \
                 ends. It is needed where something in the background still has the descriptor.",
    },
    Opt {
        short: "n",
        long: &["nonblock", "nonblocking", "nb"],
        length: Length::Short,
        effect: Effect::Flag(|draft| draft.nonblock = true),
        help: "fail rather than wait",
        manual: "The status is 1, or what -E says, and nothing is printed. It beats -w.",
    },
    Opt {
        short: "w",
        long: &["timeout", "wait"],
        length: Length::Short,
        effect: Effect::Value("TIME", |draft, word| {
            let right = "a time is seconds, such as 5 or 0.5, or 150ms, 1m30s, 2h";
            let time = duration::parse(word)
                .ok_or_else(|| Usage::of_word("invalid timeout value", word, right))?;
            draft.limit = Some(Wait::For(time));
            Ok(())
        }),
        help: "wait at most this long: 5, 0.5, 150ms, 1m30s",
        manual: "Seconds, also fractional, with a decimal point in every locale, or a duration in words such as 150ms, \
                 1m30s or 2h. After that the status is 1, or what -E says. 0 is the same as -n.",
    },
    Opt {
        short: "E",
        long: &["conflict-exit-code"],
        length: Length::Short,
        effect: Effect::Value("STATUS", |draft, word| {
            let right = "a status is a number from 0 to 255";
            let status = number::decimal(word)
                .ok_or_else(|| Usage::of_word("invalid exit code", word, right))?;
            let range = |_| Usage::of_word("exit code out of range", word, right);
            draft.on_conflict = Some(u8::try_from(status).map_err(range)?);
            Ok(())
        }),
        help: "status when somebody else has the lock, default 1",
        manual: "From 0 to 255. It is for -n, and for -w when the time is up, and tells a lock that is taken from a \
                 command that failed.",
    },
    Opt {
        short: "o",
        long: &["close"],
        length: Length::Short,
        effect: Effect::Flag(|draft| draft.close = true),
        help: "the command does not inherit the lock",
        manual: "Its descriptor is closed for the command, and the lock ends when flock does. Use it for a command that \
                 leaves something running which must not keep the lock. If flock itself is killed with SIGKILL, the \
                 command goes on without the lock.",
    },
    Opt {
        short: "F",
        long: &["no-fork"],
        length: Length::Short,
        effect: Effect::Flag(|draft| draft.no_fork = true),
        help: "become the command instead of waiting for it",
        manual: "The command takes the place of the flock process and holds the lock itself. Not together with -o.",
    },
    Opt {
        short: "c",
        long: &["command"],
        length: Length::Short,
        effect: Effect::BehindFile("LINE", "it goes behind the lock file: flock FILE -c LINE"),
        help: "behind FILE: run a line of shell, by $SHELL -c",
        manual: "Only as the word after FILE, and with exactly one word after it. /bin/sh when SHELL is unset or empty.",
    },
    Opt {
        short: "",
        long: &["fcntl"],
        length: Length::Short,
        effect: Effect::Flag(|draft| draft.fcntl = Some(draft.fcntl.unwrap_or_default())),
        help: "use open file description locks of fcntl(2)",
        manual: "They take the place of those of flock(2), which do not see them. They work over NFS, and exclude \
                 programs that use fcntl(2) or lockf(3) themselves. An exclusive one needs a file that may be written, \
                 a shared one a file that may be read.",
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
        help: "first byte of the lock, default 0; implies --fcntl",
        manual: "It is decimal, octal (0...) or hexadecimal (0x...). K, M, G, T, P, E or KiB, MiB and so on multiply by \
                 powers of 1024; KB, MB and so on by powers of 1000.",
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
        help: "bytes to lock, default 0: all; implies --fcntl",
        manual: "It is written like an OFFSET. 0 means to the end of the file and beyond.",
    },
    Opt {
        short: "",
        long: &["fd"],
        length: Length::Short,
        effect: Effect::Value("NUMBER", |draft, word| {
            draft.descriptor = Some(descriptor(word)?);
            Ok(())
        }),
        help: "lock this descriptor, and run COMMAND under it",
        manual: "All operands are the command and its arguments, and there is no FILE. The lock stays with the \
                 descriptor when the command has ended.",
    },
    Opt {
        short: "",
        long: &["fair"],
        length: Length::Full,
        effect: Effect::Flag(|draft| draft.fair = true),
        help: "first come, first served, among all who say so",
        manual: "Without it, who is served next is chance, and readers can keep a writer waiting for ever. A place in the \
                 queue outlasts signals, stopping and continuing. It does not bind those who lock the file without --fair, \
                 though the lock excludes them as ever. See FIRST COME, FIRST SERVED.",
    },
    Opt {
        short: "",
        long: &["slots"],
        length: Length::Full,
        effect: Effect::Value("N", |draft, word| {
            let right = "slots are a number from 1 on: so many may run at the same time";
            let slots = number::decimal(word)
                .and_then(|number| u32::try_from(number).ok())
                .filter(|slots| *slots > 0);
            draft.slots =
                Some(slots.ok_or_else(|| Usage::of_word("invalid number of slots", word, right))?);
            Ok(())
        }),
        help: "at most N at the same time, first come, first served",
        manual: "With FILE and COMMAND. A slot is freed when the last process that has it ends, whatever ended it. All who use \
                 the file should say the same N; see SLOTS.",
    },
    Opt {
        short: "",
        long: &["also"],
        length: Length::Full,
        effect: Effect::Value("FILE", |draft, word| {
            draft.also.push(word.to_owned());
            Ok(())
        }),
        help: "lock this file too, all or none; may be repeated",
        manual: "All are taken in an order that is the same for everybody, so that nobody waits in a circle, whatever \
                 order they are named in. The mode and the time are one for all of them. Until all are there, those \
                 that come first in the order are held already.",
    },
    Opt {
        short: "",
        long: &["unlink"],
        length: Length::Full,
        effect: Effect::Flag(|draft| draft.afterwards = Afterwards::Unlink),
        help: "remove the lock file when nobody holds it any more",
        manual: "When the command has ended and nobody else has the lock, the file goes. Only this flock may use the \
                 file then: others, util-linux's for one, do not look whether the file that they lock is still there. \
                 A directory, a symbolic link and what it leads to stay.",
    },
    Opt {
        short: "",
        long: &["verbose"],
        length: Length::Short,
        effect: Effect::Flag(|draft| draft.verbosity = Verbosity::Verbose),
        help: "tell who is in the way, how long it took, what is run",
        manual: "Who has the lock is told once, before the wait begins, on standard error, where it is also told why there is \
                 no lock; how long it took and what is run, on standard output.",
    },
    Opt {
        short: "",
        long: &["who"],
        length: Length::Full,
        effect: Effect::Flag(|draft| draft.asking.who = true),
        help: "show who holds the lock and who waits for it",
        manual: "A table of them on standard output, and status 0 if somebody holds it, 1 if nobody does. No lock is taken, \
                 and no file is made. See WHO HAS IT.",
    },
    Opt {
        short: "",
        long: &["json"],
        length: Length::Full,
        effect: Effect::Flag(|draft| draft.asking.json = true),
        help: "with --who: as JSON, for programs",
        manual: "An array with an object for each holder and each waiter.",
    },
    Opt {
        short: "",
        long: &["pids"],
        length: Length::Full,
        effect: Effect::Flag(|draft| draft.asking.pids = true),
        help: "with --who: only the holders' process ids",
        manual: "One a line, for kill(1). Only those of whom it is sure that they hold it.",
    },
    Opt {
        short: "h",
        long: &["help"],
        length: Length::Short,
        effect: Effect::Help,
        help: "show this help",
        manual: "On standard output. Nothing else is done.",
    },
    Opt {
        short: "V",
        long: &["version"],
        length: Length::Short,
        effect: Effect::Version,
        help: "show the version",
        manual: "On standard output. Nothing else is done.",
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
                    "--start {start} with --length {length} ends beyond the largest file"
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
                "{option} is for locks of flock(2), and not with --fcntl, --start and --length"
            )));
        }
        if self.slots.is_some() && self.mode.is_some_and(|mode| mode != Mode::Exclusive) {
            return Err(Usage::new(
                "--slots is not with --shared and --unlock: a slot is a slot",
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
            return Err(Usage::new("--slots is not with --also and --unlink"));
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
                    "{option} is for lock files: flock {option} ... FILE COMMAND"
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
    let right = "a descriptor is a number; to lock a file, name a command too: flock FILE COMMAND";
    number.ok_or_else(|| Usage::of_word("bad file descriptor", word, right))
}

fn bytes(what: &str, word: &OsStr) -> Result<i64, Usage> {
    number::size(word)
        .ok_or_else(|| Usage::of_word(what, word, "a number of bytes, such as 4096, 0x1000 or 4K"))
}

#[cfg(test)]
mod tests;
