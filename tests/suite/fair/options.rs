//! `--fair` on the command line: what it goes with, and what it does not.

use super::{WHY, holder_to_be, nothing_is_left, queue_is};
use test_support::{Lab, Outcome, departure};

/// A refusal that names both options in one line, and where to read on.
#[track_caller]
fn refused(outcome: Outcome, names: &[&str]) {
    let outcome = outcome.expect_code(64).expect_out("");
    let said = outcome.err();
    let (line, rest) = said.split_once('\n').expect("two lines");
    assert_eq!(rest, "Try 'flock --help' for more information.\n", "{said}");
    assert!(line.starts_with("flock: "), "{said}");
    assert!(!line.contains("unrecognized"), "{said}");
    assert!(names.iter().all(|name| line.contains(name)), "{said}");
}

#[test]
fn it_does_not_go_with_locks_of_the_other_kind() {
    departure(WHY, |lab| {
        for other in [&["--fcntl"][..], &["--start", "0"], &["--length", "5"]] {
            for rest in [&["l", "true"][..], &["8"], &["--fd", "8", "true"]] {
                for words in [
                    [&["--fair"], other, rest].concat(),
                    [other, &["--fair"], rest].concat(),
                ] {
                    refused(lab.run(words), &["--fair"]);
                }
            }
        }
        assert!(lab.names().is_empty());
    });
}

#[test]
fn it_takes_no_abbreviation_and_makes_none_ambiguous() {
    departure(WHY, |lab| {
        assert!(lab.offers("--fair"));
        for word in ["--fa", "--fai", "--fairr", "--Fair"] {
            lab.run([word, "l", "true"])
                .expect_code(64)
                .expect_err(&format!(
                    "flock: unrecognized option '{word}'\nTry 'flock --help' for more information.\n"
                ));
        }
        for word in ["--fair=", "--fair=yes"] {
            refused(lab.run([word, "l", "true"]), &["--fair", "argument"]);
        }
        assert!(lab.names().is_empty());
        lab.sh("exec 8>l 9>l; flock --fair 8; flock --fair -n 9; echo $?; flock --u 8; flock --fair -n 9; echo $?
                flock --u 9; flock --sh 8; flock --sh 9; flock --u 9; flock --fd 8 true; flock --fc 9; echo $?")
            .expect_err("")
            .expect_out("1\n0\n0\n");
    });
}

#[test]
fn it_may_be_said_twice_and_anywhere_before_the_file() {
    departure(WHY, |lab| {
        for words in [
            &["--fair", "--fair", "-n", "l"][..],
            &["-n", "--fair", "l"],
            &["--fair", "-xn", "--", "l"],
        ] {
            lab.run(words.iter().chain(&["echo", "ran"]))
                .expect_code(0)
                .expect_out("ran\n");
        }
        // Behind the file it is the command.
        lab.run(["l", "--fair"]).expect_code(69);
    });
}

#[test]
fn the_last_mode_named_wins_here_too() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut readers = [
            holder_to_be(lab, &["-x", "--fair", "-s"]),
            holder_to_be(lab, &["--fair", "-xs"]),
        ];
        let mut writer = holder_to_be(lab, &["-s", "--fair", "-x"]);
        holder.let_go();
        for reader in &mut readers {
            reader.hears("held");
        }
        queue_is(lab, 1);
        for reader in readers {
            reader.let_go();
        }
        writer.hears("held");
        writer.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn a_missing_command_makes_no_file() {
    departure(WHY, |lab| {
        lab.run(["--fair", "l", "no-such-command"])
            .expect_code(69)
            .expect_err("flock: failed to execute no-such-command: No such file or directory\n");
        assert!(lab.names().is_empty());
    });
}

#[test]
fn what_is_no_descriptor_is_said_to_be_bad() {
    departure(WHY, |lab| {
        for call in [
            "flock --fair 8",
            "flock --fair --fd 8 true",
            "flock --fair 0 <&-",
        ] {
            let said = lab.sh(format!("{call}; exit $?")).expect_code(65);
            assert!(said.err().ends_with(": Bad file descriptor\n"), "{said:?}");
        }
        refused(lab.run(["--fair", "8x"]), &["8x"]);
        assert!(lab.names().is_empty());
    });
}

#[test]
fn it_is_listed_where_the_options_are() {
    test_support::builtin::in_every_bash(|lab: &Lab| {
        for script in ["bin/flock --help", "flock --help", "help flock"] {
            let help = lab.builtin(script).expect_code(0).out();
            assert!(help.contains("--fair"), "{script}: {help}");
        }
    });
}
