use super::*;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn refused(words: Vec<OsString>) -> String {
    let usage = parse(words).expect_err("no request");
    usage.message().to_string_lossy().into_owned()
}

#[test]
fn everything_behind_the_script_is_its_own() {
    let wanted = Request {
        name: Name::new("/tmp/a".as_ref()).expect("a name"),
        command: Command::in_working_directory(words("./script -h --")).expect("words"),
    };
    let asked = parse(words("/tmp/a ./script -h --"));
    assert_eq!(asked, Ok(ParseResult::Request(wanted)));
}

#[test]
fn what_is_wrong_is_said() {
    assert_eq!(refused(words("")), "missing LOCK_PATH");
    assert_eq!(refused(words("/tmp/a")), "missing SCRIPT_PATH");
    assert_eq!(refused(words("-x a b")), "invalid option -- 'x'");
    let empty = refused(vec!["".into(), "b".into()]);
    assert_eq!(empty, "invalid lock path: '' (expected 1 to 107 bytes)");
}

#[test]
fn a_path_that_would_have_to_be_cut_off_is_refused() {
    let of = |length: usize| vec!["x".repeat(length).into(), "b".into()];
    assert!(matches!(parse(of(107)), Ok(ParseResult::Request(_))));
    assert!(refused(of(108)).ends_with("(expected 1 to 107 bytes)"));
}
