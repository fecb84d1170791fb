//! `--slots` on the command line: its value, what it goes with, and what it does not.

use super::{WHY, assert_try, held_slots, hold_slot};
use test_support::{Outcome, TestEnv, differs_from_util_linux};

/// A refusal in one line that names these, and where to read on.
#[track_caller]
fn refused(env: &TestEnv, outcome: Outcome, names: &[&str]) {
    let outcome = outcome.assert_status(64).assert_stdout("");
    let said = outcome.stderr_text();
    let (line, rest) = said.split_once('\n').expect("two lines");
    assert_eq!(rest, "Try 'flock --help' for more information.\n", "{said}");
    assert!(line.starts_with("flock: "), "{said}");
    assert!(!line.contains("unrecognized"), "{said}");
    assert!(names.iter().all(|name| line.contains(name)), "{said}");
    assert!(env.file_names().is_empty(), "{:?}", env.file_names());
}

#[test]
fn a_number_of_slots_is_one_or_more() {
    differs_from_util_linux(WHY, |env| {
        for word in [
            "0",
            "00",
            "-1",
            "x",
            "2x",
            "1.5",
            "0x2",
            " ",
            "2 ",
            "99999999999999999999",
        ] {
            refused(env, env.run(["--slots", word, "l", "true"]), &[word]);
            let joined = format!("--slots={word}");
            refused(env, env.run([&joined, "l", "true"]), &[word]);
        }
        refused(env, env.run(["--slots", "", "l", "true"]), &[]);
        refused(env, env.run(["--slots=", "l", "true"]), &[]);
        refused(env, env.run(["--slots"]), &["--slots", "argument"]);
        for word in ["1", "+1", " 1", "01", "2147483647"] {
            env.run(["--slots", word, "l", "echo", "ran"])
                .assert_stderr("")
                .assert_stdout("ran\n");
        }
        // The last one counts.
        let _holder = hold_slot(env, "1");
        env.run(["--slots", "1", "-n", "--slots", "2", "l", "true"])
            .assert_status(0);
        env.run(["--slots", "2", "-n", "--slots=1", "l", "true"])
            .assert_status(1);
    });
}

#[test]
fn it_goes_with_a_file_and_a_command_only() {
    differs_from_util_linux(WHY, |env| {
        for words in [
            &["--slots", "2", "8"][..],
            &["--slots", "2", "--fd", "8", "true"],
            &["--fd", "8", "--slots", "2", "true"],
            &["-n", "--slots=2", "0"],
        ] {
            refused(env, env.run(words), &["--slots"]);
        }
    });
}

#[test]
fn it_does_not_go_with_what_makes_no_sense_with_it() {
    differs_from_util_linux(WHY, |env| {
        for other in [
            &["-s"][..],
            &["--shared"],
            &["-u"],
            &["--unlock"],
            &["--also", "a"],
            &["--unlink"],
            &["--fcntl"],
            &["--start", "0"],
            &["--length", "1"],
        ] {
            let slots: &[&str] = &["--slots", "2"];
            for words in [[slots, other].concat(), [other, slots].concat()] {
                let words = [&words[..], &["l", "true"]].concat();
                refused(env, env.run(words), &["--slots"]);
            }
        }
        refused(
            env,
            env.run(["--slots", "2", "-oF", "l", "true"]),
            &["--no-fork", "--close"],
        );
    });
}

#[test]
fn it_takes_no_abbreviation_and_makes_none_ambiguous() {
    differs_from_util_linux(WHY, |env| {
        assert!(env.supports_option("--slots"));
        for word in ["--sl", "--slo", "--slot", "--slotss", "--Slots"] {
            env.run([word, "2", "l", "true"])
                .assert_status(64)
                .assert_stderr(&format!(
                    "flock: unrecognized option '{word}'\nTry 'flock --help' for more information.\n"
                ));
        }
        assert!(env.file_names().is_empty());
        env.sh(
            "exec 8>l 9>l; flock --sh 8; flock --sha -n 9; echo $?; flock --st 0 --len 1 8; echo $?
                flock --u 9; echo $?",
        )
        .assert_stderr("")
        .assert_stdout("0\n0\n0\n");
        for (word, ambiguous) in [("--s", "--s"), ("--f", "--f")] {
            let outcome = env.run([word, "l", "true"]).assert_status(64);
            let wanted = format!("flock: option '{ambiguous}' is ambiguous");
            assert!(outcome.stderr_text().starts_with(&wanted), "{outcome:?}");
        }
    });
}

#[test]
fn it_goes_with_everything_else() {
    differs_from_util_linux(WHY, |env| {
        for words in [
            &["--slots", "2", "-x"][..],
            &["-e", "--slots", "2"],
            &["-n", "--slots", "2"],
            &["-w1000", "--slots", "2"],
            &["-o", "--slots", "2"],
            &["-F", "--slots", "2"],
            &["-E9", "--slots", "2"],
            &["--slots", "2", "--"],
        ] {
            for command in [&["l", "echo", "ran"][..], &["l", "-c", "echo ran"]] {
                env.run(words.iter().chain(command))
                    .assert_stderr("")
                    .assert_stdout("ran\n")
                    .assert_status(0);
            }
        }
        assert_eq!(held_slots(env), []);
        assert_try(env, "1", 0);
    });
}

#[test]
fn verbose_tells_the_same_story() {
    differs_from_util_linux(WHY, |env| {
        for way in ["-x", "-F", "-o", "-w1000"] {
            let outcome = env.run(["--slots", "1", "--verbose", way, "l", "echo", "ran"]);
            let out = outcome.assert_status(0).assert_stderr("").stdout_text();
            let lines: Vec<&str> = out.lines().collect();
            assert!(lines[0].starts_with("flock: getting lock took "), "{out}");
            assert_eq!(lines[1..], ["flock: executing echo", "ran"]);
        }
        let _holder = hold_slot(env, "1");
        for (patience, said) in [
            ("-n", "flock: failed to get lock"),
            ("-w0.01", "flock: timeout while waiting to get lock"),
        ] {
            let told = env.run(["--slots=1", "--verbose", patience, "l", "true"]);
            let told = told.assert_status(1).assert_stdout("").stderr_text();
            assert!(told.contains(said), "{told}");
        }
    });
}

#[test]
fn a_missing_command_makes_no_file() {
    differs_from_util_linux(WHY, |env| {
        env.run(["--slots", "2", "l", "no-such-command"])
            .assert_status(69)
            .assert_stderr("flock: failed to execute no-such-command: No such file or directory\n");
        assert!(env.file_names().is_empty());
        env.run(["--slots", "2", "no/l", "true"]).assert_status(66);
    });
}
