//! Abbreviated long options, and usage errors: command lines that are rejected before anything is
//! done.

use rstest::rstest;
use test_support::{Outcome, TestEnv};

/// A long option: its name, its meaning (which its other names share), and a value if it takes one.
pub type LongOption = (&'static str, &'static str, Option<&'static str>);

const LONG_OPTIONS: &[LongOption] = &[
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

/// Returns the long options of the program under test: an older util-linux lacks some.
pub fn long_options(env: &TestEnv) -> Vec<LongOption> {
    let is_new = |name| ["fcntl", "start", "length", "fd"].contains(&name);
    let mut options = LONG_OPTIONS.to_vec();
    options.retain(|(name, ..)| !is_new(*name) || env.supports_option(&format!("--{name}")));
    options
}

/// Asserts a usage error whose first line contains a text, and returns stderr.
#[track_caller]
pub fn assert_usage_error(outcome: Outcome, expected: &str) -> String {
    let stderr = outcome.assert_status(64).assert_stdout("").stderr_text();
    let first = stderr.lines().next().unwrap_or_default();
    assert!(first.starts_with("flock: "), "{stderr:?}");
    assert!(first.contains(expected), "{expected:?}: {stderr:?}");
    stderr
}

/// Asserts an error with getopt's wording, followed by a hint to the help.
#[track_caller]
fn assert_getopt_error(outcome: Outcome, expected: &str) {
    let stderr = assert_usage_error(outcome, expected);
    let (_, hint) = stderr.split_once('\n').expect("two lines");
    assert_eq!(hint, "Try 'flock --help' for more information.\n");
}

/// Asserts a usage error with this message and a hint to the help, and that no file was created.
#[track_caller]
pub fn assert_misuse(args: &[&str], message: &str) {
    let env = TestEnv::new();
    let hint = "Try 'flock --help' for more information.";
    env.run(args)
        .assert_all(64, "", &format!("flock: {message}\n{hint}\n"));
    assert!(env.file_names().is_empty(), "{:?}", env.file_names());
}

#[test]
fn every_unique_prefix_of_a_long_option_is_accepted() {
    let env = TestEnv::new();
    let options = long_options(&env);
    for (name, meaning, value) in &options {
        for end in 1..=name.len() {
            let prefix = &name[..end];
            let is_unique = options.iter().any(|(other, ..)| *other == prefix)
                || options.iter().all(|(other, other_meaning, _)| {
                    !other.starts_with(prefix) || other_meaning == meaning
                });
            let mut args = vec![format!("--{prefix}")];
            args.extend(value.map(str::to_owned));
            args.push("--help".to_owned());
            let outcome = env.run(&args);
            if is_unique {
                // The parser continues after a known option and reaches --help.
                let outcome = outcome.assert_status(0).assert_stderr("");
                assert_ne!(outcome.stdout_text(), "", "{args:?}");
            } else {
                assert_getopt_error(outcome, &format!("option '--{prefix}' is ambiguous"));
            }
        }
    }
}

#[rstest]
#[case("--bogus l true", "unrecognized option '--bogus'")]
#[case("--bogus=3 l true", "unrecognized option '--bogus")]
#[case("--sharedd l true", "unrecognized option '--sharedd'")]
#[case("--Shared l true", "unrecognized option '--Shared'")]
#[case("-z l true", "invalid option -- 'z'")]
#[case("-nzx l true", "invalid option -- 'z'")]
#[case("-xW 1 l true", "invalid option -- 'W'")]
#[case("-1", "invalid option -- '1'")]
#[case("--bogus --help", "unrecognized option '--bogus'")]
#[case("-z -V", "invalid option -- 'z'")]
#[case("-n --bogus", "unrecognized option '--bogus'")]
#[case::c_without_file("-c true", "invalid option -- 'c'")]
#[case::c_before_file("-c true l", "invalid option -- 'c'")]
#[case::c_before_file_and_command("-c l true true", "invalid option -- 'c'")]
#[case::c_combined("-nc true", "invalid option -- 'c'")]
fn an_unknown_option_is_an_error(#[case] call: &str, #[case] message: &str) {
    let env = TestEnv::new();
    assert_getopt_error(env.run(call.split(' ')), message);
    assert!(env.file_names().is_empty(), "{:?}", env.file_names());
}

#[test]
fn a_missing_value_is_an_error() {
    let env = TestEnv::new();
    for (option, name) in [("-w", 'w'), ("-nw", 'w'), ("-E", 'E'), ("-nE", 'E')] {
        let message = format!("option requires an argument -- '{name}'");
        assert_getopt_error(env.run([option]), &message);
    }
    for (name, _, value) in long_options(&env) {
        if value.is_some() {
            let message = format!("option '--{name}' requires an argument");
            assert_getopt_error(env.run([format!("--{name}")]), &message);
        }
    }
}

#[test]
fn a_value_for_an_option_without_one_is_an_error() {
    let env = TestEnv::new();
    for (name, _, value) in long_options(&env) {
        if value.is_none() {
            for argument in ["=3", "="] {
                // The message completes abbreviations, so --nonblock may be --nonblocking there.
                let outcome = env.run([&format!("--{name}{argument}"), "l", "true"]);
                assert!(
                    outcome.stderr_text().contains("doesn't allow an argument"),
                    "{outcome:?}"
                );
                assert_getopt_error(outcome, &format!("option '--{name}"));
            }
        }
    }
    assert!(env.file_names().is_empty(), "{:?}", env.file_names());
}

#[test]
fn close_and_no_fork_are_incompatible() {
    let env = TestEnv::new();
    for options in ["-oF", "-Fo", "--close --no-fork"] {
        let outcome = env.sh(format!("flock {options} l echo ran"));
        let stderr = assert_usage_error(outcome, "--no-fork");
        assert!(stderr.contains("--close"), "{stderr}");
    }
    assert!(env.file_names().is_empty(), "{:?}", env.file_names());
}
