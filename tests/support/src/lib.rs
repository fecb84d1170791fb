//! What the compliance tests have in common.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, missing_docs)]

pub mod builtin;
pub mod helper;
pub mod interruptible;
mod lock_holder;
pub mod locks;
pub mod pre_exec;
pub mod process;
pub mod stress;
pub mod terminal;
mod test_env;
mod wait;

use std::path::{Path, PathBuf};

pub use test_env::*;
pub use wait::wait_until;

/// The root directory of the workspace.
pub fn workspace_root() -> &'static Path {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.expect("this package is in tests/support")
}

/// A program of this workspace, beside the test binary: that is `target/PROFILE/deps/SUITE-HASH`.
pub fn built_program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test binary");
    let profile = test.ancestors().nth(2).expect("target/PROFILE");
    let program = profile.join(name);
    assert!(
        program.exists(),
        "{} is missing: run `cargo build --workspace --bins` first",
        program.display()
    );
    program
}
