use super::*;

fn args(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn request_from(line: &str) -> Request {
    match parse(args(line)) {
        Ok(ParseResult::Request(request)) => request,
        other => panic!("{line}: {other:?}"),
    }
}

fn usage_error(line: &str) -> String {
    let error = parse(args(line)).expect_err(line);
    error.message().to_string_lossy().into_owned()
}

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
        let request = request_from(line);
        assert_eq!((request.lock, request.op), ("l".into(), op), "{line}");
    }
}

#[test]
fn options_may_be_anywhere_before_the_command() {
    for line in [
        "--timeout=5 -r l c grep -r -w x --timeout=9",
        "l -r c --timeout=5 grep -r -w x --timeout=9",
        "l c --timeout 5 -r grep -r -w x --timeout=9",
    ] {
        let request = request_from(line);
        assert_eq!(request.op, read("grep -r -w x --timeout=9"), "{line}");
        assert_eq!(
            request.timeout,
            Timeout::After(Duration::from_secs(5)),
            "{line}"
        );
    }
    assert_eq!(
        request_from("l --timeout=0").timeout,
        Timeout::After(Duration::ZERO)
    );
    assert_eq!(request_from("l -w").op, UlockOp::Write { counter: None });
}

#[test]
fn the_defaults_are_those_of_the_manual() {
    let request = request_from("l");
    assert_eq!(request.timeout, Timeout::Infinite);
    assert_eq!(request.max_age, Duration::from_secs(60));
    assert_eq!(request_from("--timeout=-1 l").timeout, Timeout::Infinite);
    assert_eq!(
        request_from("--invalid=5 l").max_age,
        Duration::from_secs(5)
    );
}

#[test]
fn usage_errors_have_messages() {
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
        assert_eq!(usage_error(line), message, "{line}");
    }
}
