use super::*;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn refused(words: Vec<OsString>) -> String {
    let usage = parse(words).expect_err("no request");
    usage.message().to_string_lossy().into_owned()
}

#[test]
fn everything_behind_the_file_is_the_commands_own() {
    let wanted = Request {
        file: "job".into(),
        command: Command::new(words("c -h -- x")).expect("words"),
    };
    assert_eq!(
        parse(words("job c -h -- x")),
        Ok(ParseResult::Request(wanted))
    );
}

#[test]
fn what_is_wrong_is_said() {
    assert_eq!(refused(words("")), "missing LOCKFILE");
    assert_eq!(refused(words("job")), "missing COMMAND");
    assert_eq!(refused(vec!["".into(), "c".into()]), "LOCKFILE is empty");
    assert_eq!(refused(words("-n job c")), "invalid option -- 'n'");
}
