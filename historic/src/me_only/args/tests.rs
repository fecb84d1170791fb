use super::*;
use crate::tests::{args, request, usage_error};

#[test]
fn arguments_after_the_script_are_its_own() {
    let Request { name, command } = request(parse, "/tmp/a ./script -h --");
    assert_eq!(Some(name), Name::new("/tmp/a".as_ref()));
    let script = Command::in_working_directory(args("./script -h --"));
    assert_eq!(Some(command), script);
}

#[test]
fn usage_errors_have_messages() {
    for (args, message) in [
        (args(""), "missing LOCK_PATH"),
        (args("/tmp/a"), "missing SCRIPT_PATH"),
        (args("-x a b"), "invalid option -- 'x'"),
        (
            vec!["".into(), "b".into()],
            "invalid lock path: '' (expected 1 to 107 bytes)",
        ),
    ] {
        assert_eq!(usage_error(parse, args), message);
    }
}

#[test]
fn a_path_that_is_too_long_is_an_error() {
    let args = |length: usize| vec!["x".repeat(length).into(), "b".into()];
    assert!(matches!(parse(args(107)), Ok(ParseResult::Request(_))));
    assert!(usage_error(parse, args(108)).ends_with("(expected 1 to 107 bytes)"));
}
