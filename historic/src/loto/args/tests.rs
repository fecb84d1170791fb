use super::*;
use std::time::Duration;

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

#[test]
fn values_follow_an_equals_sign_or_a_blank() {
    for line in ["-L=f -t=5 -- c", "-L f -t 5 -- c", "-Lf -t5 -- c"] {
        let request = asked(line);
        assert_eq!(request.files, ["f"], "{line}");
        assert_eq!(
            request.wait,
            Timeout::After(Duration::from_secs(5)),
            "{line}"
        );
    }
    assert_eq!(asked("-L==f -- c").files, ["=f"]);
}

#[test]
fn without_w_or_t_nobody_waits_and_t_limits_w() {
    let limit = Timeout::After(Duration::from_secs(2));
    for (line, wait) in [
        ("-L f -- c", Timeout::NonBlocking),
        ("-w -L f -- c", Timeout::Infinite),
        ("-t 2 -L f -- c", limit),
        ("-w -t 2 -L f -- c", limit),
        ("-t 2 -w -L f -- c", limit),
    ] {
        assert_eq!(asked(line).wait, wait, "{line}");
    }
}

#[test]
fn quiet_and_verbose_meet_in_the_middle() {
    for (line, verbosity) in [
        ("-L f -- c", Verbosity::Normal),
        ("-q -L f -- c", Verbosity::Quiet),
        ("-v -L f -- c", Verbosity::Verbose),
        ("-v -q -L f -- c", Verbosity::Quiet),
        ("-q -v -L f -- c", Verbosity::Normal),
    ] {
        assert_eq!(asked(line).verbosity, verbosity, "{line}");
    }
}

#[test]
fn every_lock_counts_and_the_command_is_untouched() {
    let request = asked("-L a -L=cpu -- c -L x -- -q");
    assert_eq!(request.files, ["a", "cpu"]);
    assert_eq!(
        request.command,
        Command::new(words("c -L x -- -q")).expect("words")
    );
}

#[test]
fn what_is_wrong_is_said() {
    for (line, message) in [
        ("", "missing -L FILE"),
        ("-- c", "missing -L FILE"),
        ("-L f", "missing command after --"),
        ("-L f --", "missing command after --"),
        ("-L", "option requires an argument -- 'L'"),
        ("-L -- c", "option requires an argument -- 'L'"),
        ("-L= -- c", "-L requires the name of a file or resource"),
        ("-L f c", "not an option: 'c' (the command must follow --)"),
        (
            "-L my file -- c",
            "not an option: 'file' (the command must follow --)",
        ),
        ("-z -L f -- c", "invalid option -- 'z'"),
    ] {
        assert_eq!(refused(line), message, "{line}");
    }
    assert!(refused("-t soon -L f -- c").starts_with("invalid time: 'soon' (expected seconds"));
}
