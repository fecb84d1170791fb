//! Generates the parts of the documents that depend on the option tables: the texts of `--help`,
//! the option lists of the manuals, and the completions.
//!
//! * [`document`] – the generated files, and whether they are up to date.
//! * [`clap_command`] – a program as a `clap` command, which renders `--help`.
//! * [`option_lists`] – the option lists of the manuals and of the completions of `flock`.
//! * [`completions`] – the completions of the older tools, by `clap_complete`.

pub mod clap_command;
pub mod completions;
pub mod document;
pub mod option_lists;

use fdlock::cli::ProgramSpec;
use fdlock::flock;
use historic::{loto, me_only, runlock, ulock};

/// The descriptions of all programs. The first is `flock`.
pub static PROGRAMS: [&ProgramSpec; 5] = [
    &flock::args::SPEC,
    &loto::args::SPEC,
    &me_only::args::SPEC,
    &runlock::args::SPEC,
    &ulock::args::SPEC,
];

/// A shell that there are completions for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

impl Shell {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Bash, Self::Zsh, Self::Fish];

    /// Returns the shell's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }
}
