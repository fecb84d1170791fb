//! Words to requests: the only place that knows options.
//!
//! A [`Page`] describes a program, each option once: its names, its value, its help, what it does to the request.
//! The module `scan` reads command lines by it. The text of `--help`, the option list of the manual and those of the
//! completions are made from it by `make docs` (`tests/suite/documents`), and tests hold them against it.

pub mod duration;
pub mod number;
pub mod parser;

use std::ffi::{OsStr, OsString};

/// What a user may read about a program.
#[derive(Debug)]
pub struct Page {
    /// The program's name.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// The forms that a call can have.
    pub forms: &'static [Form],
    /// Its options, in the order in which they are shown.
    pub options: fn() -> Vec<Shown>,
    /// What comes after the options.
    pub closing: &'static str,
    /// All of this as one text.
    pub help: &'static str,
    /// What is shown, behind the message, to a user who got the words wrong.
    pub on_misuse: OnMisuse,
}

/// What is shown to a user who got the words wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMisuse {
    /// Where the help is.
    ReferToHelp,
    /// The forms that a call can have.
    ShowForms,
}

impl Page {
    /// The text of `--version`.
    pub fn version(&self) -> String {
        format!(
            "{} from {} {}\n",
            self.name,
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION")
        )
    }

    /// The forms that a call can have, as lines.
    pub fn usage(&self) -> String {
        let form = |form: &Form| format!("Usage: {} {}\n", self.name, form.words);
        self.forms.iter().map(form).collect()
    }
}

/// One way to call a program.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// The words after the name.
    pub words: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
}

/// An option as a user sees it.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// Its letters, the first of which is shown first.
    pub short: &'static str,
    /// Its long names, without the dashes; the first is the one that is shown.
    pub long: &'static [&'static str],
    /// The name of its value, if it takes one.
    pub value: Option<&'static str>,
    /// Where it stands.
    pub place: Place,
    /// The heading under which it is listed.
    pub group: &'static str,
    /// One line.
    pub help: &'static str,
    /// What the manual adds to that line: sentences.
    pub manual: &'static str,
}

/// Where an option stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before the first operand, like any option.
    Ahead,
    /// Behind the lock file.
    BehindFile,
}

/// The heading of all options of a program that has only a few.
pub const OPTIONS_HEADING: &str = "Options";

/// An option: how a user sees it, and what it does to the draft of a request.
#[derive(Debug)]
pub struct Opt<D: 'static> {
    /// Its letters, the first of which is shown.
    pub short: &'static str,
    /// Its long names without dashes, the first of which is shown.
    pub long: &'static [&'static str],
    /// Whether the long names may be abbreviated.
    pub length: Length,
    /// What it does to the draft.
    pub effect: Effect<D>,
    /// The heading of its group in `--help` and in the manual.
    pub group: &'static str,
    /// Its line in `--help`.
    pub help: &'static str,
    /// Sentences that the manual adds.
    pub manual: &'static str,
}

/// How long names may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// By any beginning that no other option has, as getopt_long(3) has it.
    Short,
    /// In full only: options that the original does not have make none of its abbreviations ambiguous.
    Full,
}

/// What an option does.
#[derive(Clone, Copy, Debug)]
pub enum Effect<D: 'static> {
    /// Without a value.
    Flag(fn(&mut D)),
    /// With a value of this name.
    Value(&'static str, fn(&mut D, &OsStr) -> Result<(), Usage>),
    /// Not an option where options are read, but a word behind the lock file, with a value of this name; and how it is
    /// to be written.
    BehindFile(&'static str, &'static str),
    /// `--help`
    Help,
    /// `--version`
    Version,
}

impl<D> Opt<D> {
    /// Returns the option as a user sees it.
    pub fn shown(&self) -> Shown {
        let (value, place) = match self.effect {
            Effect::Value(name, _) => (Some(name), Place::Ahead),
            Effect::BehindFile(name, _) => (Some(name), Place::BehindFile),
            Effect::Flag(_) | Effect::Help | Effect::Version => (None, Place::Ahead),
        };
        Shown {
            short: self.short,
            long: self.long,
            value,
            place,
            group: self.group,
            help: self.help,
            manual: self.manual,
        }
    }
}

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked<R> {
    /// `--help`
    Help,
    /// `--version`
    Version,
    /// The program's work.
    Request(R),
}

/// Words that make no request: what is wrong with them, and what would be right.
#[derive(Debug, PartialEq, Eq)]
pub struct Usage(OsString);

impl Usage {
    /// The message, in bytes, as words are.
    pub fn message(&self) -> &OsStr {
        &self.0
    }

    /// Creates an error with this message.
    pub fn new(message: impl Into<OsString>) -> Self {
        Self(message.into())
    }

    /// Creates the message `what: 'word' (right)`.
    pub fn of_word(what: &str, word: &OsStr, right: &str) -> Self {
        let mut message = OsString::from(what);
        message.push(": '");
        message.push(word);
        message.push("' (");
        message.push(right);
        message.push(")");
        Self(message)
    }
}
