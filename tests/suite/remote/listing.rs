//! `--who` for locks elsewhere, with scripts as helpers.

use rstest::rstest;
use test_support::TestEnv;

/// A helper that lists a holder and two waiters, the last of which is another program's.
const LISTS: &str = "echo entry holder exclusive 7 100 42 db1 ann sync --all
    echo entry waiter shared 8 100 4711 build7 bob make
    echo entry waiter exclusive - - - - - -
    echo end";

#[test]
fn holders_and_waiters_are_listed() {
    let env = TestEnv::with_lock_helper(LISTS);
    let outcome = env.run(["--who", "test://h/n"]);
    let outcome = outcome.assert_stderr("").assert_status(0);
    let stdout = outcome.stdout_text();
    let words = |line: &str| Vec::from_iter(line.split_whitespace().map(str::to_owned));
    let lines = Vec::from_iter(stdout.lines().map(words));
    assert_eq!(lines.len(), 4, "{stdout}");
    let head = "ROLE MODE TOKEN HOST PID USER TIME COMMAND";
    assert_eq!(lines[0].join(" "), head);
    assert_eq!(lines[1][..6].join(" "), "holder exclusive 7 db1 42 ann");
    assert!(
        stdout
            .lines()
            .nth(1)
            .is_some_and(|line| line.ends_with("  sync --all"))
    );
    assert_eq!(lines[3].join(" "), "waiter exclusive - - - - - -");
    assert!(
        env.read_file("request")
            .contains("url test://h/n\nmode list\n")
    );
}

#[test]
fn list_can_be_json() {
    let env = TestEnv::with_lock_helper(LISTS);
    let outcome = env.run(["--who", "--json", "test://h/n"]);
    let expected = r#"[
{"url":"test://h/n","role":"holder","mode":"exclusive","token":7,"host":"db1","pid":42,"user":"ann","since":100,"command":"sync --all"},
{"url":"test://h/n","role":"waiter","mode":"shared","token":8,"host":"build7","pid":4711,"user":"bob","since":100,"command":"make"},
{"url":"test://h/n","role":"waiter","mode":"exclusive","token":null,"host":null,"pid":null,"user":null,"since":null,"command":null}
]
"#;
    outcome.assert_all(0, expected, "");
}

#[rstest]
#[case::table(&["--who"], "")]
#[case::json(&["--who", "--json"], "[]\n")]
fn free_lock_has_a_status(#[case] options: &[&str], #[case] expected: &str) {
    let env = TestEnv::with_lock_helper("echo end");
    let outcome = env.run(options.iter().chain(&["test://n"]));
    outcome.assert_all(1, expected, "");
}

#[rstest]
#[case::error("echo error 66 no route", 66, "no route")]
#[case::other_line("echo granted 7 $(in_ms 60000)", 69, "the helper cannot list locks")]
#[case::incomplete("echo entry holder shared 7 8 9 h u c", 69, "the helper has exited")]
fn failure_of_the_helper_is_reported(
    #[case] helper: &str,
    #[case] status: i32,
    #[case] text: &str,
) {
    let env = TestEnv::with_lock_helper(helper);
    let outcome = env.run(["--who", "test://n"]).assert_status(status);
    let stderr = outcome.assert_stdout("").stderr_text();
    assert!(
        stderr.starts_with(&format!("flock: test://n: {text}")),
        "{stderr}"
    );
}

#[test]
fn list_is_no_grant() {
    let env = TestEnv::with_lock_helper("echo end");
    let outcome = env.run(["test://n", "echo", "never"]).assert_status(69);
    outcome.assert_stdout("");
}

#[rstest]
#[case::several(&["--who", "test://n", "test://m"], "only one lock elsewhere")]
#[case::file(&["--who", "l", "test://m"], "only one lock elsewhere")]
#[case::pids(&["--who", "--pids", "test://n"], "--pids does not support")]
#[case::watch(&["--who", "--watch", "test://n"], "--watch does not support")]
#[case::password(&["--who", "test://ann:x@h/n"], "password")]
fn list_has_usage_errors(#[case] args: &[&str], #[case] text: &str) {
    let env = TestEnv::with_lock_helper(LISTS);
    let outcome = env.run(args).assert_status(64);
    let stderr = outcome.assert_stdout("").stderr_text();
    assert!(stderr.contains(text), "{stderr}");
}
