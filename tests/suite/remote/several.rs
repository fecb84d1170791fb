//! Several locks elsewhere as one: what a helper is asked for, and what it must grant.

use test_support::TestEnv;

const TWO: [&str; 3] = ["--also", "test://b", "test://a"];

#[test]
fn helper_is_told_all_urls() {
    let env = TestEnv::with_lock_helper("echo granted 7,5,6 $(in_ms 60000)\nwait_for_release");
    let script = r#"echo "$FLOCK_TOKEN $FLOCK_URL""#;
    let args = ["--also", "test://c d"].iter().chain(&TWO);
    let outcome = env.run(args.chain(&["sh", "-c", script]));
    outcome.assert_all(0, "7\n5\n6 test://a\ntest://c d\ntest://b\n", "");
    let request = env.read_file("request");
    let expected = "flock 2\nurl test://a\nalso test://c d\nalso test://b\nmode exclusive\n";
    assert!(request.starts_with(expected), "{request}");
}

/// A helper that ignores the other URLs, or the number of tokens.
#[test]
fn grant_of_another_number_of_locks_is_refused() {
    let single = ["test://a"];
    for (args, tokens) in [(&TWO[..], "7"), (&TWO, "7,5,6"), (&single, "7,5")] {
        let helper = format!("echo granted {tokens} $(in_ms 60000)\nwait_for_release");
        let env = TestEnv::with_lock_helper(&helper);
        let outcome = env.run(args.iter().chain(&["echo", "never"]));
        let text = "flock: test://a: the helper has not granted each lock\n";
        outcome.assert_all(69, "", text);
    }
}

#[test]
fn error_of_several_locks_is_printed_as_it_is() {
    let env = TestEnv::with_lock_helper("echo error 66 test://b: no route");
    let outcome = env.run(TWO.iter().chain(&["echo", "never"]));
    outcome.assert_all(66, "", "flock: test://b: no route\n");
}
