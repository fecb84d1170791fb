//! `ulock`: its table of options, and what its words ask for.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use crate::ulock::{Deed, Request};
use fdlock::cli::parser::{Scanned, scan};
use fdlock::cli::{Asked, Effect, Form, Length, OnMisuse, Opt, Page, Usage, duration};
use fdlock::lock::Wait;

/// What a user may read about `ulock`.
pub static PAGE: Page = Page {
    name: "ulock",
    about: "Locks made of hard links, which hold over NFS.",
    forms: &[
        Form {
            words: "[OPTION]... LOCK",
            help: "make LOCK; remove it when you are done",
        },
        Form {
            words: "-w [OPTION]... LOCK [COUNTER]",
            help: "the same, and wait until nobody reads",
        },
        Form {
            words: "-r [OPTION]... LOCK COUNTER COMMAND [ARGUMENT]...",
            help: "run a line of shell as a reader",
        },
    ],
    options: || OPTIONS.iter().map(Opt::shown).collect(),
    closing: "\
Status: 0 when you have the lock; 1 when the time is up, for bad usage, and when
something went wrong; with -r the command's own.

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
        help: "make LOCK as a writer, who waits until nobody reads",
        manual: "Readers are the links that COUNTER has beyond its own name. Without COUNTER there are none.",
    },
    Opt {
        short: "r",
        long: &[],
        length: Length::Short,
        effect: Effect::Flag(|draft| draft.read = true),
        help: "run a command as a reader, who waits until nobody writes",
        manual: "COUNTER gets a link more for as long as the command runs. The words of the command are joined by blanks \
                 and run by /bin/sh. If it fails, the link stays, and keeps writers out until it is removed.",
    },
    Opt {
        short: "",
        long: &["timeout"],
        length: Length::Short,
        effect: Effect::Value("SECONDS", |draft, word| {
            draft.wait = if word == "-1" {
                Wait::Forever
            } else {
                Wait::For(time("invalid timeout", word, "or -1 for ever")?)
            };
            Ok(())
        }),
        help: "wait at most this long, default -1: for ever",
        manual: "Whole seconds or not, or 150ms, 1m30s, 2h. 0 tries once. When the time is up, the status is 1 and \
                 nothing is printed.",
    },
    Opt {
        short: "",
        long: &["invalid"],
        length: Length::Short,
        effect: Effect::Value("SECONDS", |draft, word| {
            draft.invalid = time("invalid age", word, "such as 60")?;
            Ok(())
        }),
        help: "take over a LOCK that is older than this, default 60",
        manual: "Whoever made it is thought to be gone. It must be more than the longest time for which a lock is rightly \
                 kept, and the same in all scripts.",
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

fn time(what: &str, word: &OsStr, more: &str) -> Result<Duration, Usage> {
    let right = format!("it is seconds, {more}");
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
                return Err(Usage::new("a command is run with -r only"));
            }
            (false, true) => Deed::Write { counter },
            (false, false) if counter.is_some() => {
                return Err(Usage::new("COUNTER is for -w and -r only"));
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
