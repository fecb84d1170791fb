//! The long options by their prefixes, and the command lines that are refused before anything is done.

use test_support::{Outcome, TestEnv};

/// A long option of the contract's table: name, what it means (spellings of one option share it), a value if it takes
/// one.
const LONG: &[(&str, &str, Option<&str>)] = &[
    ("shared", "s", None),
    ("exclusive", "x", None),
    ("unlock", "u", None),
    ("nonblock", "n", None),
    ("nonblocking", "n", None),
    ("nb", "n", None),
    ("timeout", "w", Some("1")),
    ("wait", "w", Some("1")),
    ("conflict-exit-code", "E", Some("5")),
    ("close", "o", None),
    ("no-fork", "F", None),
    ("fcntl", "fcntl", None),
    ("start", "start", Some("0")),
    ("length", "length", Some("0")),
    ("fd", "fd", Some("8")),
    ("verbose", "verbose", None),
    ("help", "h", None),
    ("version", "V", None),
];

/// Those of the table that the program under test has: an older reference may lack some.
pub fn offered(env: &TestEnv) -> Vec<(&'static str, &'static str, Option<&'static str>)> {
    let newer = ["fcntl", "start", "length", "fd"];
    let known = |name: &&str| !newer.contains(name) || env.supports_option(&format!("--{name}"));
    let mut table = LONG.to_vec();
    table.retain(|(name, ..)| known(name));
    table
}

/// A refused option: 64, nothing on stdout, the getopt wording, and where to read on.
#[track_caller]
fn assert_refused(outcome: Outcome, wording: &str) {
    let outcome = outcome.assert_status(64).assert_stdout("");
    let said = outcome.stderr_text();
    let (first, rest) = said.split_once('\n').expect("two lines");
    assert!(first.starts_with("flock: "), "{said}");
    assert!(first.contains(wording), "{wording:?} is not in {said:?}");
    assert_eq!(rest, "Try 'flock --help' for more information.\n", "{said}");
}

#[test]
fn every_unique_prefix_of_a_long_option_is_that_option_and_every_other_is_ambiguous() {
    let env = TestEnv::new();
    let table = offered(&env);
    for (name, meaning, value) in &table {
        for end in 1..=name.len() {
            let prefix = &name[..end];
            let exact = table.iter().any(|(other, ..)| *other == prefix);
            let unique = table.iter().all(|(other, other_meaning, _)| {
                !other.starts_with(prefix) || other_meaning == meaning
            });
            let mut args = vec![format!("--{prefix}")];
            args.extend(value.map(str::to_owned));
            args.push("--help".to_owned());
            let outcome = env.run(&args);
            if exact || unique {
                // An option that is known lets the scan go on to --help.
                let outcome = outcome.assert_status(0).assert_stderr("");
                assert_ne!(outcome.stdout_text(), "", "{args:?}");
            } else {
                assert_refused(outcome, &format!("option '--{prefix}' is ambiguous"));
            }
        }
    }
}

#[test]
fn an_unknown_option_is_refused_and_named() {
    let env = TestEnv::new();
    for (args, wording) in [
        (
            &["--bogus", "l", "true"][..],
            "unrecognized option '--bogus'",
        ),
        (&["--bogus=3", "l", "true"], "unrecognized option '--bogus"),
        (
            &["--sharedd", "l", "true"],
            "unrecognized option '--sharedd'",
        ),
        (&["--Shared", "l", "true"], "unrecognized option '--Shared'"),
        (&["-z", "l", "true"], "invalid option -- 'z'"),
        (&["-nzx", "l", "true"], "invalid option -- 'z'"),
        (&["-xW", "1", "l", "true"], "invalid option -- 'W'"),
        (&["-1"], "invalid option -- '1'"),
        (&["--bogus", "--help"], "unrecognized option '--bogus'"),
        (&["-z", "-V"], "invalid option -- 'z'"),
        (&["-n", "--bogus"], "unrecognized option '--bogus'"),
    ] {
        assert_refused(env.run(args), wording);
    }
    assert!(env.file_names().is_empty(), "{:?}", env.file_names());
}

#[test]
fn a_missing_argument_is_refused() {
    let env = TestEnv::new();
    for (option, wording) in [
        ("-w", "option requires an argument -- 'w'"),
        ("-nw", "option requires an argument -- 'w'"),
        ("-E", "option requires an argument -- 'E'"),
        ("-nE", "option requires an argument -- 'E'"),
    ] {
        assert_refused(env.run([option]), wording);
    }
    for (name, _, value) in offered(&env) {
        if value.is_some() {
            let wording = format!("option '--{name}' requires an argument");
            assert_refused(env.run([format!("--{name}")]), &wording);
        }
    }
}

#[test]
fn an_argument_for_an_option_that_takes_none_is_refused() {
    let env = TestEnv::new();
    for (name, _, value) in offered(&env) {
        if value.is_none() {
            for argument in ["=3", "="] {
                // An abbreviation is completed, so --nonblock may be answered as --nonblocking.
                let outcome = env.run([&format!("--{name}{argument}"), "l", "true"]);
                assert!(
                    outcome.stderr_text().contains("doesn't allow an argument"),
                    "{outcome:?}"
                );
                assert_refused(outcome, &format!("option '--{name}"));
            }
        }
    }
    assert!(env.file_names().is_empty(), "{:?}", env.file_names());
}

#[test]
fn close_and_no_fork_exclude_each_other_before_any_file_is_made() {
    let env = TestEnv::new();
    for options in ["-oF", "-Fo", "--close --no-fork"] {
        let outcome = env
            .sh(format!("flock {options} l echo ran"))
            .assert_status(64)
            .assert_stdout("");
        assert!(outcome.stderr_text().starts_with("flock: "), "{outcome:?}");
        assert!(outcome.stderr_text().contains("--no-fork"), "{outcome:?}");
        assert!(outcome.stderr_text().contains("--close"), "{outcome:?}");
    }
    assert!(env.file_names().is_empty(), "{:?}", env.file_names());
}
