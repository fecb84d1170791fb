//! The environment that the compliance tests share: temporary directories with the programs under
//! test in PATH, processes to interact with, pseudo-terminals, and readers for `/proc`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "the rules are for the programs; tests start processes, open files and print"
)]

pub mod builtin;
mod builtin_install;
#[cfg(target_arch = "x86_64")]
pub mod execution_trace;
pub mod helper;
pub mod hostile;
mod interruptible;
pub mod leftovers;
mod lock_helper;
mod lock_holder;
pub mod locks;
mod outcome;
pub mod pre_exec;
pub mod process;
pub mod procfs;
mod programs;
pub mod sandbox;
pub mod screen;
pub mod stress;
pub mod system_calls;
mod terminal;
mod test_env;
mod wait;

pub use lock_helper::installed_helper;
pub use outcome::Outcome;
pub use programs::{HISTORIC, foreign_flock, is_installed, workspace_root};
pub use test_env::{TestEnv, can_unshare, differs_from_util_linux, os_string};
pub use wait::wait_until;
