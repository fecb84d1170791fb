//! Locks elsewhere that are tied to a descriptor of a script, with scripts as helpers: when the lock
//! is released, and when it is not.

mod descriptors;
mod guards;
mod kills;
mod loss;
mod output;
mod recipe;
mod shells;
mod start;
pub mod storm;
mod terminal;
mod together;
mod trace;

use std::ops::Deref;

use libc::SIGKILL;
use rstest::rstest;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::{TestEnv, wait_until};

use super::GRANTS;
pub use guards::{GUARDS, Guards};

/// The beginning of a script: it acquires the lock, and keeps the file `witness` locked.
pub const HOLD: &str = "exec 7>>witness 8>>handle; flock 7; flock 8 test://n || exit;";

/// A helper that excludes the processes of this machine, and records that in the file `log`.
pub const EXCLUDES: &str = r#"#!/bin/sh
while read -r keyword value && [ "$keyword" ]; do
    case $keyword in
        url) url=$value ;;
        mode) mode=$value ;;
        wait) [ "$value" = forever ] || set -- -w "${value}ms" ;;
    esac
done
exec 9>>"store-${url##*/}"
flock "$@" "--$mode" 9 || { echo refused; exit; }
echo "acquire $mode $url" >>log
echo granted 7 "$(test-helper boottime 60000)"
while read -r line; do :; done
echo "release $mode $url" >>log
"#;

/// Replaces what the helper does when it releases the lock: the kernel may release the lock of a
/// process that exits before the file `witness` is unlocked, so it waits for that.
pub const PATIENT: &str = "check() {
    if flock -s -w10 witness true; then echo free; else echo overlap; fi >checked.new
    mv checked.new checked
}
";

/// An environment for scripts with the handle file `handle`. When it is dropped, no process and no
/// lock of a handle file may be left.
pub struct HandleTest {
    env: TestEnv,
}

impl Deref for HandleTest {
    type Target = TestEnv;

    fn deref(&self) -> &TestEnv {
        &self.env
    }
}

impl HandleTest {
    /// Creates an environment with a helper that ends like this.
    pub fn new(helper: &str) -> Self {
        Self::with(TestEnv::new(), helper)
    }

    /// The same, without the builtin.
    pub fn without_builtin(helper: &str) -> Self {
        Self::with(TestEnv::without_builtin(), helper)
    }

    /// Creates one with the helper [`EXCLUDES`].
    pub fn excluding() -> Self {
        let test = Self::new("");
        test.install_script("libexec/fdlock/flock-test", EXCLUDES);
        test
    }

    fn with(env: TestEnv, helper: &str) -> Self {
        env.install_lock_helper(&format!("{PATIENT}{helper}"));
        Self { env }
    }

    /// Starts a script.
    #[track_caller]
    pub fn start_script(&self, script: &str) -> Process {
        self.env.start(self.sh_command(script))
    }

    /// Starts a script that holds the lock until [`Process::release`].
    #[track_caller]
    pub fn start_holder(&self) -> Process {
        let mut script = self.start_script(&format!("{HOLD} echo locked; read x; exit 0"));
        script.expect_line("locked");
        script
    }

    /// Returns the guards.
    pub fn guards(&self) -> Guards<'_> {
        Guards(&self.env)
    }

    /// Asserts that the lock is held, by a look of the timekeeper.
    #[track_caller]
    pub fn assert_held(&self) {
        self.guards().replace("lock-watcher");
        assert!(!self.file("checked").exists(), "the lock was released");
    }

    /// Asserts that the helper releases the lock, after all that have the file `witness` locked.
    #[track_caller]
    pub fn assert_released_last(&self) {
        wait_until("the lock is released", || self.file("checked").exists());
        assert_eq!(self.read_file("checked"), "free\n");
    }
}

impl Drop for HandleTest {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return self.guards().assert_nothing_left();
        }
        for (pid, _) in self.guards().of("") {
            send_signal(pid, SIGKILL);
        }
    }
}

#[test]
fn lock_ends_with_the_script() {
    let test = HandleTest::new(GRANTS);
    test.sh(format!("{HOLD} exit 5")).assert_all(5, "", "");
    test.assert_released_last();
}

#[test]
fn closed_descriptor_releases_the_lock() {
    let test = HandleTest::new(GRANTS);
    let script = "exec 7>&- 8>&-; until [ -e checked ]; do sleep 0.01; done";
    test.sh(format!("{HOLD} {script}")).assert_all(0, "", "");
    test.assert_released_last();
}

#[test]
fn killed_script_releases_the_lock() {
    for _ in 0..3 {
        let test = HandleTest::new(GRANTS);
        test.start_holder().kill();
        test.assert_released_last();
    }
}

/// Starts a script with a child that waits for a line, and waits until both are there.
fn start_with_child(test: &HandleTest, redirections: &str, end: &str) -> Process {
    let child = format!("(echo >begun; read x <&3; :) {redirections} &");
    let wait = "until [ -e begun ]; do sleep 0.01; done; echo locked";
    let mut script = test.start_script(&format!("{HOLD} exec 3<&0; {child} {wait}; {end}"));
    script.expect_line("locked");
    script
}

#[test]
fn child_of_a_killed_script_keeps_the_lock() {
    let test = HandleTest::new(GRANTS);
    let mut script = start_with_child(&test, "", "wait");
    script.kill();
    test.assert_held();
    script.send_line("");
    test.assert_released_last();
}

#[test]
fn child_that_the_script_leaves_keeps_the_lock() {
    let test = HandleTest::new(GRANTS);
    let mut script = start_with_child(&test, "", "exit 4");
    assert_eq!(script.wait(), ExitReason::Exited(4));
    test.assert_held();
    script.send_line("");
    test.assert_released_last();
}

#[test]
fn child_without_the_descriptor_keeps_no_lock() {
    let test = HandleTest::new(GRANTS);
    let mut script = start_with_child(&test, "7>&- 8>&-", "wait");
    script.kill();
    test.assert_released_last();
    // It is still there.
    script.send_line("");
}

#[test]
fn children_that_close_it_release_nothing() {
    let test = HandleTest::new(GRANTS);
    let closes = "(exec 8>&-); sh -c 'exec 8>&-; exit'; true 8>&-; echo locked; read x; exit 0";
    let mut script = test.start_script(&format!("{HOLD} {closes}"));
    script.expect_line("locked");
    test.assert_held();
    script.release();
    test.assert_released_last();
}

#[test]
fn lock_survives_exec_of_the_script() {
    let test = HandleTest::new(GRANTS);
    let exec = "exec sh -c 'echo locked; read x; exit 0'";
    let mut script = test.start_script(&format!("{HOLD} {exec}"));
    script.expect_line("locked");
    test.assert_held();
    script.release();
    test.assert_released_last();
}

#[rstest]
fn unlock_waits_for_the_release(#[values("flock -u 8", "flock -u 8 test://n")] unlock: &str
) {
    let test = HandleTest::new(&format!("{GRANTS}\nsleep 0.3\necho >late"));
    let lock = "exec 8>>handle; flock 8 test://n || exit;";
    test.sh(format!("{lock} {unlock} && [ -e late ]"))
        .assert_all(0, "", "");
}

#[test]
fn unlock_without_a_lock_does_nothing() {
    let test = HandleTest::new(GRANTS);
    test.sh("exec 8>>handle; flock -u 8 && flock -u 8 test://n")
        .assert_all(0, "", "");
    assert!(!test.file("request").exists());
}

#[test]
fn unlock_of_another_url_releases_nothing() {
    let test = HandleTest::excluding();
    test.sh("exec 8>>handle; flock 8 test://a && flock -u 8 test://b && cat log")
        .assert_all(0, "acquire exclusive test://a\n", "");
}

#[test]
fn lock_that_is_held_is_not_requested_again() {
    let test = HandleTest::excluding();
    let lock =
        "flock 8 test://a && flock 8 test://a && flock -n 8 test://a && flock -w1 8 test://a";
    test.sh(format!("exec 8>>handle; {lock} && cat log"))
        .assert_all(0, "acquire exclusive test://a\n", "");
}

#[test]
fn other_mode_is_acquired_after_a_release() {
    let test = HandleTest::excluding();
    let lock = "flock -s 8 test://a && flock -s 8 test://a && flock 8 test://a && flock -u 8";
    let expected = "acquire shared test://a\nrelease shared test://a\n\
                    acquire exclusive test://a\nrelease exclusive test://a\n";
    test.sh(format!("exec 8>>handle; {lock} && cat log"))
        .assert_all(0, expected, "");
}

#[test]
fn descriptor_may_have_two_locks() {
    let test = HandleTest::excluding();
    let script = "exec 8>>handle; flock 8 test://a && flock 8 test://b && flock -u 8 test://a &&
        flock 8 test://b && cat log && flock -u 8 && tail -n1 log";
    let expected = "acquire exclusive test://a\nacquire exclusive test://b\n\
                    release exclusive test://a\nrelease exclusive test://b\n";
    test.sh(script).assert_all(0, expected, "");
}

#[test]
fn unlock_releases_all_locks_of_a_descriptor() {
    let test = HandleTest::excluding();
    let script = "exec 8>>handle; flock 8; flock 8 test://a && flock 8 test://b && flock -u 8 &&
        flock -n handle true && grep release log | sort";
    let expected = "release exclusive test://a\nrelease exclusive test://b\n";
    test.sh(script).assert_all(0, expected, "");
}

#[test]
fn scripts_may_share_a_handle_file() {
    let test = HandleTest::excluding();
    let inner = "exec 8>>handle; flock 8 test://b && { flock -n -E9 8 test://a; echo $?; }";
    let script = format!(
        "exec 8>>handle; flock 8 test://a && sh -c \"{}\" &&
        until [ $(wc -l <log) = 3 ]; do sleep 0.01; done; flock 8 test://a && cat log",
        inner.replace('$', "\\$")
    );
    let expected = "9\nacquire exclusive test://a\nacquire exclusive test://b\n\
                    release exclusive test://b\n";
    test.sh(script).assert_all(0, expected, "");
}

#[test]
fn handle_file_may_be_deleted() {
    let test = HandleTest::excluding();
    let script = "exec 8>>handle; flock 8 test://a && rm handle && flock 8 test://a &&
        flock -u 8 && cat log && flock 8 test://a && exec 8>&- &&
        until [ $(wc -l <log) = 4 ]; do sleep 0.01; done";
    let expected = "acquire exclusive test://a\nrelease exclusive test://a\n";
    test.sh(script).assert_all(0, expected, "");
}

/// A shell that ignores `SIGCHLD` passes that on.
#[test]
fn ignored_sigchld_does_not_keep_the_lock() {
    let test = HandleTest::new(GRANTS);
    let script = "trap '' CHLD; exec 8>>handle; flock 8 test://n && flock -u 8 && cat checked";
    test.bash(script).assert_all(0, "free\n", "");
}
