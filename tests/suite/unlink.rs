//! `--unlink`: the last holder removes the lock file, and there is never a second holder.

use std::fs;

use fastrand::Rng;
use rstest::rstest;
use test_support::TestEnv;
use test_support::builtin::for_each_bash;
use test_support::stress::{StressSettings, random_delay};

use crate::usage_errors::assert_misuse;

#[test]
fn the_file_is_removed_however_the_command_terminates() {
    let env = TestEnv::new();
    for (script, status) in [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137)] {
        for option in ["-x", "-s", "--fcntl", "-o"] {
            let script = format!("[ -e l ] && {script}");
            env.run([option, "--unlink", "l", "sh", "-c", &script])
                .assert_all(status, "", "");
            assert!(env.file_names().is_empty(), "{option} {script}");
        }
    }
}

#[test]
fn existing_files_and_those_of_also_are_removed() {
    let env = TestEnv::new();
    env.sh(": >l; flock --unlink --also m l true")
        .assert_status(0);
    assert!(env.file_names().is_empty());
}

#[test]
fn nothing_is_removed_on_a_conflict() {
    let env = TestEnv::new();
    let _holder = env.hold(&[], "l");
    env.run(["-n", "--unlink", "l", "true"]).assert_status(1);
    assert_eq!(env.file_names(), ["l"]);
}

#[test]
fn the_file_stays_until_the_last_holder_releases_it() {
    let env = TestEnv::new();
    let first = env.hold(&["-s", "--unlink"], "l");
    let second = env.hold(&["-s", "--unlink"], "l");
    first.release();
    assert_eq!(env.file_names(), ["l"]);
    env.run(["-n", "l", "true"]).assert_status(1);
    second.release();
    assert!(env.file_names().is_empty());
}

#[test]
fn background_processes_of_the_command_keep_the_file() {
    TestEnv::new()
        .sh(
            "mkfifo end; flock --unlink l sh -c 'read x <end & exit 0' </dev/null >/dev/null 2>&1
             flock -n l true; echo $?; echo >end
             flock l true; [ -e l ] && flock --unlink l true; [ -e l ]; echo $?",
        )
        .assert_stdout("1\n1\n");
}

#[rstest]
#[case::directory("mkdir l", "it is a directory")]
#[case::symbolic_link(": >f; ln -s f l", "it is a symbolic link")]
#[case::contents("echo data >l", "it is not empty")]
#[case::hard_link(": >l; ln l m", "it has other names (hard links)")]
fn only_an_empty_file_with_one_name_is_removed(#[case] setup: &str, #[case] reason: &str) {
    let env = TestEnv::new();
    let files = env
        .sh(format!("{setup}; ls; flock --unlink l sh -c 'exit 4'"))
        .assert_status(4)
        .assert_stderr(&format!("flock: lock file l was not removed: {reason}\n"));
    assert_eq!(env.sh("ls").stdout_text(), files.stdout_text());
}

#[test]
fn a_file_to_which_the_command_wrote_is_kept() {
    let env = TestEnv::new();
    env.sh("echo old >data; flock --unlink --also n data sh -c 'echo new >data'; cat data")
        .assert_all(
            0,
            "new\n",
            "flock: lock file data was not removed: it is not empty\n",
        );
    assert_eq!(env.file_names(), ["data"]);
}

#[test]
fn a_file_is_kept_if_the_command_did_not_run() {
    let env = TestEnv::new();
    let outcome = env
        .sh(": >l; flock --unlink l ./no-such-command")
        .assert_status(69);
    let stderr = outcome.stderr_text();
    let kept = "flock: lock file l was not removed: the command was not run\n";
    assert!(stderr.starts_with(kept), "{stderr}");
    assert_eq!(env.file_names(), ["l"]);
    env.sh("printf '#!/bin/sh\\n' >sync; chmod +x sync; flock --unlink ./sync --all")
        .assert_status(69);
    assert_eq!(env.file_names(), ["l", "sync"]);
}

#[test]
fn the_builtin_keeps_a_file_with_contents() {
    for_each_bash(|env| {
        let outcome = env
            .run_with_builtin("f() { echo data >l; }; flock --unlink l f; cat l")
            .assert_stdout("data\n");
        // With the absolute path: a function may change the working directory.
        let stderr = outcome.stderr_text();
        assert!(
            stderr.ends_with("/l was not removed: it is not empty\n"),
            "{stderr}"
        );
    });
}

#[test]
fn a_failed_removal_does_not_change_the_status() {
    let env = TestEnv::new();
    let script =
        "mkdir d; : >d/l; chmod 555 d; flock --unlink d/l sh -c 'exit 4'; echo $?; chmod 755 d";
    if let Some(command) = env.unprivileged(script) {
        env.run_command(command)
            .assert_status(0)
            .assert_stdout("4\n")
            .assert_stderr("flock: cannot remove lock file d/l: Permission denied\n");
    }
}

#[rstest]
#[case::descriptor(
    &["--unlink", "8"],
    "--unlink requires a lock file and a command: flock --unlink ... FILE COMMAND"
)]
#[case::no_fork(
    &["-F", "--unlink", "l", "true"],
    "the --no-fork and --unlink options are incompatible"
)]
fn unlink_excludes_descriptors_and_no_fork(#[case] args: &[&str], #[case] message: &str) {
    assert_misuse(args, message);
}

#[test]
fn abbreviations_of_unlink_mean_unlock() {
    let env = TestEnv::new();
    env.sh("exec 8>l; flock 8; flock --un 8; flock -n l true")
        .assert_status(0);
    assert_eq!(env.file_names(), ["l"]);
}

#[test]
fn killing_processes_never_admits_a_second_holder() {
    let env = &TestEnv::new();
    let StressSettings { size, seed } = StressSettings::from_env();
    fs::write(env.file("journal"), "").expect("a journal");
    // The command locks the witness, which is never removed. It releases it before it exits: an
    // exiting process gives up its share in a lock when it closes the descriptor, but releases what
    // it holds alone a moment later, and in that moment its flock may be killed.
    let step = "exec 9>>witness; flock -n 9 || echo two at once >&2
         n=$(wc -l <journal); echo $((n + 1)) >>journal; exec 9>&-";
    std::thread::scope(|scope| {
        for thread in 0..6_u64 {
            let mut rng = Rng::with_seed(seed ^ (thread << 50));
            scope.spawn(move || {
                for _ in 0..40 * size {
                    let mut command = env.flock(["--unlink", "l", "sh", "-c", step]);
                    if thread < 2 {
                        let mut child = command.spawn().expect("it starts");
                        random_delay(&mut rng);
                        let _ = child.kill();
                        let _ = child.wait();
                    } else {
                        env.run_command(command).assert_all(0, "", "");
                    }
                }
            });
        }
    });
    // The command of a killed flock may still hold the lock.
    env.run(["--unlink", "l", "true"]).assert_status(0);
    let journal = fs::read_to_string(env.file("journal")).expect("a journal");
    let steps = journal.lines().count() as u64;
    assert!(steps >= 4 * 40 * size);
    let expected: String = (1..=steps).map(|step| format!("{step}\n")).collect();
    assert_eq!(journal, expected);
    assert_eq!(env.file_names(), ["journal", "witness"]);
}

#[test]
fn the_builtin_removes_the_file_after_cd() {
    for_each_bash(|env| {
        env.run_with_builtin("f() { [ -e l ] && cd /; return 3; }; flock --unlink l f; echo $?")
            .assert_stdout("3\n");
        assert!(env.file_names().is_empty());
    });
}
