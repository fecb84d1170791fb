//! Random arguments: whatever the command line, `flock` exits with a documented status and creates
//! no file after a usage error.

use std::ffi::{OsStr, OsString};
use std::fs::File;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use test_support::{Outcome, TestEnv, os_string};

/// Options in all their spellings, and arguments that look like options.
const OPTIONS: &str =
    "-s -x -e -u -n -w -E -o -F -c -h -V - -nx -ns -w1 -E5 -nE -nE7 -ow2 -sF -z -nz
    --shared --exclusive --unlock --nonblock --nb --timeout --wait --timeout=1 --wait=x
    --conflict-exit-code --conflict-exit-code=300 --close --no-fork --command --fcntl --start
    --start=0x10 --length --length=1K --fd --fd=0 --fd=99 --verbose --help --version --excl --no
    --s --n --shared=x --nope -- --= ---";

/// Arguments after an option, which may also be taken for operands.
const VALUES: &str =
    "0 1 2 8 99 255 256 -1 +8 08 8x 0x8 0.001 .5 1. . 1e1 1e400 -0 nan inf 1s 150ms
    1m30s 1KiB 2147483647 2147483648 9223372036854775808 99999999999999999999999 f true -c -- bin";

/// Ends of command lines.
const OPERANDS: &str = "|f|f true|f true -n -- x|f -c true|f --command true|f -c|f -c true true|\
    f -- true|-- f true|bin true|bin/f/g true| true|0|7|8 true";

/// Returns one of the words, or one of these others.
fn word(words: &str, others: &[&[u8]]) -> impl Strategy<Value = OsString> + use<> {
    let words = words.split_whitespace().map(OsString::from);
    let others = others.iter().map(|bytes| os_string(bytes));
    select(words.chain(others).collect::<Vec<_>>())
}

fn command_line() -> impl Strategy<Value = Vec<OsString>> {
    let option = word(OPTIONS, &[b"-\xff", b"--\xfe\xff"]);
    let value = prop_oneof![
        6 => word(VALUES, &[b"", b" ", b" 8", b"\xff"]),
        1 => vec(1u8.., 0..12).prop_map(|bytes| os_string(&bytes)),
    ];
    let options = vec((option, proptest::option::weighted(0.3, value)), 0..5);
    let operands = select(Vec::from_iter(OPERANDS.split('|')));
    (options, operands).prop_map(|(options, operands)| {
        let options = options.into_iter();
        let options = options.flat_map(|(option, value)| [Some(option), value]);
        // Nothing has no operands, and a leading blank stands for an empty one.
        let operands = operands.split_terminator(' ').map(OsString::from);
        options.flatten().chain(operands).collect()
    })
}

/// Checks a property in this many cases, each of which runs at least one process.
fn for_all<S: Strategy>(cases: u32, strategy: &S, property: impl Fn(S::Value)) {
    let config = Config {
        cases,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let check = |value| {
        property(value);
        Ok(())
    };
    if let Err(failure) = TestRunner::new(config).run(strategy, check) {
        panic!("{failure}");
    }
}

/// Runs `flock` with a stdin that no other process locks.
fn run<A: AsRef<OsStr>>(env: &TestEnv, args: impl IntoIterator<Item = A>) -> Outcome {
    let mut flock = env.flock(args);
    flock.stdin(File::open(env.file("bin")).expect("bin"));
    env.run_command(flock)
}

#[test]
fn every_command_line_gives_a_documented_status() {
    for_all(300, &command_line(), |args| {
        let env = TestEnv::new();
        let outcome = run(&env, &args);
        let status = outcome.status.code();
        let documented = [0, 1, 64, 65, 66, 69, 71, 73].map(Some);
        // A shell has its own statuses for a command that it does not find, and for a line that it
        // takes for an option.
        let has_shell = args.iter().any(|arg| arg == "-c" || arg == "--command");
        assert!(
            documented.contains(&status) || has_shell && matches!(status, Some(2 | 127)),
            "{args:?}: {outcome:?}"
        );
        let stderr = outcome.stderr_text();
        assert!(!stderr.contains("panicked"), "{outcome:?}");
        if status == Some(64) {
            assert!(stderr.starts_with("flock: "), "{outcome:?}");
            assert!(outcome.stdout.is_empty(), "{outcome:?}");
            assert!(env.file_names().is_empty(), "{args:?}");
        }
    });
}

#[test]
fn every_file_name_can_be_locked() {
    let name = vec(1u8.., 1..60);
    let env = TestEnv::new();
    for_all(60, &name, |mut name| {
        name.retain(|byte| *byte != b'/');
        let name = os_string(&name);
        if name.is_empty() {
            return;
        }
        run(&env, ["--".as_ref(), &*name, "true".as_ref()]).assert_all(0, "", "");
        assert!(env.file(&name).exists(), "{name:?}");
    });
}

#[test]
fn every_conflict_status_up_to_255_is_returned() {
    let prefix = select(&["", " ", "+", "0", "000", "  +0", "\t"][..]);
    let env = TestEnv::new();
    let _holder = env.hold(&[], "l");
    for_all(60, &(prefix, 0..=255i32), |(prefix, status)| {
        let argument = format!("{prefix}{status}");
        run(&env, ["-n", "-E", &argument, "l", "true"]).assert_all(status, "", "");
    });
}

#[test]
fn every_decimal_number_is_a_timeout() {
    let env = TestEnv::new();
    let number = (0..100_000u32, proptest::option::of("[0-9]{0,9}"));
    for_all(60, &number, |(whole, fraction)| {
        let fraction = fraction.map_or_else(String::new, |digits| format!(".{digits}"));
        run(&env, ["-w", &format!("{whole}{fraction}"), "l", "true"]).assert_all(0, "", "");
    });
}

#[test]
fn invalid_timeout_creates_no_file() {
    let env = TestEnv::new();
    let invalid = "[0-9]{0,3}[a-z]{0,3}!|[0-9]+,[0-9]+|[0-9]\\.[0-9]\\.[0-9]";
    let invalid = proptest::string::string_regex(invalid).expect("a pattern");
    for_all(60, &invalid, |time| {
        run(&env, [&format!("-w{time}"), "l", "true"]).assert_status(64);
        run(&env, ["--timeout", &time, "l", "true"]).assert_status(64);
        assert!(!env.file("l").exists());
    });
}
