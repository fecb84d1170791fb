use super::*;
use crate::tests::{args, request, usage_error};

#[test]
fn arguments_after_the_file_are_the_command() {
    let Request { file, command } = request(parse, "job c -h -- x");
    assert_eq!(file, "job");
    assert_eq!(Some(command), Command::new(args("c -h -- x")));
}

#[test]
fn usage_errors_have_messages() {
    for (args, message) in [
        (args(""), "missing LOCKFILE"),
        (args("job"), "missing COMMAND"),
        (vec!["".into(), "c".into()], "LOCKFILE is empty"),
        (args("-n job c"), "invalid option -- 'n'"),
    ] {
        assert_eq!(usage_error(parse, args), message);
    }
}
