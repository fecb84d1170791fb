//! `flock` as a loadable bash builtin: the same options and the same locks, without a new process.
//!
//!     enable -f flock flock
//!
//! * `ffi` – bash's structures and functions.
//! * `entry` – the functions that bash calls. `unsafe` occurs in these two modules only; `catch.c`
//!   contains the one thing that Rust cannot express.
//! * `call` – one attempt at a call, up to the point where bash is needed, and `next` – what it leads
//!   to.
//! * `function` – a shell function under a lock, and `lock_fds` – its descriptors.
//! * `remote` – a shell function under a lock elsewhere, and `remote_lock` – that lock.
//! * `external` – calls that the external program carries out.
//! * `fork` – the purpose for which bash forked this process.
//!
//! *bash jumps.* `exit` or `return` in a trap, Ctrl-C and `set -e` leave a builtin by longjmp(3),
//! across its stack frames. Therefore everything that may jump (bash's signal checks, shell
//! functions, fork) is called by `entry` alone, from a frame that owns nothing: the state of a call
//! is [`Copy`]; its arguments belong to bash, and are parsed again after an interrupted wait; and
//! cleanup that has to happen in any case is left to bash's unwind-protects.

#![deny(unsafe_code)]

mod call;
mod entry;
mod external;
mod ffi;
mod fork;
mod function;
mod handle;
mod lock_fds;
mod next;
mod remote;
mod remote_lock;
