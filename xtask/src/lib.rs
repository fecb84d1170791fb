//! Generates the parts of the documents that depend on the option tables: the texts of `--help`,
//! the option lists of the manuals, and the completions.
//!
//! * [`document`] – the generated files, and whether they are up to date.
//! * [`clap_command`] – a program as a `clap` command, which renders `--help`.
//! * [`option_lists`] – the option lists of the manuals and of the completions of `flock`.
//! * [`completions`] – the completions of the historic tools, by `clap_complete`.

pub mod clap_command;
pub mod completions;
pub mod document;
pub mod option_lists;

pub use clap_complete::Shell;
pub use document::{PROGRAMS, SHELLS};
