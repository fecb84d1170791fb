//! Advisory locks for shell scripts: the library behind `flock`.
//!
//! Data flows in one direction, from arguments to a request to an exit status, and each layer
//! imports only from those above it in this list:
//!
//! * [`sys`] – system calls that no safe crate offers, as types, and all parsers for `/proc`.
//!   Mechanisms without policy, and the only place with `unsafe`.
//! * [`cli`] – command lines: option tables and their parser. It does not know what a lock is.
//! * [`lock`] – locks on descriptors and files, deadlines, the queue in arrival order, slots.
//! * [`remote`] – locks elsewhere: their URLs, and the connection to the helper that holds one.
//! * [`holders`] – the processes that hold a lock or wait for it. It never takes a lock to find
//!   out.
//! * [`handle`] – descriptors of scripts to which a lock elsewhere is tied.
//! * [`run`] – runs a command: environment, signals, exit status, supervision.
//! * [`exit`] – exit statuses: the only table that maps errors to numbers.
//! * [`report`] – the only place that prints.
//! * [`flock`] – the program: its requests, options, and how a request is carried out.
//! * [`program`] – the `main` function that all programs share.
//!
//! Other workspace members build on this library: `builtin` (bash) and `historic` (the historic
//! tools). The helpers for locks elsewhere, in `remote`, share only a protocol with it.

#![deny(unsafe_code)]

pub mod cli;
pub mod exit;
pub mod flock;
pub mod handle;
pub mod holders;
pub mod lock;
pub mod program;
pub mod remote;
pub mod report;
pub mod run;
pub mod sys;
