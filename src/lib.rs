//! Advisory locks for shell scripts: the library behind `flock` and four older tools.
//!
//! Data flows one way, and every layer imports only from those above it in this list:
//!
//! * [`sys`] – system calls that no safe crate offers, as types: mechanisms, no policy. The only `unsafe`.
//! * [`lock`] – kinds of lock, a file or folder each (flock(2) and fcntl(2) on files, names of sockets, pid files, hard
//!   links), opening lock files, waiting, queues, slots.
//! * [`holders`] – who holds a lock and who waits for it, as far as `/proc` tells; it never takes a lock to find out.
//! * [`run`] – running the command: world, signals, how it ended, and what becomes of it when we are killed.
//! * [`exit`] – every error as a status; the only tables of exit numbers, one a program.
//! * [`request`] – what was asked for, the seam between `cli` and `perform`; here and in those two, one file a program.
//! * [`report`] – the only place that writes to the user.
//! * [`cli`] – words to a request; the tables of options.
//! * [`perform`](mod@perform) – a request, carried out.
//! * [`program`] – the `main` that the programs in `src/bin` share: it joins `cli` and `perform`, which never meet.
//!
//! The bash builtin is a package of its own above all these, with a map of its own: `builtin/src/lib.rs`.

#![deny(unsafe_code)]

pub mod cli;
pub mod exit;
pub mod flock;
pub mod holders;
pub mod lock;
pub mod program;
pub mod report;
pub mod run;
pub mod sys;
