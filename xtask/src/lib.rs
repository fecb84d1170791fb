//! Generates the parts of the documents that depend on the option tables: the texts of `--help`,
//! the option lists of the manuals, and the completions.
//!
//! * [`document`] – the generated files, and whether they are up to date.
//! * [`clap_command`] – a program as a `clap` command, which renders `--help`.
//! * [`option_lists`] – the option lists of the manuals and of the completions of `flock`.
//! * [`completions`] – the completions of the historic tools, by `clap_complete`.
//! * [`link_order`] – the linker script that places the code which calls execute.
//! * [`pictures`] – the pictures of a terminal in the documents.

pub mod clap_command;
pub mod completions;
pub mod document;
#[cfg(target_arch = "x86_64")]
pub mod link_order;
pub mod option_lists;
pub mod pictures;

pub use clap_complete::Shell;
pub use document::{PROGRAMS, SHELLS};
