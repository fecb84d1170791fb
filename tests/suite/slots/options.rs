//! `--slots` on the command line: its value, what it goes with, and what it does not.

use super::{WHY, hold, taken, try_for};
use test_support::{Lab, Outcome, departure};

/// A refusal in one line that names these, and where to read on.
#[track_caller]
fn refused(lab: &Lab, outcome: Outcome, names: &[&str]) {
    let outcome = outcome.expect_code(64).expect_out("");
    let said = outcome.err();
    let (line, rest) = said.split_once('\n').expect("two lines");
    assert_eq!(rest, "Try 'flock --help' for more information.\n", "{said}");
    assert!(line.starts_with("flock: "), "{said}");
    assert!(!line.contains("unrecognized"), "{said}");
    assert!(names.iter().all(|name| line.contains(name)), "{said}");
    assert!(lab.names().is_empty(), "{:?}", lab.names());
}

#[test]
fn a_number_of_slots_is_one_or_more() {
    departure(WHY, |lab| {
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
            refused(lab, lab.run(["--slots", word, "l", "true"]), &[word]);
            let joined = format!("--slots={word}");
            refused(lab, lab.run([&joined, "l", "true"]), &[word]);
        }
        refused(lab, lab.run(["--slots", "", "l", "true"]), &[]);
        refused(lab, lab.run(["--slots=", "l", "true"]), &[]);
        refused(lab, lab.run(["--slots"]), &["--slots", "argument"]);
        for word in ["1", "+1", " 1", "01", "2147483647"] {
            lab.run(["--slots", word, "l", "echo", "ran"])
                .expect_err("")
                .expect_out("ran\n");
        }
        // The last one counts.
        let _holder = hold(lab, "1");
        lab.run(["--slots", "1", "-n", "--slots", "2", "l", "true"])
            .expect_code(0);
        lab.run(["--slots", "2", "-n", "--slots=1", "l", "true"])
            .expect_code(1);
    });
}

#[test]
fn it_goes_with_a_file_and_a_command_only() {
    departure(WHY, |lab| {
        for words in [
            &["--slots", "2", "8"][..],
            &["--slots", "2", "--fd", "8", "true"],
            &["--fd", "8", "--slots", "2", "true"],
            &["-n", "--slots=2", "0"],
        ] {
            refused(lab, lab.run(words), &["--slots"]);
        }
    });
}

#[test]
fn it_does_not_go_with_what_makes_no_sense_with_it() {
    departure(WHY, |lab| {
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
                refused(lab, lab.run(words), &["--slots"]);
            }
        }
        refused(
            lab,
            lab.run(["--slots", "2", "-oF", "l", "true"]),
            &["--no-fork", "--close"],
        );
    });
}

#[test]
fn it_takes_no_abbreviation_and_makes_none_ambiguous() {
    departure(WHY, |lab| {
        assert!(lab.offers("--slots"));
        for word in ["--sl", "--slo", "--slot", "--slotss", "--Slots"] {
            lab.run([word, "2", "l", "true"])
                .expect_code(64)
                .expect_err(&format!(
                    "flock: unrecognized option '{word}'\nTry 'flock --help' for more information.\n"
                ));
        }
        assert!(lab.names().is_empty());
        lab.sh(
            "exec 8>l 9>l; flock --sh 8; flock --sha -n 9; echo $?; flock --st 0 --len 1 8; echo $?
                flock --u 9; echo $?",
        )
        .expect_err("")
        .expect_out("0\n0\n0\n");
        for (word, ambiguous) in [("--s", "--s"), ("--f", "--f")] {
            let outcome = lab.run([word, "l", "true"]).expect_code(64);
            let wanted = format!("flock: option '{ambiguous}' is ambiguous");
            assert!(outcome.err().starts_with(&wanted), "{outcome:?}");
        }
    });
}

#[test]
fn it_goes_with_everything_else() {
    departure(WHY, |lab| {
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
                lab.run(words.iter().chain(command))
                    .expect_err("")
                    .expect_out("ran\n")
                    .expect_code(0);
            }
        }
        assert_eq!(taken(lab), []);
        try_for(lab, "1", 0);
    });
}

#[test]
fn verbose_tells_the_same_story() {
    departure(WHY, |lab| {
        for way in ["-x", "-F", "-o", "-w1000"] {
            let outcome = lab.run(["--slots", "1", "--verbose", way, "l", "echo", "ran"]);
            let out = outcome.expect_code(0).expect_err("").out();
            let lines: Vec<&str> = out.lines().collect();
            assert!(lines[0].starts_with("flock: getting lock took "), "{out}");
            assert_eq!(lines[1..], ["flock: executing echo", "ran"]);
        }
        let _holder = hold(lab, "1");
        for (patience, said) in [
            ("-n", "flock: failed to get lock"),
            ("-w0.01", "flock: timeout while waiting to get lock"),
        ] {
            let told = lab.run(["--slots=1", "--verbose", patience, "l", "true"]);
            let told = told.expect_code(1).expect_out("").err();
            assert!(told.contains(said), "{told}");
        }
    });
}

#[test]
fn a_missing_command_makes_no_file() {
    departure(WHY, |lab| {
        lab.run(["--slots", "2", "l", "no-such-command"])
            .expect_code(69)
            .expect_err("flock: failed to execute no-such-command: No such file or directory\n");
        assert!(lab.names().is_empty());
        lab.run(["--slots", "2", "no/l", "true"]).expect_code(66);
    });
}
