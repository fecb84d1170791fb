//! `--also`: several lock files, all or none.

use test_support::{Lab, departure};

/// Why all of these are departures.
const WHY: &str = "the reference locks one file only";

#[test]
fn all_files_are_locked_while_the_command_runs_and_none_afterwards() {
    departure(WHY, |lab| {
        lab.run([
            "--also",
            "b",
            "--also=c",
            "a",
            "sh",
            "-c",
            "for f in a b c; do flock -n $f true; echo $?; done",
        ])
        .expect_out("1\n1\n1\n")
        .expect_code(0);
        lab.sh("for f in a b c; do flock -n $f true; echo $?; done")
            .expect_out("0\n0\n0\n");
    });
}

#[test]
fn if_one_is_taken_none_is_kept() {
    departure(WHY, |lab| {
        let _holder = lab.hold(&[], "b");
        for wait in ["-n", "-w0.01"] {
            lab.run([wait, "-E", "9", "--also", "a", "--also", "b", "c", "true"])
                .expect_code(9)
                .expect_err("");
        }
        lab.sh("flock -n a true && flock -n c true").expect_code(0);
    });
}

#[test]
fn a_file_that_is_named_twice_is_locked_once() {
    departure(WHY, |lab| {
        lab.sh("ln -s a b; : >a; ln a c; flock -n --also a --also b --also c a echo once")
            .expect_out("once\n");
    });
}

#[test]
fn the_mode_is_that_of_all() {
    departure(WHY, |lab| {
        let _readers = [lab.hold(&["-s"], "a"), lab.hold(&["-s"], "b")];
        lab.run(["-n", "-s", "--also", "b", "a", "true"])
            .expect_code(0);
        lab.run(["-n", "--also", "b", "a", "true"]).expect_code(1);
        lab.run(["-n", "--fcntl", "--also", "b", "a", "true"])
            .expect_code(0);
    });
}

#[test]
fn the_command_inherits_all_of_them_or_with_o_none() {
    departure(WHY, |lab| {
        let count = "ls -l /proc/self/fd | grep -c -e '/[ab]$'";
        lab.run(["--also", "b", "a", "sh", "-c", count])
            .expect_out("2\n");
        lab.run(["-F", "--also", "b", "a", "sh", "-c", count])
            .expect_out("2\n");
        lab.run(["-o", "--also", "b", "a", "sh", "-c", count])
            .expect_out("0\n");
    });
}

#[test]
fn those_who_name_them_in_another_order_never_wait_in_a_circle() {
    departure(WHY, |lab| {
        let orders = [
            ["a", "b", "c"],
            ["c", "b", "a"],
            ["b", "c", "a"],
            ["b", "a", "c"],
        ];
        std::fs::write(lab.file("counter"), "0\n").expect("a counter");
        let step = "read n <counter; echo $((n + 1)) >counter";
        std::thread::scope(|scope| {
            for [one, two, three] in orders {
                scope.spawn(move || {
                    for _ in 0..15 {
                        lab.run(["--also", one, "--also", two, three, "sh", "-c", step])
                            .expect_code(0);
                    }
                });
            }
        });
        let counter = std::fs::read_to_string(lab.file("counter")).expect("a counter");
        assert_eq!(counter, "60\n");
    });
}

#[test]
fn it_is_for_lock_files_and_takes_no_abbreviation() {
    departure(WHY, |lab| {
        for words in [
            &["--also", "a", "8"][..],
            &["--also", "a", "--fd", "8", "true"],
        ] {
            lab.run(words).expect_code(64).expect_err(
                "flock: --also is for lock files: flock --also ... FILE COMMAND\n\
                     Try 'flock --help' for more information.\n",
            );
        }
        lab.run(["--als", "a", "b", "true"])
            .expect_code(64)
            .expect_err(
                "flock: unrecognized option '--als'\nTry 'flock --help' for more information.\n",
            );
        assert!(lab.names().is_empty());
    });
}

#[test]
fn a_missing_command_makes_no_file() {
    departure(WHY, |lab| {
        lab.run(["--also", "b", "a", "no-such-command"])
            .expect_code(69);
        assert!(lab.names().is_empty());
    });
}

#[test]
fn the_builtin_does_it_for_functions() {
    test_support::builtin::in_every_bash(|lab: &Lab| {
        lab.builtin(
            "f() { for l in a b; do bin/flock -n $l true; echo $?; done; }
             flock --also b a f; for l in a b; do bin/flock -n $l true; echo $?; done",
        )
        .expect_out("1\n1\n0\n0\n");
    });
}
