//! Command lines: what programs and options look like, and how they are parsed.
//!
//! A [`ProgramSpec`] describes a program, with each option once: its names, its value, its help,
//! and what it sets. [`parser`] scans command lines with it. The text of `--help`, the option lists
//! of the manuals and those of the completions are generated from it by `cargo xtask docs`, and a
//! test compares them.

pub mod duration;
mod letters;
pub mod number;
pub mod parser;

use std::ffi::{OsStr, OsString};

pub use letters::Letters;

/// The description of a program.
#[derive(Debug)]
pub struct ProgramSpec {
    /// The program's name.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// The ways to call it.
    pub synopses: &'static [Synopsis],
    /// Returns its options, in the order in which they are shown.
    pub options: fn() -> Vec<OptionDoc>,
    /// The text after the options.
    pub after_help: &'static str,
    /// The text of `--help`.
    pub help: &'static str,
    /// What is printed after the message of a usage error.
    pub usage_hint: UsageHint,
}

/// What is printed after the message of a usage error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageHint {
    /// A reference to `--help`.
    TryHelp,
    /// The ways to call it.
    ShowSynopses,
}

impl ProgramSpec {
    /// Returns the text of `--version`.
    pub fn version(&self) -> String {
        format!(
            "{} from {} {}\n",
            self.name,
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION")
        )
    }

    /// Returns the synopses, one per line.
    pub fn usage(&self) -> String {
        let line = |synopsis: &Synopsis| format!("Usage: {} {}\n", self.name, synopsis.args);
        self.synopses.iter().map(line).collect()
    }
}

/// A way to call a program.
#[derive(Clone, Copy, Debug)]
pub struct Synopsis {
    /// The arguments.
    pub args: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
}

/// The documentation of an option.
#[derive(Clone, Copy, Debug)]
pub struct OptionDoc {
    /// Its letters, the first of which is shown first.
    pub short: Letters,
    /// Its long names without dashes, the first of which is shown first.
    pub long: &'static [&'static str],
    /// The name of its value, if it takes one.
    pub value: Option<&'static str>,
    /// The name of its value, if it may have one after an equals sign.
    pub optional_value: Option<&'static str>,
    /// Where it is written.
    pub position: OptPosition,
    /// The heading under which it is listed.
    pub group: &'static str,
    /// Its line in `--help`.
    pub help: &'static str,
    /// Sentences that the manual adds.
    pub manual: &'static str,
}

/// Where an option is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptPosition {
    /// Before the first operand.
    BeforeOperands,
    /// After the lock file.
    AfterFile,
}

/// The heading of the options of a program that has only a few.
pub const OPTIONS_HEADING: &str = "Options";

/// An option: its documentation, and what it sets.
#[derive(Debug)]
pub struct OptionSpec<D: 'static> {
    /// Its letters, the first of which is shown first.
    pub short: Letters,
    /// Its long names without dashes, the first of which is shown.
    pub long: &'static [&'static str],
    /// Whether the long names may be abbreviated.
    pub abbrev: Abbrev,
    /// What it does.
    pub action: Action<D>,
    /// The heading of its group in `--help` and in the manual.
    pub group: &'static str,
    /// Its line in `--help`.
    pub help: &'static str,
    /// Sentences that the manual adds.
    pub manual: &'static str,
}

/// Whether long names can be abbreviated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abbrev {
    /// To any prefix that no other option has, as with getopt_long(3).
    Allowed,
    /// No: options that the original does not have must not make its abbreviations ambiguous.
    Forbidden,
}

/// What an option does.
#[derive(Clone, Copy, Debug)]
pub enum Action<D: 'static> {
    /// Sets a flag.
    Flag(fn(&mut D)),
    /// Sets a value, which has this name in the documentation.
    Value(&'static str, fn(&mut D, &OsStr) -> Result<(), UsageError>),
    /// Sets a value that may be missing, and follows an equals sign. It has this name in the
    /// documentation.
    OptionalValue(
        &'static str,
        fn(&mut D, Option<&OsStr>) -> Result<(), UsageError>,
    ),
    /// Is not an option, but an argument after the lock file, with a value of this name. The hint
    /// is printed if it is used as an option, unless the condition holds: then there is no lock
    /// file, and it is the first operand.
    AfterFile(&'static str, &'static str, fn(&D) -> bool),
    /// Prints the help.
    Help,
    /// Prints the version.
    Version,
}

impl<D> OptionSpec<D> {
    /// Describes `-h` and `--help`.
    pub const fn help(group: &'static str) -> Self {
        Self {
            short: Letters::one('h'),
            long: &["help"],
            abbrev: Abbrev::Allowed,
            action: Action::Help,
            group,
            help: "print help and exit",
            manual: "",
        }
    }

    /// Describes `-V` and `--version`.
    pub const fn version(group: &'static str) -> Self {
        Self {
            short: Letters::one('V'),
            long: &["version"],
            action: Action::Version,
            help: "print version and exit",
            ..Self::help(group)
        }
    }

    /// Returns the documentation.
    pub fn doc(&self) -> OptionDoc {
        let (value, position) = match self.action {
            Action::Value(name, _) => (Some(name), OptPosition::BeforeOperands),
            Action::AfterFile(name, ..) => (Some(name), OptPosition::AfterFile),
            Action::Flag(_) | Action::OptionalValue(..) | Action::Help | Action::Version => {
                (None, OptPosition::BeforeOperands)
            }
        };
        OptionDoc {
            short: self.short,
            long: self.long,
            value,
            optional_value: match self.action {
                Action::OptionalValue(name, _) => Some(name),
                _ => None,
            },
            position,
            group: self.group,
            help: self.help,
            manual: self.manual,
        }
    }
}

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum ParseResult<R> {
    /// `--help`
    Help,
    /// `--version`
    Version,
    /// A request to the program.
    Request(R),
}

/// An invalid command line, and what would be right.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageError(OsString);

impl UsageError {
    /// Returns the message, in bytes, because arguments are bytes.
    pub fn message(&self) -> &OsStr {
        &self.0
    }

    /// Creates an error with this message.
    pub fn new(message: impl Into<OsString>) -> Self {
        Self(message.into())
    }

    /// Creates an error with the message `what: 'arg' (expected)`.
    pub fn invalid(what: &str, arg: &OsStr, expected: &str) -> Self {
        let mut message = OsString::from(what);
        message.push(": '");
        message.push(arg);
        message.push("' (");
        message.push(expected);
        message.push(")");
        Self(message)
    }
}
