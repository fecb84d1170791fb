//! bash as loadable builtins see it: its structures, and those of its functions that are called
//! here.
//!
//! The structures are the same from 4.2 to 5.3 (`builtins.h`, `command.h` and `jobs.h` of bash). The
//! functions are looked up in the running bash when the builtin is loaded; loading fails if one is
//! missing.
//!
//! * `symbols` – the functions and variables themselves.
//! * `state` – what bash knows, and `jobs`: its jobs.
//! * `calls` – signals, functions and jumps.
//! * `programs` – programs that bash starts.
//! * `detached` – programs of which bash does not know.
//! * `words` – lists of words, and `variables`.
//! * `library` – the builtin itself, as a shared library.

#![allow(unsafe_code)]

mod calls;
mod detached;
mod jobs;
mod library;
mod programs;
mod state;
mod symbols;
mod variables;
mod words;

pub use calls::has_pending_unwinds;
pub use detached::Detached;
pub use jobs::Job;
pub use library::{after_fork_in_child, at_exit, library_path, pin_library};
pub use symbols::{BUILTIN_ENABLED, Bash, Builtin, EX_DISKFALLBACK, bash};
pub use words::{WordList, Words, word};
