use super::*;
use crate::tests::{args, request, usage_error};
use std::time::Duration;

#[test]
fn values_follow_an_equals_sign_or_a_space() {
    for line in ["-L=f -t=5 -- c", "-L f -t 5 -- c", "-Lf -t5 -- c"] {
        let Request {
            targets, timeout, ..
        } = request(parse, line);
        assert_eq!(targets, ["f"], "{line}");
        assert_eq!(timeout, Timeout::After(Duration::from_secs(5)), "{line}");
    }
    assert_eq!(request(parse, "-L==f -- c").targets, ["=f"]);
}

#[test]
fn t_overrides_w_and_the_default_is_not_to_wait() {
    let two_seconds = Timeout::After(Duration::from_secs(2));
    for (line, timeout) in [
        ("-L f -- c", Timeout::NonBlocking),
        ("-w -L f -- c", Timeout::Infinite),
        ("-t 2 -L f -- c", two_seconds),
        ("-w -t 2 -L f -- c", two_seconds),
        ("-t 2 -w -L f -- c", two_seconds),
    ] {
        assert_eq!(request(parse, line).timeout, timeout, "{line}");
    }
}

#[test]
fn verbose_after_quiet_is_normal() {
    for (line, verbosity) in [
        ("-L f -- c", Verbosity::Normal),
        ("-q -L f -- c", Verbosity::Quiet),
        ("-v -L f -- c", Verbosity::Verbose),
        ("-v -q -L f -- c", Verbosity::Quiet),
        ("-q -v -L f -- c", Verbosity::Normal),
    ] {
        assert_eq!(request(parse, line).verbosity, verbosity, "{line}");
    }
}

#[test]
fn all_locks_count_and_the_command_is_not_parsed() {
    let request = request(parse, "-L a -L=cpu -- c -L x -- -q");
    assert_eq!(request.targets, ["a", "cpu"]);
    assert_eq!(Some(request.command), Command::new(args("c -L x -- -q")));
}

#[test]
fn usage_errors_have_messages() {
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
        assert_eq!(usage_error(parse, args(line)), message, "{line}");
    }
    let time = usage_error(parse, args("-t soon -L f -- c"));
    assert!(time.starts_with("invalid time: 'soon' (expected seconds"));
    assert_eq!(
        usage_error(parse, args("-t -1 -L f -- c")),
        "invalid time: '-1' (to wait without a limit, use -w instead of -t)"
    );
}
