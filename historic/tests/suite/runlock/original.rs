//! The program that `runlock` replaces, and we: they keep each other out. It is played by a few lines of shell, and by Perl's
//! LockFile::Simple itself where that is installed.

use super::RunlockEnv;
use std::process::Command;

use super::STILL_LOCKED;
use test_support::process::{ExitReason, send_signal};
use test_support::procfs::is_running;
use test_support::{Outcome, TestEnv, is_installed, wait_until};

/// What it does, as far as others can see.
const PLAYED: &str = r#"#!/bin/sh
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

/// Does this with each original that there is: a program of that name.
fn with_each(test: impl Fn(&TestEnv, &dyn Fn(&[&str]) -> Command)) {
    let env = TestEnv::new();
    env.install_script("original", PLAYED);
    test(&env, &|words| {
        let mut command = env.command("./original");
        command.arg("l").args(words);
        command
    });
    if !is_installed("perl") {
        return;
    }
    let env = TestEnv::new();
    std::fs::write(env.file("original"), PERL).expect("a file");
    let perl = |words: &[&str]| {
        let mut command = env.command("perl");
        // Wherever it is kept.
        if let Some(folders) = std::env::var_os("PERL5LIB") {
            command.env("PERL5LIB", folders);
        }
        command.args(["original", "l"]).args(words);
        command
    };
    if env.run_command(perl(&["true"])).code() == 0 {
        test(&env, &perl);
    }
}

#[track_caller]
fn still_locked(outcome: Outcome) {
    outcome
        .assert_stderr(STILL_LOCKED)
        .assert_stdout("")
        .assert_status(0);
}

#[test]
fn ours_keeps_the_original_out() {
    with_each(|env, original| {
        let mut holder = env.hold_runlock();
        still_locked(env.run_command(original(&["echo", "ran"])));
        holder.send_line("");
        assert_eq!(holder.wait(), ExitReason::Exited(5));
        env.run_command(original(&["echo", "ran"]))
            .assert_stdout("ran\n");
    });
}

#[test]
fn the_original_keeps_ours_out() {
    with_each(|env, original| {
        let mut holder = env.start(original(&["sh", "-c", "echo held; read x; exit 5"]));
        holder.expect_line("held");
        env.assert_still_locked("");
        holder.send_line("");
        assert_eq!(holder.wait(), ExitReason::Exited(5));
        env.assert_unlocked("");
    });
}

#[test]
fn the_original_breaks_a_dead_ones_lock_of_ours() {
    with_each(|env, original| {
        // The command keeps a copy of the file, as if it had been left behind.
        env.run_runlock(&["cp", "l.lock", "copy"]).assert_status(0);
        env.sh("mv -f copy l.lock").assert_status(0);
        env.run_command(original(&["echo", "ran"]))
            .assert_stdout("ran\n")
            .assert_status(0);
        assert!(!env.file("l.lock").exists());
    });
}

#[test]
fn ours_breaks_a_dead_ones_lock_of_the_original() {
    with_each(|env, original| {
        let mut killed = env.start(original(&["sh", "-c", "echo held; read x"]));
        killed.expect_line("held");
        let pid = killed.pid();
        killed.kill();
        env.assert_unlocked(&format!("runlock: UNLOCKED l (stale lock by PID {pid})\n"));
    });
}

/// `runlock` stands still right after it has made its file, and meanwhile somebody does this to it.
#[track_caller]
fn meddled(env: &TestEnv, script: &str) -> Option<String> {
    let inject = "inject=linkat:signal=STOP";
    let runlock = env.with_fault_injection_into("runlock", "", inject, &["l", "echo", "ran"])?;
    let mut runlock = env.start(runlock);
    wait_until("it has made its file", || env.file("l.lock").exists());
    let text = std::fs::read_to_string(env.file("l.lock")).expect("it is there");
    let pid = text.lines().next().and_then(|pid| pid.parse().ok());
    let pid: i32 = pid.expect("a pid");
    env.sh(script).assert_status(0);
    wait_until("it ends", || {
        send_signal(pid, libc::SIGCONT);
        !is_running(runlock.pid())
    });
    let said = runlock.read_line();
    assert_eq!(runlock.wait(), ExitReason::Exited(0));
    Some(said)
}

#[test]
fn a_file_that_the_original_took_for_a_dead_ones_is_not_believed_to_be_ours() {
    let env = TestEnv::new();
    let Some(said) = meddled(&env, "rm -f l.lock; echo 1 >l.lock") else {
        return;
    };
    assert_eq!(said, STILL_LOCKED.trim_end());
    assert_eq!(meddled_text(&env), "1\n");
    // If it is gone altogether, it is made again.
    env.sh("rm -f l.lock").assert_status(0);
    let said = meddled(&env, "rm -f l.lock").expect("it worked before");
    assert_eq!(said, "ran");
    assert!(!env.file("l.lock").exists());
}

#[test]
fn a_file_that_the_original_wrote_over_is_not_believed_to_be_ours() {
    let env = TestEnv::new();
    let Some(said) = meddled(&env, "chmod 644 l.lock; echo 1 >l.lock") else {
        return;
    };
    assert_eq!(said, STILL_LOCKED.trim_end());
    assert_eq!(meddled_text(&env), "1\n");
}

fn meddled_text(env: &TestEnv) -> String {
    std::fs::read_to_string(env.file("l.lock")).expect("it is there")
}
