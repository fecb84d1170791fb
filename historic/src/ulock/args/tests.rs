use super::*;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn asked(line: &str) -> Request {
    match parse(words(line)) {
        Ok(ParseResult::Request(request)) => request,
        other => panic!("{line}: {other:?}"),
    }
}

fn refused(line: &str) -> String {
    let usage = parse(words(line)).expect_err(line);
    usage.message().to_string_lossy().into_owned()
}

fn read(line: &str) -> UlockOp {
    UlockOp::Read {
        counter: "c".into(),
        line: line.into(),
    }
}

#[test]
fn there_are_three_forms() {
    let counter = |name: Option<&str>| UlockOp::Write {
        counter: name.map(OsString::from),
    };
    for (line, op) in [
        ("l", UlockOp::Exclusive),
        ("-w l", counter(None)),
        ("-w l c", counter(Some("c"))),
        ("-r l c cat master", read("cat master")),
    ] {
        let request = asked(line);
        assert_eq!((request.lock, request.op), ("l".into(), op), "{line}");
    }
}

#[test]
fn options_stand_anywhere_before_the_command_and_its_own_stay_its_own() {
    for line in [
        "--timeout=5 -r l c grep -r -w x --timeout=9",
        "l -r c --timeout=5 grep -r -w x --timeout=9",
        "l c --timeout 5 -r grep -r -w x --timeout=9",
    ] {
        let request = asked(line);
        assert_eq!(request.op, read("grep -r -w x --timeout=9"), "{line}");
        assert_eq!(
            request.wait,
            Timeout::After(Duration::from_secs(5)),
            "{line}"
        );
    }
    assert_eq!(asked("l --timeout=0").wait, Timeout::After(Duration::ZERO));
    assert_eq!(asked("l -w").op, UlockOp::Write { counter: None });
}

#[test]
fn the_times_have_the_defaults_of_the_page() {
    let request = asked("l");
    assert_eq!(request.wait, Timeout::Infinite);
    assert_eq!(request.invalid, Duration::from_secs(60));
    assert_eq!(asked("--timeout=-1 l").wait, Timeout::Infinite);
    assert_eq!(asked("--invalid=5 l").invalid, Duration::from_secs(5));
}

#[test]
fn what_is_wrong_is_said() {
    for (line, message) in [
        ("", "missing LOCK"),
        ("-w l l", "LOCK and COUNTER are the same file"),
        ("-r l l x", "LOCK and COUNTER are the same file"),
        ("-r -w l c x", "-r and -w are incompatible"),
        ("-r l", "-r requires COUNTER"),
        ("-r l c", "-r requires a command to run"),
        ("-w l c x", "a command requires -r"),
        ("l c", "COUNTER requires -w or -r"),
        (
            "--timeout=-2 l",
            "invalid timeout: '-2' (expected seconds, or -1 for no limit)",
        ),
        (
            "--invalid=-1 l",
            "invalid age: '-1' (expected seconds, e.g. 60)",
        ),
        (
            "--timeout l",
            "invalid timeout: 'l' (expected seconds, or -1 for no limit)",
        ),
    ] {
        assert_eq!(refused(line), message, "{line}");
    }
}
