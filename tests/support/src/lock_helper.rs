//! Helpers for locks elsewhere: scripts in the place of the programs that `flock` starts for URLs.

use std::path::{Path, PathBuf};

use crate::process::print;
use crate::programs::path_from_env;
use crate::test_env::TestEnv;

/// The scheme of the URLs for which there is a helper.
pub const SCHEME: &str = "test";

/// The beginning of every helper. It stores its PID and the request, and defines functions:
///
/// * `in_ms N`: prints the time in N milliseconds, as the protocol needs it.
/// * `wait_for FILE`: waits until a file exists.
/// * `check`: records whether the processes of the command have exited, which keep an exclusive lock
///   on the file `witness`.
/// * `wait_for_release`: waits until `flock` releases the lock, and checks that.
const PRELUDE: &str = r#"#!/bin/sh
in_ms() { test-helper boottime "$1"; }
wait_for() { until [ -e "$1" ]; do sleep 0.01; done; }
check() {
    if flock -s -n witness true; then echo free; else echo overlap; fi >checked.new
    mv checked.new checked
}
wait_for_release() {
    while read -r line; do :; done
    check
}
echo $$ >helper-pid
while read -r keyword value && [ "$keyword" ]; do echo "$keyword $value"; done >request
"#;

impl TestEnv {
    /// Installs the rest of a helper for `test://` URLs. The program under test is copied into the
    /// environment, because it looks for helpers beside the file that is executed.
    pub fn install_lock_helper(&self, script: &str) {
        self.move_flock_into_prefix();
        let name = format!("libexec/fdlock/flock-{SCHEME}");
        self.install_script(&name, &format!("{PRELUDE}{script}"));
    }

    /// Installs a helper that is a program, under these names.
    pub fn install_lock_helper_program(&self, program: &Path, names: &[&str]) {
        self.move_flock_into_prefix();
        for name in names {
            let link = self.file(format!("libexec/fdlock/{name}"));
            std::os::unix::fs::symlink(program, link).expect("a symbolic link");
        }
    }

    fn move_flock_into_prefix(&self) {
        let copy = "file=$(readlink -f bin/flock) && mkdir -p libexec/fdlock && rm bin/flock &&
            { ln \"$file\" bin/flock 2>/dev/null || cp \"$file\" bin/flock; }";
        self.sh(copy).assert_all(0, "", "");
    }

    /// Creates an environment with a helper for `test://` URLs.
    pub fn with_lock_helper(script: &str) -> Self {
        let env = Self::new();
        env.install_lock_helper(script);
        env
    }
}

/// Prints what `CLOCK_BOOTTIME` will show after this number of milliseconds, in nanoseconds.
pub(crate) fn print_boottime(millis: &str) -> i32 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let millis: i64 = millis.parse().expect("a number");
    let nanos = (now.tv_sec * 1000 + millis) * 1_000_000 + now.tv_nsec;
    print(&format!("{nanos}\n"));
    0
}

/// Returns a helper that is installed with the program under test, or is beside it after `make`.
/// `None` for the development build: its helpers have no TLS.
pub fn installed_helper(name: &str) -> Option<PathBuf> {
    let program = path_from_env("FLOCK_UNDER_TEST")?;
    let directory = program.parent()?;
    let installed = directory.parent()?.join("libexec/fdlock").join(name);
    let paths = [installed, directory.join(name)];
    paths.into_iter().find(|path| path.exists())
}
