//! `ulock`: its table of options, and what its words ask for.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use crate::ulock::{Deed, Request};
use fdlock::cli::parser::{Scanned, scan};
use fdlock::cli::{
    Asked, Effect, Form, Length, OPTIONS_HEADING, OnMisuse, Opt, Page, Usage, duration,
};
use fdlock::lock::Wait;

/// What a user may read about `ulock`.
pub static PAGE: Page = Page {
    name: "ulock",
    about: "Lock with hard links, which also works over NFS.",
    forms: &[
        Form {
            words: "[OPTION]... LOCK",
            help: "create LOCK; remove it to release the lock",
        },
        Form {
            words: "-w [OPTION]... LOCK [COUNTER]",
            help: "the same, and wait until there are no readers",
        },
        Form {
            words: "-r [OPTION]... LOCK COUNTER COMMAND [ARGUMENT]...",
            help: "run a shell command line as a reader",
        },
    ],
    options: || OPTIONS.iter().map(Opt::shown).collect(),
    closing: "\
Exit status: 0 if the lock was acquired; 1 on timeout, on usage errors and on other
errors; with -r, COMMAND's own.

Examples:
  if ulock lock; then ...; rm -f lock; fi
  if ulock -w lock counter; then mv new master; rm -f lock; fi
  ulock -r lock counter cat master",
    help: include_str!("help.txt"),
    on_misuse: OnMisuse::ShowForms,
};

/// What the options have said so far.
#[derive(Debug)]
struct Draft {
    read: bool,
    write: bool,
    wait: Wait,
    invalid: Duration,
}

static OPTIONS: &[Opt<Draft>] = &[
    Opt {
        short: "w",
        long: &[],
        length: Length::Short,
        effect: Effect::Flag(|draft| draft.write = true),
        group: OPTIONS_HEADING,
        help: "create LOCK as a writer, and wait until there are no readers",
        manual: "Readers are the links of COUNTER beyond its own name. Without COUNTER there are \
                 no readers.",
    },
    Opt {
        short: "r",
        long: &[],
        length: Length::Short,
        effect: Effect::Flag(|draft| draft.read = true),
        group: OPTIONS_HEADING,
        help: "run a command as a reader, once there is no writer",
        manual: "COUNTER has one more link while the command runs. The command's arguments are \
                 joined with spaces and run by /bin/sh. If the command fails, the link remains, \
                 and blocks writers until it is removed.",
    },
    Opt {
        short: "",
        long: &["timeout"],
        length: Length::Short,
        effect: Effect::Value("SECONDS", |draft, word| {
            draft.wait = if word == "-1" {
                Wait::Forever
            } else {
                Wait::For(time("invalid timeout", word, "or -1 for no limit")?)
            };
            Ok(())
        }),
        group: OPTIONS_HEADING,
        help: "wait at most SECONDS [default: -1, no limit]",
        manual: "SECONDS may be fractional, or a duration such as 150ms, 1m30s or 2h. 0 tries \
                 once. When the time has elapsed, the status is 1 and nothing is printed.",
    },
    Opt {
        short: "",
        long: &["invalid"],
        length: Length::Short,
        effect: Effect::Value("SECONDS", |draft, word| {
            draft.invalid = time("invalid age", word, "e.g. 60")?;
            Ok(())
        }),
        group: OPTIONS_HEADING,
        help: "take over a LOCK older than SECONDS [default: 60]",
        manual: "Its creator is assumed to be dead. SECONDS must exceed the longest time for which \
                 any script holds the lock legitimately, and must be the same in all scripts.",
    },
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

fn time(what: &str, word: &OsStr, more: &str) -> Result<Duration, Usage> {
    let right = format!("expected seconds, {more}");
    duration::parse(word).ok_or_else(|| Usage::of_word(what, word, &right))
}

/// What the words after the name ask for. Options may stand anywhere before the command, whose own they are not.
///
/// # Errors
///
/// They ask for nothing that can be done; nothing has been made or locked.
pub fn parse(words: Vec<OsString>) -> Result<Asked<Request>, Usage> {
    let mut draft = Draft {
        read: false,
        write: false,
        wait: Wait::Forever,
        invalid: Duration::from_secs(60),
    };
    match scan(OPTIONS, words, 3, &mut draft)? {
        Scanned::Help => Ok(Asked::Help),
        Scanned::Version => Ok(Asked::Version),
        Scanned::Operands(operands) => draft.request(operands).map(Asked::Request),
    }
}

impl Draft {
    fn request(self, operands: Vec<OsString>) -> Result<Request, Usage> {
        let mut operands = operands.into_iter();
        let mut named = |what: &str| match operands.next() {
            Some(name) if name.is_empty() => Err(Usage::new(format!("{what} is empty"))),
            name => Ok(name),
        };
        let lock = named("LOCK")?.ok_or_else(|| Usage::new("missing LOCK"))?;
        let counter = named("COUNTER")?;
        if counter.as_ref() == Some(&lock) {
            return Err(Usage::new("LOCK and COUNTER are the same file"));
        }
        let words = operands.collect::<Vec<_>>();
        let deed = match (self.read, self.write) {
            (true, true) => return Err(Usage::new("-r and -w are incompatible")),
            (true, false) => {
                let counter = counter.ok_or_else(|| Usage::new("-r requires COUNTER"))?;
                if words.is_empty() {
                    return Err(Usage::new("-r requires a command to run"));
                }
                let line = words.join(OsStr::new(" "));
                Deed::Read { counter, line }
            }
            (false, _) if !words.is_empty() => {
                return Err(Usage::new("a command requires -r"));
            }
            (false, true) => Deed::Write { counter },
            (false, false) if counter.is_some() => {
                return Err(Usage::new("COUNTER requires -w or -r"));
            }
            (false, false) => Deed::Exclusive,
        };
        Ok(Request {
            lock,
            deed,
            wait: self.wait,
            invalid: self.invalid,
        })
    }
}

#[cfg(test)]
mod tests;
