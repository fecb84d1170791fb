use super::*;
use crate::tests::{args, request, usage_error};

fn read(line: &str) -> UlockOp {
    UlockOp::Read {
        counter: "c".into(),
        line: line.into(),
    }
}

#[test]
fn there_are_three_operations() {
    let counter = |name: Option<&str>| UlockOp::Write {
        counter: name.map(OsString::from),
    };
    for (line, op) in [
        ("l", UlockOp::Exclusive),
        ("-w l", counter(None)),
        ("-w l c", counter(Some("c"))),
        ("-r l c cat master", read("cat master")),
    ] {
        let request = request(parse, line);
        assert_eq!((request.lock, request.op), ("l".into(), op), "{line}");
    }
}

#[test]
fn options_may_be_anywhere_before_the_command() {
    for line in [
        "--timeout=5 -r l c grep -r -w x --timeout 9",
        "l -r c --timeout=5 grep -r -w x --timeout 9",
        "l c --timeout 5 -r grep -r -w x --timeout 9",
    ] {
        let Request { op, timeout, .. } = request(parse, line);
        assert_eq!(op, read("grep -r -w x --timeout 9"), "{line}");
        assert_eq!(timeout, Timeout::After(Duration::from_secs(5)), "{line}");
    }
    let timeout = request(parse, "l --timeout=0").timeout;
    assert_eq!(timeout, Timeout::After(Duration::ZERO));
    let op = request(parse, "l -w").op;
    assert_eq!(op, UlockOp::Write { counter: None });
}

#[test]
fn timeout_and_invalid_may_be_in_the_command() {
    for line in [
        "-r l c grep x --timeout=5 --invalid=7",
        "-r l c --timeout=9 grep --timeout=5 --invalid=7 x",
    ] {
        let request = request(parse, line);
        assert_eq!(request.op, read("grep x"), "{line}");
        assert_eq!(request.timeout, Timeout::After(Duration::from_secs(5)));
        assert_eq!(request.max_age, Duration::from_secs(7), "{line}");
    }
    let error = usage_error(parse, args("-r l c x --timeout=x"));
    assert!(error.starts_with("invalid timeout: 'x'"), "{error}");
}

#[test]
fn no_option_is_recognized_after_two_dashes() {
    for (line, command) in [
        ("-r l c x -- --timeout=5", "x -- --timeout=5"),
        ("-r l c -- x --timeout=5", "x --timeout=5"),
        ("-r -- l c x --timeout=5", "x --timeout=5"),
        ("-r l c x --timeout=", "x --timeout="),
        ("-r l c x --timeouts=5", "x --timeouts=5"),
    ] {
        let request = request(parse, line);
        assert_eq!(request.op, read(command), "{line}");
        assert_eq!(request.timeout, Timeout::Infinite, "{line}");
    }
}

#[test]
fn the_defaults_are_those_of_the_manual() {
    for (line, timeout, max_age) in [
        ("l", Timeout::Infinite, 60),
        ("--timeout=-1 l", Timeout::Infinite, 60),
        ("--invalid=5 l", Timeout::Infinite, 5),
    ] {
        let request = request(parse, line);
        let expected = (timeout, Duration::from_secs(max_age));
        assert_eq!((request.timeout, request.max_age), expected, "{line}");
    }
}

#[test]
fn usage_errors_have_messages() {
    let units = "a duration with the units ms, s, m, h or d, e.g. 1m30s";
    let expected = format!("expected seconds, e.g. 5 or 0.5, or {units}");
    let timeout = |value| format!("invalid timeout: '{value}' ({expected}, or -1 for no limit)");
    for (line, message) in [
        ("", "missing LOCK"),
        ("-w l l", "LOCK and COUNTER are the same file"),
        ("-r l l x", "LOCK and COUNTER are the same file"),
        ("-r -w l c x", "-r and -w are incompatible"),
        ("-r l", "-r requires COUNTER"),
        ("-r l c", "-r requires a command to run"),
        ("-w l c x", "a command requires -r"),
        ("l c", "COUNTER requires -w or -r"),
        ("--timeout=-2 l", &timeout("-2")),
        ("--invalid=-1 l", &format!("invalid age: '-1' ({expected})")),
        ("--timeout l", &timeout("l")),
    ] {
        assert_eq!(usage_error(parse, args(line)), message, "{line}");
    }
}
