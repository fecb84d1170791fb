//! `--also`: several lock files, all or none.

use test_support::{TestEnv, differs_from_util_linux};

/// Why all of these are departures.
const WHY: &str = "the reference locks one file only";

#[test]
fn all_files_are_locked_while_the_command_runs_and_none_afterwards() {
    differs_from_util_linux(WHY, |env| {
        env.run([
            "--also",
            "b",
            "--also=c",
            "a",
            "sh",
            "-c",
            "for f in a b c; do flock -n $f true; echo $?; done",
        ])
        .assert_stdout("1\n1\n1\n")
        .assert_status(0);
        env.sh("for f in a b c; do flock -n $f true; echo $?; done")
            .assert_stdout("0\n0\n0\n");
    });
}

#[test]
fn if_one_is_taken_none_is_kept() {
    differs_from_util_linux(WHY, |env| {
        let _holder = env.hold(&[], "b");
        for wait in ["-n", "-w0.01"] {
            env.run([wait, "-E", "9", "--also", "a", "--also", "b", "c", "true"])
                .assert_status(9)
                .assert_stderr("");
        }
        env.sh("flock -n a true && flock -n c true")
            .assert_status(0);
    });
}

#[test]
fn a_file_that_is_named_twice_is_locked_once() {
    differs_from_util_linux(WHY, |env| {
        env.sh("ln -s a b; : >a; ln a c; flock -n --also a --also b --also c a echo once")
            .assert_stdout("once\n");
    });
}

#[test]
fn the_mode_is_that_of_all() {
    differs_from_util_linux(WHY, |env| {
        let _readers = [env.hold(&["-s"], "a"), env.hold(&["-s"], "b")];
        env.run(["-n", "-s", "--also", "b", "a", "true"])
            .assert_status(0);
        env.run(["-n", "--also", "b", "a", "true"]).assert_status(1);
        env.run(["-n", "--fcntl", "--also", "b", "a", "true"])
            .assert_status(0);
    });
}

#[test]
fn the_command_inherits_all_of_them_or_with_o_none() {
    differs_from_util_linux(WHY, |env| {
        let count = "ls -l /proc/self/fd | grep -c -e '/[ab]$'";
        env.run(["--also", "b", "a", "sh", "-c", count])
            .assert_stdout("2\n");
        env.run(["-F", "--also", "b", "a", "sh", "-c", count])
            .assert_stdout("2\n");
        env.run(["-o", "--also", "b", "a", "sh", "-c", count])
            .assert_stdout("0\n");
    });
}

#[test]
fn those_who_name_them_in_another_order_never_wait_in_a_circle() {
    differs_from_util_linux(WHY, |env| {
        let orders = [
            ["a", "b", "c"],
            ["c", "b", "a"],
            ["b", "c", "a"],
            ["b", "a", "c"],
        ];
        std::fs::write(env.file("counter"), "0\n").expect("a counter");
        let step = "read n <counter; echo $((n + 1)) >counter";
        std::thread::scope(|scope| {
            for [one, two, three] in orders {
                scope.spawn(move || {
                    for _ in 0..15 {
                        env.run(["--also", one, "--also", two, three, "sh", "-c", step])
                            .assert_status(0);
                    }
                });
            }
        });
        let counter = std::fs::read_to_string(env.file("counter")).expect("a counter");
        assert_eq!(counter, "60\n");
    });
}

#[test]
fn it_is_for_lock_files_and_takes_no_abbreviation() {
    differs_from_util_linux(WHY, |env| {
        for words in [
            &["--also", "a", "8"][..],
            &["--also", "a", "--fd", "8", "true"],
        ] {
            env.run(words).assert_status(64).assert_stderr(
                "flock: --also requires a lock file and a command: flock --also ... FILE COMMAND\n\
                     Try 'flock --help' for more information.\n",
            );
        }
        env.run(["--als", "a", "b", "true"])
            .assert_status(64)
            .assert_stderr(
                "flock: unrecognized option '--als'\nTry 'flock --help' for more information.\n",
            );
        assert!(env.file_names().is_empty());
    });
}

#[test]
fn a_missing_command_makes_no_file() {
    differs_from_util_linux(WHY, |env| {
        env.run(["--also", "b", "a", "no-such-command"])
            .assert_status(69);
        assert!(env.file_names().is_empty());
    });
}

#[test]
fn the_builtin_does_it_for_functions() {
    test_support::builtin::for_each_bash(|env: &TestEnv| {
        env.run_with_builtin(
            "f() { for l in a b; do bin/flock -n $l true; echo $?; done; }
             flock --also b a f; for l in a b; do bin/flock -n $l true; echo $?; done",
        )
        .assert_stdout("1\n1\n0\n0\n");
    });
}
