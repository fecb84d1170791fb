//! The original `runlock` and this one exclude each other. A shell script stands for the original,
//! and also Perl's LockFile::Simple itself where that is installed.

use rstest::rstest;
use test_support::process::{ExitReason, send_signal};
use test_support::procfs::is_running;
use test_support::{TestEnv, is_installed, wait_until};

use super::{
    STILL_LOCKED, assert_still_locked, assert_unlocked, hold_runlock, pid_in_lock_file, unlocked,
};
use crate::{CommandLineEnv, env};

/// What the original does, as far as other processes can see.
const SCRIPT: &str = r#"#!/bin/sh
file=$1.lock; shift
taken() { echo Still locked. >&2; exit; }
first() { head -n 1 "$file"; }
if [ -f "$file" ]; then
    kill -0 $(first) 2>/dev/null && taken
    rm -f "$file"
fi
(umask 333; echo $$ >"$file") 2>/dev/null || taken
[ "$(cat "$file")" = $$ ] || taken
"$@"; status=$?
[ "$(first)" = $$ ] && rm -f "$file"
exit $status
"#;

const PERL: &str = r#"use LockFile::Simple;
my $locker = LockFile::Simple->make(-stale => 1, -hold => 0, -warn => 0);
my $lock = $locker->trylock(shift);
if (!defined $lock) { print STDERR "Still locked.\n"; exit 0; }
my $status = system(@ARGV);
$lock->release;
exit $status >> 8;
"#;

/// Runs a test with each original that is available, as `./original`.
fn with_originals(test: impl Fn(&TestEnv)) {
    let env = TestEnv::new();
    env.install_script("original", SCRIPT);
    test(&env);
    if is_installed("perl") {
        let env = TestEnv::new();
        std::fs::write(env.file("original.pl"), PERL).expect("a file");
        let path = std::env::var("PERL5LIB").unwrap_or_default();
        let script = format!("#!/bin/sh\nPERL5LIB='{path}' exec perl original.pl \"$@\"\n");
        env.install_script("original", &script);
        if env.run_line("./original l true").code() == 0 {
            test(&env);
        }
    }
}

#[test]
fn original_is_excluded() {
    with_originals(|env| {
        let mut holder = hold_runlock(env);
        env.run_line("./original l echo ran")
            .assert_all(0, "", STILL_LOCKED);
        holder.send_line("");
        assert_eq!(holder.wait(), ExitReason::Exited(5));
        env.run_line("./original l echo ran").assert_stdout("ran\n");
    });
}

#[test]
fn original_excludes_runlock() {
    with_originals(|env| {
        let mut holder = env.start_script("./original l", "echo held; read x; exit 5");
        holder.expect_line("held");
        assert_still_locked(env, "");
        holder.send_line("");
        assert_eq!(holder.wait(), ExitReason::Exited(5));
        assert_unlocked(env, "");
    });
}

#[test]
fn original_breaks_stale_lock() {
    with_originals(|env| {
        // A copy of the file stands for one that was left behind.
        env.run_line("runlock l cp l.lock copy").assert_status(0);
        env.sh("mv -f copy l.lock").assert_status(0);
        env.run_line("./original l echo ran")
            .assert_stdout("ran\n")
            .assert_status(0);
        assert!(!env.file("l.lock").exists());
    });
}

#[test]
fn stale_lock_of_original_is_broken() {
    with_originals(|env| {
        let mut holder = env.start_script("./original l", "echo held; read x");
        holder.expect_line("held");
        holder.kill();
        assert_unlocked(env, &unlocked(holder.pid()));
    });
}

/// Stops `runlock` right after it has created its file, runs a script, continues `runlock`, and
/// returns its output. `None` if that is not possible.
#[track_caller]
fn interfere(env: &TestEnv, script: &str) -> Option<String> {
    let runlock = env.injected("inject=linkat:signal=STOP", "runlock l echo ran")?;
    let mut runlock = env.start(runlock);
    wait_until("the file exists", || env.file("l.lock").exists());
    let pid = pid_in_lock_file(env);
    env.sh(script).assert_status(0);
    // It may not have stopped yet.
    wait_until("it exits", || {
        send_signal(pid, libc::SIGCONT);
        !is_running(runlock.pid())
    });
    let line = runlock.read_line();
    assert_eq!(runlock.wait(), ExitReason::Exited(0));
    Some(line)
}

/// The original may take a new file for a stale one, or, as root, overwrite it.
#[rstest]
fn file_replaced_by_original_means_still_locked(env: TestEnv) {
    for replace in [
        "rm -f l.lock; echo 1 >l.lock",
        "chmod 644 l.lock; echo 1 >l.lock",
    ] {
        let Some(line) = interfere(&env, replace) else {
            return;
        };
        assert_eq!(line, STILL_LOCKED.trim_end());
        assert_eq!(env.read("l.lock"), "1\n");
        env.sh("rm -f l.lock").assert_status(0);
    }
}

#[rstest]
fn file_removed_by_original_is_created_again(env: TestEnv) {
    if let Some(line) = interfere(&env, "rm -f l.lock") {
        assert_eq!(line, "ran");
        assert!(!env.file("l.lock").exists());
    }
}
