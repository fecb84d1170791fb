//! The programs under test, and where to find them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where nearly every Linux has util-linux's flock.
pub(crate) const UTIL_LINUX_FLOCK: &str = "/usr/bin/flock";

/// The name of the helper program, which is the test binary itself.
pub(crate) const TEST_HELPER: &str = "test-helper";

/// The historic tools.
pub const HISTORIC: [&str; 4] = ["loto", "me-only", "runlock", "ulock"];

/// Returns the root directory of the workspace.
pub fn workspace_root() -> &'static Path {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.expect("this package is in tests/support")
}

/// Returns the `flock` under test: the one that `FLOCK_UNDER_TEST` names, or the one of this
/// workspace.
pub(crate) fn flock_under_test() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM
        .get_or_init(|| path_from_env("FLOCK_UNDER_TEST").unwrap_or_else(|| built_program("flock")))
}

/// Returns the `flock` for another kind of processor that `FLOCK_FOREIGN` names.
pub fn foreign_flock() -> Option<PathBuf> {
    path_from_env("FLOCK_FOREIGN")
}

/// Returns the absolute path of an existing file that an environment variable names, if it is set.
pub(crate) fn path_from_env(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).filter(|path| !path.is_empty())?;
    let path = PathBuf::from(path);
    let is_usable = path.is_absolute() && path.exists();
    assert!(is_usable, "{variable}: no such file: {}", path.display());
    Some(path)
}

/// Returns the `flock` under test, or the one of this workspace if util-linux's is under test.
pub(crate) fn our_flock() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| match flock_under_test() {
        reference if is_reference(reference) => built_program("flock"),
        ours => ours.to_owned(),
    })
}

/// Returns the path of a historic tool, which is installed beside our `flock`, or `None` if it has
/// not been built or installed.
pub(crate) fn historic_program(name: &str) -> Option<PathBuf> {
    let program = our_flock().with_file_name(name);
    program.exists().then_some(program)
}

/// Whether the program is util-linux's flock.
pub(crate) fn is_reference(program: &Path) -> bool {
    let version = Command::new(program).arg("--version").output();
    let version = version.expect("--version runs");
    version.stdout.windows(10).any(|text| text == b"util-linux")
}

/// Whether a program can be found in a test environment's PATH. Optional shells are tested where
/// they are installed.
pub fn is_installed(program: &str) -> bool {
    installed_path(program).is_some()
}

pub(crate) fn installed_path(program: &str) -> Option<PathBuf> {
    let dirs = ["/usr/local/bin", "/usr/bin", "/bin"].into_iter();
    let mut paths = dirs.map(|dir| Path::new(dir).join(program));
    paths.find(|path| path.exists())
}

/// Returns the path of a program that cargo has built. `CARGO_BIN_EXE_*` is set only for the
/// integration tests of the package that defines the program, so look beside the test binary, which
/// is `target/PROFILE/deps/NAME-HASH`.
fn built_program(name: &str) -> PathBuf {
    let test_binary = std::env::current_exe().expect("the path of the test binary");
    let profile_dir = test_binary.ancestors().nth(2).expect("target/PROFILE");
    let program = profile_dir.join(name);
    assert!(
        program.exists(),
        "{} does not exist: build it with `cargo build --workspace --bins`, in the same profile",
        program.display()
    );
    program
}
