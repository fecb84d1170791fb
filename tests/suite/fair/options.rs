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
fn fair_has_no_argument(#[values("--fair=", "--fair=yes")] option: &str) {
    let env = &TestEnv::new();
    let outcome = env.run([option, "l", "true"]);
    assert_usage_error(env, outcome, &["--fair", "argument"]);
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
    for reader in &mut readers {
        reader.expect_line("held");
    }
    assert_queue_len(env, 1);
    readers.into_iter().for_each(Process::release);
    assert_served(writer);
    assert_clean(env, &[]);
}

#[rstest]
#[case("flock --fair 8")]
#[case("flock --fair --fd 8 true")]
#[case("flock --fair 0 <&-")]
#[case("flock --fair 77")]
fn bad_descriptor_is_reported(#[case] call: &str) {
    let env = TestEnv::new();
    let outcome = env.sh(format!("{call}; exit $?")).assert_status(65);
    let stderr = outcome.stderr_text();
    assert!(stderr.ends_with(": Bad file descriptor\n"), "{stderr}");
    assert!(env.file_names().is_empty());
}

#[test]
fn malformed_descriptor_is_a_usage_error() {
    let env = &TestEnv::new();
    assert_usage_error(env, env.run(["--fair", "8x"]), &["8x"]);
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
