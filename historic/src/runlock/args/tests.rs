use super::*;

fn args(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn usage_error(args: Vec<OsString>) -> String {
    let error = parse(args).expect_err("a usage error");
    error.message().to_string_lossy().into_owned()
}

#[test]
fn arguments_after_the_file_are_the_command() {
    let expected = Request {
        file: "job".into(),
        command: Command::new(args("c -h -- x")).expect("a command"),
    };
    assert_eq!(
        parse(args("job c -h -- x")),
        Ok(ParseResult::Request(expected))
    );
}

#[test]
fn usage_errors_have_messages() {
    assert_eq!(usage_error(args("")), "missing LOCKFILE");
    assert_eq!(usage_error(args("job")), "missing COMMAND");
    assert_eq!(
        usage_error(vec!["".into(), "c".into()]),
        "LOCKFILE is empty"
    );
    assert_eq!(usage_error(args("-n job c")), "invalid option -- 'n'");
}
