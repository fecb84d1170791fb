//! `--fair` on the command line.

use crate::queue::{
    assert_clean, assert_queue_len, assert_served, assert_usage_error, spawn_waiting_holder,
};
use rstest::rstest;
use test_support::TestEnv;
use test_support::process::Process;

#[rstest]
fn fair_excludes_fcntl_locks(
    #[values("--fcntl", "--start 0", "--length 5")] other: &str,
    #[values("l true", "8", "--fd 8 true")] rest: &str,
) {
    let env = &TestEnv::new();
    for options in [format!("--fair {other}"), format!("{other} --fair")] {
        let args = format!("{options} {rest}");
        assert_usage_error(env, env.run(args.split(' ')), &["--fair"]);
    }
}

#[rstest]
#[case("--fair= l true", &["--fair", "argument"])]
#[case("--fair=yes l true", &["--fair", "argument"])]
#[case("--fair 8x", &["8x"])]
fn malformed_argument_is_a_usage_error(#[case] args: &str, #[case] texts: &[&str]) {
    let env = &TestEnv::new();
    assert_usage_error(env, env.run(args.split(' ')), texts);
}

#[test]
fn fair_may_be_repeated_anywhere_before_the_file() {
    let env = TestEnv::new();
    for options in ["--fair --fair -n l", "-n --fair l", "--fair -xn -- l"] {
        env.run(options.split(' ').chain(["echo", "ran"]))
            .assert_all(0, "ran\n", "");
    }
    // After the file it is the command.
    env.run(["l", "--fair"]).assert_status(69);
}

#[test]
fn last_mode_wins_with_fair() {
    let env = &TestEnv::new();
    let holder = env.hold(&["--fair"], "l");
    let mut readers = [&["-x", "--fair", "-s"][..], &["--fair", "-xs"]]
        .map(|options| spawn_waiting_holder(env, options));
    let writer = spawn_waiting_holder(env, &["-s", "--fair", "-x"]);
    holder.release();
    let expect_held = |reader: &mut Process| reader.expect_line("held");
    readers.iter_mut().for_each(expect_held);
    assert_queue_len(env, 1);
    readers.into_iter().for_each(Process::release);
    assert_served(writer);
    assert_clean(env, &[]);
}

#[rstest]
fn bad_descriptor_is_reported(#[values("8", "--fd 8 true", "0 <&-", "77")] args: &str) {
    let env = TestEnv::new();
    let outcome = env.sh(format!("flock --fair {args}; exit $?"));
    let outcome = outcome.assert_status(65);
    let stderr = outcome.stderr_text();
    assert!(stderr.ends_with(": Bad file descriptor\n"), "{stderr}");
    assert!(env.file_names().is_empty());
}

#[test]
fn help_lists_fair() {
    test_support::builtin::for_each_bash(|env| {
        for script in ["bin/flock --help", "flock --help", "help flock"] {
            let help = env.run_with_builtin(script).assert_status(0).stdout_text();
            assert!(help.contains("--fair"), "{script}: {help}");
        }
    });
}
