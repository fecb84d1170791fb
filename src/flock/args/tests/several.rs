//! `--also` with URLs.

use super::*;

#[test]
fn several_urls_are_locks_elsewhere() {
    let request = remote_request("--also e://h/m --also=e://h/l e://h/n x");
    let also = Vec::from_iter(request.also.iter().map(Url::as_os_str));
    assert_eq!(also, ["e://h/m", "e://h/l"]);
}

#[test]
fn locks_that_cannot_be_one_are_rejected() {
    let mixed = "--also: a file and a lock elsewhere cannot be acquired as one; ";
    for line in ["--also e://n l x", "--also=l e://n x"] {
        assert_usage_error(line, mixed);
    }
    let scheme = "only if their URLs have the same scheme";
    assert_usage_error("--also f://n e://n x", scheme);
    assert_usage_error("--also e://u:p@h/m e://n x", "invalid URL: ");
    let many = |count| "--also e://m ".repeat(count) + "e://n x";
    assert_eq!(remote_request(&many(9)).also.len(), 9);
    assert_usage_error(&many(10), "at most 10 locks elsewhere");
    assert_usage_error(
        "--slots 2 --also e://m e://n x",
        "--slots cannot be used with ",
    );
    let text = "--also with a lock elsewhere requires a command";
    for line in ["--also e://m 8 e://n", "-u --also e://m 8 e://n"] {
        assert_usage_error(line, text);
    }
}
