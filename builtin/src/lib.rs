//! `flock` as a builtin of bash: the same options, the same locks, no process.
//!
//!     enable -f flock flock
//!
//! * `ffi` – bash's structures and functions.
//! * `entry` – what bash calls. `unsafe` is in these two only; `catch.c` has the one thing that Rust cannot say.
//! * `call` – one attempt to do what a call asks for, up to where bash is needed.
//! * `function` – a shell function under a lock.
//! * `external` – what is handed to the program.
//! * `fork` – what this process was forked for.
//!
//! *bash jumps.* A trap that says `exit` or `return`, Ctrl-C and `set -e` end a builtin by longjmp(3), over its stack
//! frames. So whatever may jump – bash's signal checks, a shell function, fork – is called by `entry` alone, from a
//! frame that owns nothing: what a call has to remember is [`Copy`], its words are bash's own and are parsed again when
//! a wait has been interrupted, and what must be undone whatever happens is in the hands of bash's unwind-protects.

#![deny(unsafe_code)]

mod call;
mod entry;
mod external;
mod ffi;
mod fork;
mod function;
