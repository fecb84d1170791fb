//! `--fair` on the command line: what it goes with, and what it does not.

use super::{WHY, assert_clean, assert_queue_len, spawn_waiting_holder};
use test_support::{Outcome, TestEnv, differs_from_util_linux};

/// A refusal that names both options in one line, and where to read on.
#[track_caller]
fn refused(outcome: Outcome, names: &[&str]) {
    let outcome = outcome.assert_status(64).assert_stdout("");
    let said = outcome.stderr_text();
    let (line, rest) = said.split_once('\n').expect("two lines");
    assert_eq!(rest, "Try 'flock --help' for more information.\n", "{said}");
    assert!(line.starts_with("flock: "), "{said}");
    assert!(!line.contains("unrecognized"), "{said}");
    assert!(names.iter().all(|name| line.contains(name)), "{said}");
}

#[test]
fn it_does_not_go_with_locks_of_the_other_kind() {
    differs_from_util_linux(WHY, |env| {
        for other in [&["--fcntl"][..], &["--start", "0"], &["--length", "5"]] {
            for rest in [&["l", "true"][..], &["8"], &["--fd", "8", "true"]] {
                for words in [
                    [&["--fair"], other, rest].concat(),
                    [other, &["--fair"], rest].concat(),
                ] {
                    refused(env.run(words), &["--fair"]);
                }
            }
        }
        assert!(env.file_names().is_empty());
    });
}

#[test]
fn it_takes_no_abbreviation_and_makes_none_ambiguous() {
    differs_from_util_linux(WHY, |env| {
        assert!(env.supports_option("--fair"));
        for word in ["--fa", "--fai", "--fairr", "--Fair"] {
            env.run([word, "l", "true"])
                .assert_status(64)
                .assert_stderr(&format!(
                    "flock: unrecognized option '{word}'\nTry 'flock --help' for more information.\n"
                ));
        }
        for word in ["--fair=", "--fair=yes"] {
            refused(env.run([word, "l", "true"]), &["--fair", "argument"]);
        }
        assert!(env.file_names().is_empty());
        env.sh("exec 8>l 9>l; flock --fair 8; flock --fair -n 9; echo $?; flock --u 8; flock --fair -n 9; echo $?
                flock --u 9; flock --sh 8; flock --sh 9; flock --u 9; flock --fd 8 true; flock --fc 9; echo $?")
            .assert_stderr("")
            .assert_stdout("1\n0\n0\n");
    });
}

#[test]
fn it_may_be_said_twice_and_anywhere_before_the_file() {
    differs_from_util_linux(WHY, |env| {
        for words in [
            &["--fair", "--fair", "-n", "l"][..],
            &["-n", "--fair", "l"],
            &["--fair", "-xn", "--", "l"],
        ] {
            env.run(words.iter().chain(&["echo", "ran"]))
                .assert_status(0)
                .assert_stdout("ran\n");
        }
        // Behind the file it is the command.
        env.run(["l", "--fair"]).assert_status(69);
    });
}

#[test]
fn the_last_mode_named_wins_here_too() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut readers = [
            spawn_waiting_holder(env, &["-x", "--fair", "-s"]),
            spawn_waiting_holder(env, &["--fair", "-xs"]),
        ];
        let mut writer = spawn_waiting_holder(env, &["-s", "--fair", "-x"]);
        holder.release();
        for reader in &mut readers {
            reader.expect_line("held");
        }
        assert_queue_len(env, 1);
        for reader in readers {
            reader.release();
        }
        writer.expect_line("held");
        writer.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn a_missing_command_makes_no_file() {
    differs_from_util_linux(WHY, |env| {
        env.run(["--fair", "l", "no-such-command"])
            .assert_status(69)
            .assert_stderr("flock: failed to execute no-such-command: No such file or directory\n");
        assert!(env.file_names().is_empty());
    });
}

#[test]
fn what_is_no_descriptor_is_said_to_be_bad() {
    differs_from_util_linux(WHY, |env| {
        for call in [
            "flock --fair 8",
            "flock --fair --fd 8 true",
            "flock --fair 0 <&-",
        ] {
            let said = env.sh(format!("{call}; exit $?")).assert_status(65);
            assert!(
                said.stderr_text().ends_with(": Bad file descriptor\n"),
                "{said:?}"
            );
        }
        refused(env.run(["--fair", "8x"]), &["8x"]);
        assert!(env.file_names().is_empty());
    });
}

#[test]
fn it_is_listed_where_the_options_are() {
    test_support::builtin::for_each_bash(|env: &TestEnv| {
        for script in ["bin/flock --help", "flock --help", "help flock"] {
            let help = env.run_with_builtin(script).assert_status(0).stdout_text();
            assert!(help.contains("--fair"), "{script}: {help}");
        }
    });
}
