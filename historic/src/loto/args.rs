//! `loto`: its table of options, and what its words ask for.

use std::ffi::OsString;

use crate::loto::{Loudness, Request};
use fdlock::cli::parser::{Scanned, scan};
use fdlock::cli::{Asked, Effect, Form, Length, OnMisuse, Opt, Page, Usage, duration};
use fdlock::lock::Wait;
use fdlock::run::Command;

/// What a user may read about `loto`.
pub static PAGE: Page = Page {
    name: "loto",
    about: "Lock-out, tag-out: run a command while nobody else uses a file or a resource.",
    forms: &[Form {
        words: "-L FILE|RESOURCE [OPTION]... -- COMMAND [ARGUMENT]...",
        help: "run a command under a lock",
    }],
    options: || OPTIONS.iter().map(Opt::shown).collect(),
    closing: "\
Status: the command's own; 1 when somebody else has the lock (0 with -q) or
something went wrong; 127 or 126 when the command is missing or cannot be
executed.

Examples:
  */5 * * * *  loto -L net -q -- rsync ...
  loto -w -L cpu -- gzip archive.tar &",
    help: include_str!("help.txt"),
    on_misuse: OnMisuse::ShowForms,
};

/// What the options have said so far.
#[derive(Debug)]
struct Draft {
    files: Vec<OsString>,
    wait: Wait,
    loudness: Loudness,
}

static OPTIONS: &[Opt<Draft>] = &[
    Opt {
        short: "L",
        long: &[],
        length: Length::Short,
        effect: Effect::Value("FILE", |draft, word| {
            if word.is_empty() {
                return Err(Usage::new("-L needs the name of a file or a resource"));
            }
            draft.files.push(word.to_owned());
            Ok(())
        }),
        help: "lock this file or resource; may be given several times",
        manual: "The file is made if it is missing. A resource is cpu, net, or one that the administrator has named. Of \
                 several, all are taken, in an order that is the same for everybody, and all are kept until the \
                 command has ended.",
    },
    Opt {
        short: "w",
        long: &[],
        length: Length::Short,
        effect: Effect::Flag(|draft| {
            if draft.wait == Wait::Now {
                draft.wait = Wait::Forever;
            }
        }),
        help: "wait for the lock",
        manual: "Without it, loto gives up at once when somebody else has the lock.",
    },
    Opt {
        short: "t",
        long: &[],
        length: Length::Short,
        effect: Effect::Value("TIME", |draft, word| {
            let right = "a time is seconds, such as 5 or 0.5, or 150ms, 1m30s, 2h";
            let time =
                duration::parse(word).ok_or_else(|| Usage::of_word("invalid time", word, right))?;
            draft.wait = Wait::For(time);
            Ok(())
        }),
        help: "wait for the lock, but at most this long: 5, 0.5, 1m30s",
        manual: "It implies -w. With several locks it is the time for all of them together.",
    },
    Opt {
        short: "q",
        long: &[],
        length: Length::Short,
        effect: Effect::Flag(|draft| draft.loudness = Loudness::Quiet),
        help: "say nothing, and return 0, when the lock is taken",
        manual: "Everything else that goes wrong is told, and is a failure, as ever.",
    },
    Opt {
        short: "v",
        long: &[],
        length: Length::Short,
        effect: Effect::Flag(|draft| {
            draft.loudness = match draft.loudness {
                Loudness::Quiet => Loudness::Normal,
                Loudness::Normal | Loudness::Verbose => Loudness::Verbose,
            }
        }),
        help: "tell what is done",
        manual: "It is told on standard output.",
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
/// The command stands behind the first `--`, and nothing else may stand before it: a word that is no option is more
/// likely half of a file name than a command.
///
/// # Errors
///
/// They ask for nothing that can be done; nothing has been opened, made or locked.
pub fn parse(mut words: Vec<OsString>) -> Result<Asked<Request>, Usage> {
    let dashes = words.iter().position(|word| word == "--");
    let command = dashes.map(|dashes| words.split_off(dashes).split_off(1));
    let mut draft = Draft {
        files: Vec::new(),
        wait: Wait::Now,
        loudness: Loudness::Normal,
    };
    match scan(OPTIONS, words, 1, &mut draft)? {
        Scanned::Help => return Ok(Asked::Help),
        Scanned::Version => return Ok(Asked::Version),
        Scanned::Operands(operands) => {
            if let Some(word) = operands.first() {
                let right = "the command goes behind --";
                return Err(Usage::of_word("not an option", word, right));
            }
        }
    }
    if draft.files.is_empty() {
        return Err(Usage::new("missing -L FILE"));
    }
    let command = command
        .and_then(Command::new)
        .ok_or_else(|| Usage::new("missing command behind --"))?;
    Ok(Asked::Request(Request {
        files: draft.files,
        wait: draft.wait,
        command,
        loudness: draft.loudness,
    }))
}

#[cfg(test)]
mod tests;
