use super::*;

fn args(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn usage_error(args: Vec<OsString>) -> String {
    let error = parse(args).expect_err("a usage error");
    error.message().to_string_lossy().into_owned()
}

#[test]
fn arguments_after_the_script_are_its_own() {
    let expected = Request {
        name: Name::new("/tmp/a".as_ref()).expect("a valid name"),
        command: Command::in_working_directory(args("./script -h --")).expect("a command"),
    };
    let parsed = parse(args("/tmp/a ./script -h --"));
    assert_eq!(parsed, Ok(ParseResult::Request(expected)));
}

#[test]
fn usage_errors_have_messages() {
    assert_eq!(usage_error(args("")), "missing LOCK_PATH");
    assert_eq!(usage_error(args("/tmp/a")), "missing SCRIPT_PATH");
    assert_eq!(usage_error(args("-x a b")), "invalid option -- 'x'");
    let empty = usage_error(vec!["".into(), "b".into()]);
    assert_eq!(empty, "invalid lock path: '' (expected 1 to 107 bytes)");
}

#[test]
fn a_path_that_is_too_long_is_an_error() {
    let args = |length: usize| vec!["x".repeat(length).into(), "b".into()];
    assert!(matches!(parse(args(107)), Ok(ParseResult::Request(_))));
    assert!(usage_error(args(108)).ends_with("(expected 1 to 107 bytes)"));
}
