//! The program that `runlock` replaces, and we: they keep each other out. It is played by a few lines of shell, and by Perl's
//! LockFile::Simple itself where that is installed.

use super::RunlockEnv;
use std::process::Command;

use super::STILL_LOCKED;
use test_support::locks::runs;
use test_support::process::{End, send};
use test_support::{Lab, Outcome, installed, wait_until};

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
fn with_each(test: impl Fn(&Lab, &dyn Fn(&[&str]) -> Command)) {
    let lab = Lab::new();
    lab.program("original", PLAYED);
    test(&lab, &|words| {
        let mut command = lab.command("./original");
        command.arg("l").args(words);
        command
    });
    if !installed("perl") {
        return;
    }
    let lab = Lab::new();
    std::fs::write(lab.file("original"), PERL).expect("a file");
    let perl = |words: &[&str]| {
        let mut command = lab.command("perl");
        // Wherever it is kept.
        if let Some(folders) = std::env::var_os("PERL5LIB") {
            command.env("PERL5LIB", folders);
        }
        command.args(["original", "l"]).args(words);
        command
    };
    if lab.finish(perl(&["true"])).code() == 0 {
        test(&lab, &perl);
    }
}

#[track_caller]
fn still_locked(outcome: Outcome) {
    outcome
        .expect_err(STILL_LOCKED)
        .expect_out("")
        .expect_code(0);
}

#[test]
fn ours_keeps_the_original_out() {
    with_each(|lab, original| {
        let mut holder = lab.hold_runlock();
        still_locked(lab.finish(original(&["echo", "ran"])));
        holder.say("");
        assert_eq!(holder.end(), End::Exited(5));
        lab.finish(original(&["echo", "ran"])).expect_out("ran\n");
    });
}

#[test]
fn the_original_keeps_ours_out() {
    with_each(|lab, original| {
        let mut holder = lab.start(original(&["sh", "-c", "echo held; read x; exit 5"]));
        holder.hears("held");
        lab.is_still_locked("");
        holder.say("");
        assert_eq!(holder.end(), End::Exited(5));
        lab.is_to_be_had("");
    });
}

#[test]
fn the_original_breaks_a_dead_ones_lock_of_ours() {
    with_each(|lab, original| {
        // The command keeps a copy of the file, as if it had been left behind.
        lab.run_runlock(&["cp", "l.lock", "copy"]).expect_code(0);
        lab.sh("mv -f copy l.lock").expect_code(0);
        lab.finish(original(&["echo", "ran"]))
            .expect_out("ran\n")
            .expect_code(0);
        assert!(!lab.file("l.lock").exists());
    });
}

#[test]
fn ours_breaks_a_dead_ones_lock_of_the_original() {
    with_each(|lab, original| {
        let mut killed = lab.start(original(&["sh", "-c", "echo held; read x"]));
        killed.hears("held");
        let pid = killed.pid();
        killed.murder();
        lab.is_to_be_had(&format!("runlock: UNLOCKED l (stale lock by PID {pid})\n"));
    });
}

/// `runlock` stands still right after it has made its file, and meanwhile somebody does this to it.
#[track_caller]
fn meddled(lab: &Lab, script: &str) -> Option<String> {
    let inject = "inject=linkat:signal=STOP";
    let runlock = lab.injected_into("runlock", "", inject, &["l", "echo", "ran"])?;
    let mut runlock = lab.start(runlock);
    wait_until("it has made its file", || lab.file("l.lock").exists());
    let text = std::fs::read_to_string(lab.file("l.lock")).expect("it is there");
    let pid = text.lines().next().and_then(|pid| pid.parse().ok());
    let pid: i32 = pid.expect("a pid");
    lab.sh(script).expect_code(0);
    wait_until("it ends", || {
        send(pid, libc::SIGCONT);
        !runs(runlock.pid())
    });
    let said = runlock.line();
    assert_eq!(runlock.end(), End::Exited(0));
    Some(said)
}

#[test]
fn a_file_that_the_original_took_for_a_dead_ones_is_not_believed_to_be_ours() {
    let lab = Lab::new();
    let Some(said) = meddled(&lab, "rm -f l.lock; echo 1 >l.lock") else {
        return;
    };
    assert_eq!(said, STILL_LOCKED.trim_end());
    assert_eq!(meddled_text(&lab), "1\n");
    // If it is gone altogether, it is made again.
    lab.sh("rm -f l.lock").expect_code(0);
    let said = meddled(&lab, "rm -f l.lock").expect("it worked before");
    assert_eq!(said, "ran");
    assert!(!lab.file("l.lock").exists());
}

#[test]
fn a_file_that_the_original_wrote_over_is_not_believed_to_be_ours() {
    let lab = Lab::new();
    let Some(said) = meddled(&lab, "chmod 644 l.lock; echo 1 >l.lock") else {
        return;
    };
    assert_eq!(said, STILL_LOCKED.trim_end());
    assert_eq!(meddled_text(&lab), "1\n");
}

fn meddled_text(lab: &Lab) -> String {
    std::fs::read_to_string(lab.file("l.lock")).expect("it is there")
}
