//! `loto`: its table of options, and what its words ask for.

use std::ffi::OsString;

use crate::loto::{Loudness, Request};
use fdlock::cli::parser::{Scanned, scan};
use fdlock::cli::{
    Asked, Effect, Form, Length, OPTIONS_HEADING, OnMisuse, Opt, Page, Usage, duration,
};
use fdlock::lock::Wait;
use fdlock::run::Command;

/// What a user may read about `loto`.
pub static PAGE: Page = Page {
    name: "loto",
    about: "Lock-out, tag-out: run a command under a lock on a file or a resource.",
    forms: &[Form {
        words: "-L FILE|RESOURCE [OPTION]... -- COMMAND [ARGUMENT]...",
        help: "run COMMAND under the lock",
    }],
    options: || OPTIONS.iter().map(Opt::shown).collect(),
    closing: "\
Exit status: COMMAND's own; 1 if the lock is held elsewhere (0 with -q) and on other
errors; 127 if there is no such command; 126 if it cannot be executed.

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
                return Err(Usage::new("-L requires the name of a file or resource"));
            }
            draft.files.push(word.to_owned());
            Ok(())
        }),
        group: OPTIONS_HEADING,
        help: "lock this file or resource (repeatable)",
        manual: "A missing file is created. A resource is cpu, net, or a name that the \
                 administrator has defined. Several locks are acquired in a fixed global order, \
                 and all are held until the command has exited.",
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
        group: OPTIONS_HEADING,
        help: "wait for the lock",
        manual: "Without it, loto gives up at once if the lock is held.",
    },
    Opt {
        short: "t",
        long: &[],
        length: Length::Short,
        effect: Effect::Value("TIME", |draft, word| {
            let right = "expected seconds, e.g. 5 or 0.5, or a duration, e.g. 150ms or 1m30s";
            let time =
                duration::parse(word).ok_or_else(|| Usage::of_word("invalid time", word, right))?;
            draft.wait = Wait::For(time);
            Ok(())
        }),
        group: OPTIONS_HEADING,
        help: "wait at most TIME, e.g. 5, 0.5, 1m30s",
        manual: "Implies -w. With several locks, the timeout covers all of them together.",
    },
    Opt {
        short: "q",
        long: &[],
        length: Length::Short,
        effect: Effect::Flag(|draft| draft.loudness = Loudness::Quiet),
        group: OPTIONS_HEADING,
        help: "if the lock is held, print nothing and return 0",
        manual: "All other failures are still reported, with a non-zero status.",
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
        group: OPTIONS_HEADING,
        help: "report what is done",
        manual: "Messages are printed on standard output.",
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
                let right = "the command must follow --";
                return Err(Usage::of_word("not an option", word, right));
            }
        }
    }
    if draft.files.is_empty() {
        return Err(Usage::new("missing -L FILE"));
    }
    let command = command
        .and_then(Command::new)
        .ok_or_else(|| Usage::new("missing command after --"))?;
    Ok(Asked::Request(Request {
        files: draft.files,
        wait: draft.wait,
        command,
        loudness: draft.loudness,
    }))
}

#[cfg(test)]
mod tests;
