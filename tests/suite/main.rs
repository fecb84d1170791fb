//! The compliance suite: the specified behaviour of `flock`, one subject per file.
//!
//! It runs against the program that `FLOCK_UNDER_TEST` names, by default the one of this package,
//! so the same tests can be run against util-linux's `/usr/bin/flock`. A test of an intended
//! difference uses [`test_support::differs_from_util_linux`], which also checks that util-linux's
//! program differs. Tests of options that it does not have are plain tests.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, missing_docs)]

mod also;
mod architecture;
mod blog;
mod bounded;
mod builtin;
mod commands;
mod fair;
mod fcntl;
mod file_servers;
mod footprint;
mod foreign;
mod fuzzing;
mod hints;
mod hostile;
mod installing;
mod lifetime;
mod lock_errors;
mod messages;
mod named;
mod opening;
mod operands;
mod options;
mod progress;
mod queue;
mod recipes;
mod remote;
mod replaced;
mod replacing;
mod running;
mod signals;
mod slots;
mod storm;
mod terminal;
mod traces;
mod unlink;
mod usage_errors;
mod values;
mod verbose;
mod waiting;
mod who;
