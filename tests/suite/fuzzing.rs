//! Words at random: whatever the command line, `flock` answers with a status that is written down, and leaves nothing
//! behind that it should not.

use std::ffi::OsString;
use std::fs::{self, File};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use test_support::{Outcome, TestEnv, os_string};

/// Runs a property over so many cases, each of which is at least one process.
fn for_all<S: Strategy>(cases: u32, words: &S, property: impl Fn(S::Value)) {
    let config = Config {
        cases,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let holds = |value| {
        property(value);
        Ok(())
    };
    if let Err(failure) = TestRunner::new(config).run(words, holds) {
        panic!("{failure}");
    }
}

/// Every option by each of its names, and some that are none.
fn option() -> impl Strategy<Value = &'static [u8]> {
    let words: &[&[u8]] = &[
        b"-s",
        b"-x",
        b"-e",
        b"-u",
        b"-n",
        b"-w",
        b"-E",
        b"-o",
        b"-F",
        b"-c",
        b"-h",
        b"-V",
        b"-",
        b"-nx",
        b"-ns",
        b"-w1",
        b"-E5",
        b"-nE",
        b"-nE7",
        b"-ow2",
        b"-sF",
        b"-z",
        b"-nz",
        b"-\xff",
        b"--shared",
        b"--exclusive",
        b"--unlock",
        b"--nonblock",
        b"--nb",
        b"--timeout",
        b"--wait",
        b"--timeout=1",
        b"--wait=x",
        b"--conflict-exit-code",
        b"--conflict-exit-code=300",
        b"--close",
        b"--no-fork",
        b"--command",
        b"--fcntl",
        b"--start",
        b"--start=0x10",
        b"--length",
        b"--length=1K",
        b"--fd",
        b"--fd=0",
        b"--fd=99",
        b"--verbose",
        b"--help",
        b"--version",
        b"--excl",
        b"--no",
        b"--s",
        b"--n",
        b"--shared=x",
        b"--nope",
        b"--",
        b"--=",
        b"---",
        b"--\xfe\xff",
    ];
    select(words)
}

/// What may stand behind an option, or be taken for an operand.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let words: &[&[u8]] = &[
        b"0",
        b"1",
        b"2",
        b"8",
        b"99",
        b"255",
        b"256",
        b"-1",
        b" 8",
        b"+8",
        b"08",
        b"8x",
        b"0x8",
        b"",
        b" ",
        b"0.001",
        b".5",
        b"1.",
        b".",
        b"1e1",
        b"1e400",
        b"-0",
        b"nan",
        b"inf",
        b"1s",
        b"150ms",
        b"1m30s",
        b"1KiB",
        b"2147483647",
        b"2147483648",
        b"9223372036854775808",
        b"99999999999999999999999",
        b"f",
        b"true",
        b"-c",
        b"--",
        b"\xff",
        b"bin",
    ];
    prop_oneof![
        6 => select(words).prop_map(<[u8]>::to_vec),
        1 => vec(1u8.., 0..12),
    ]
}

/// How a command line ends.
fn operands() -> impl Strategy<Value = Vec<&'static [u8]>> {
    let endings: &[&[&[u8]]] = &[
        &[],
        &[b"f"],
        &[b"f", b"true"],
        &[b"f", b"true", b"-n", b"--", b"x"],
        &[b"f", b"-c", b"true"],
        &[b"f", b"--command", b"true"],
        &[b"f", b"-c"],
        &[b"f", b"-c", b"true", b"true"],
        &[b"f", b"--", b"true"],
        &[b"--", b"f", b"true"],
        &[b"bin", b"true"],
        &[b"bin/f/g", b"true"],
        &[b"", b"true"],
        &[b"0"],
        &[b"7"],
        &[b"8", b"true"],
    ];
    select(endings).prop_map(<[&[u8]]>::to_vec)
}

fn command_line() -> impl Strategy<Value = Vec<OsString>> {
    let front = vec((option(), proptest::option::weighted(0.3, value())), 0..5);
    (front, operands()).prop_map(|(front, operands)| {
        let mut words = Vec::new();
        for (option, value) in front {
            words.push(os_string(option));
            words.extend(value.as_deref().map(os_string));
        }
        words.extend(operands.into_iter().map(os_string));
        words
    })
}

/// Runs `flock` on stdin that is nobody else's to lock.
fn run(env: &TestEnv, words: &[OsString]) -> Outcome {
    let mut flock = env.flock(words);
    flock.stdin(File::open(env.file("bin")).expect("bin/"));
    env.run_command(flock)
}

#[test]
fn every_command_line_ends_with_a_status_that_is_written_down() {
    for_all(300, &command_line(), |words| {
        let env = TestEnv::new();
        let outcome = run(&env, &words);
        let status = outcome.status.code();
        let written_down = [0, 1, 64, 65, 66, 69, 71, 73];
        // A line of shell has the shell's status for what it cannot find.
        let of_shell =
            |status| status == 127 && words.iter().any(|word| word == "-c" || word == "--command");
        assert!(
            status.is_some_and(|status| written_down.contains(&status) || of_shell(status)),
            "{words:?}: {outcome:?}"
        );
        assert!(!outcome.stderr_text().contains("panicked"), "{outcome:?}");
        if status == Some(64) {
            assert!(outcome.stderr_text().starts_with("flock: "), "{outcome:?}");
            assert!(outcome.stdout_text().is_empty(), "{outcome:?}");
            let left: Vec<OsString> = fs::read_dir(env.path())
                .expect("the folder")
                .map(|entry| entry.expect("an entry").file_name())
                .collect();
            assert_eq!(left, ["bin"], "a usage error makes no file");
        }
    });
}

#[test]
fn every_name_of_a_file_can_be_locked() {
    let name = vec(1u8.., 1..60);
    let env = TestEnv::new();
    for_all(60, &name, |mut name| {
        name.retain(|byte| *byte != b'/');
        let name = os_string(&name);
        if name.is_empty() {
            return;
        }
        run(&env, &["--".into(), name.clone(), "true".into()])
            .assert_status(0)
            .assert_stderr("");
        assert!(env.file(&name).exists(), "{name:?}");
    });
}

#[test]
fn every_conflict_status_from_0_to_255_is_given_back() {
    let form = select(&["", " ", "+", "0", "000", "  +0", "\t"][..]);
    let env = TestEnv::new();
    let _holder = env.hold(&[], "l");
    for_all(60, &(form, 0..=255i32), |(form, status)| {
        let status_word = format!("{form}{status}");
        run(
            &env,
            &[
                "-n".into(),
                "-E".into(),
                status_word.into(),
                "l".into(),
                "true".into(),
            ],
        )
        .assert_status(status)
        .assert_stderr("");
    });
}

#[test]
fn every_decimal_number_of_seconds_is_a_timeout() {
    let env = TestEnv::new();
    let number = (0..100_000u32, proptest::option::of("[0-9]{0,9}"));
    for_all(60, &number, |(whole, fraction)| {
        let point = if fraction.is_some() { "." } else { "" };
        let time = format!("{whole}{point}{}", fraction.unwrap_or_default());
        run(&env, &["-w".into(), time.into(), "l".into(), "true".into()])
            .assert_status(0)
            .assert_stderr("");
    });
}

#[test]
fn what_is_no_number_of_seconds_makes_no_file() {
    let env = TestEnv::new();
    let garbage = "[0-9]{0,3}[a-z]{0,3}!|[0-9]+,[0-9]+|[0-9]\\.[0-9]\\.[0-9]";
    let garbage = proptest::string::string_regex(garbage).expect("a pattern");
    for_all(60, &garbage, |time| {
        let operands = ["l", "true"].map(OsString::from);
        let [file, command] = operands.clone();
        run(&env, &[format!("-w{time}").into(), file, command]).assert_status(64);
        let [file, command] = operands;
        run(&env, &["--timeout".into(), time.into(), file, command]).assert_status(64);
        assert!(!env.file("l").exists());
    });
}
