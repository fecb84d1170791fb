//! The compliance suite: the behavioural contract of `flock`, a file for each subject.
//!
//! It runs against the program that `FLOCK_UNDER_TEST` names (default: the one this package builds), so the same
//! sentences can be put to util-linux's `/usr/bin/flock`. Where we depart from it on purpose the test says so with
//! [`test_support::differs_from_util_linux`], which also checks that the reference really behaves differently.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, missing_docs)]

mod also;
mod architecture;
mod blog;
mod builtin;
mod commands;
mod documents;
mod fair;
mod fcntl;
mod footprint;
mod fuzzing;
mod installing;
mod lifetime;
mod messages;
mod opening;
mod operands;
mod options;
mod recipes;
mod replaced;
mod running;
mod signals;
mod slots;
mod storm;
mod terminal;
mod unlink;
mod usage_errors;
mod values;
mod verbose;
mod waiting;
mod who;
