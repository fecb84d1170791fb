//! Four older locking tools on top of `fdlock`: their programs and their kinds of lock.
//!
//! * [`loto`], [`me_only`], [`runlock`], [`ulock`] – a program each: its request, its options
//!   (`args`) and how a request is carried out (`run`).
//! * [`abstract_socket`], [`pid_file`], [`hard_link`] – their kinds of lock; `new_file` creates files
//!   that appear under their name complete or not at all.
//! * [`exit`] – their exit statuses.

#![deny(unsafe_code)]

pub mod abstract_socket;
pub mod exit;
pub mod hard_link;
pub mod loto;
pub mod me_only;
pub mod new_file;
pub mod pid_file;
pub mod runlock;
pub mod ulock;
