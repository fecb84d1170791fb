//! Installs the bash builtin in a test environment.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::programs::{our_flock, path_from_env, workspace_root};

/// The builtin in a test environment. Its prefix is `bin`, which keeps the environment's own
/// directory free of it.
pub const LIBRARY: &str = "bin/lib/bash/flock";

/// The start-up file of a bash that is to have the builtin.
pub(crate) const START_UP: &str = "bin/lib/start-up";

/// The exit status of a bash that cannot enable the builtin. Without it a test would pass with the
/// program instead, which behaves alike.
const NOT_ENABLED: i32 = 99;

/// Installs the builtin in a test environment's directory.
pub(crate) fn install_into(dir: &Path) {
    let library = dir.join(LIBRARY);
    std::fs::create_dir_all(library.parent().expect("a directory")).expect("bin/lib/bash");
    std::os::unix::fs::symlink(library_under_test(), &library).expect("bin/lib/bash/flock");
    // The builtin looks for the program in the prefix's bin.
    std::os::unix::fs::symlink(".", dir.join("bin/bin")).expect("bin/bin");
    let start_up = format!(
        "enable -f {} flock || exit {NOT_ENABLED}\n",
        library.display()
    );
    std::fs::write(dir.join(START_UP), start_up).expect("bin/lib/start-up");
}

/// Returns the builtin under test: the one that `FLOCK_BUILTIN_UNDER_TEST` names, or the one that
/// is installed with the program under test, or the one of this workspace.
fn library_under_test() -> &'static Path {
    static LIBRARY_FILE: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY_FILE.get_or_init(|| {
        let prefix = our_flock().ancestors().nth(2);
        let installed = prefix.map(|prefix| prefix.join("lib/bash/flock"));
        path_from_env("FLOCK_BUILTIN_UNDER_TEST")
            .or_else(|| installed.filter(|library| library.exists()))
            .unwrap_or_else(build)
    })
}

/// Builds the builtin, which cargo does not do for the tests of another package.
fn build() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    let args = "build --quiet --locked --package fdlock-builtin --target-dir target";
    cargo.args(args.split(' ')).current_dir(workspace_root());
    if cfg!(target_env = "musl") {
        // As in scripts/build-builtin.sh.
        cargo.env("RUSTFLAGS", "-C target-feature=-crt-static");
    }
    let output = cargo.output().expect("cargo starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    workspace_root().join("target/debug/libflock_builtin.so")
}
