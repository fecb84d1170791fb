//! `--slots` on the command line: its argument, and its combinations with other options.

use super::{assert_try, held_slots, hold_slot};
use crate::queue::assert_usage_error;
use rstest::rstest;
use test_support::TestEnv;

#[test]
fn number_of_slots_is_at_least_one() {
    let env = &TestEnv::new();
    let malformed = "0 00 -1 x 2x 1.5 0x2 99999999999999999999".split(' ');
    for number in malformed.chain([" ", "2 "]) {
        assert_usage_error(env, env.run(["--slots", number, "l", "true"]), &[number]);
        let joined = format!("--slots={number}");
        assert_usage_error(env, env.run([&joined, "l", "true"]), &[number]);
    }
    assert_usage_error(env, env.run(["--slots", "", "l", "true"]), &[]);
    assert_usage_error(env, env.run(["--slots=", "l", "true"]), &[]);
    assert_usage_error(env, env.run(["--slots"]), &["--slots", "argument"]);
    for number in ["1", "+1", " 1", "01", "2147483647"] {
        env.run(["--slots", number, "l", "echo", "ran"])
            .assert_all(0, "ran\n", "");
    }
}

#[test]
fn last_number_of_slots_wins() {
    let env = &TestEnv::new();
    let _holder = hold_slot(env, "1");
    for (args, status) in [("--slots 1 -n --slots 2", 0), ("--slots 2 -n --slots=1", 1)] {
        env.run(format!("{args} l true").split(' '))
            .assert_all(status, "", "");
    }
}

#[rstest]
#[case("--slots 2 8", &["--slots"])]
#[case("--slots 2 --fd 8 true", &["--slots"])]
#[case("--fd 8 --slots 2 true", &["--slots"])]
#[case("-n --slots=2 0", &["--slots"])]
#[case("--slots 2 -oF l true", &["--no-fork", "--close"])]
fn incompatible_arguments_are_rejected(#[case] args: &str, #[case] texts: &[&str]) {
    let env = &TestEnv::new();
    assert_usage_error(env, env.run(args.split(' ')), texts);
}

#[rstest]
fn slots_exclude_other_kinds_of_locks(
    #[values(
        "-s",
        "--shared",
        "-u",
        "--unlock",
        "--also a",
        "--unlink",
        "--fcntl",
        "--start 0",
        "--length 1"
    )]
    other: &str,
) {
    let env = &TestEnv::new();
    for args in [
        format!("--slots 2 {other} l true"),
        format!("{other} --slots 2 l true"),
    ] {
        assert_usage_error(env, env.run(args.split(' ')), &["--slots"]);
    }
}

#[rstest]
fn slots_can_be_combined_with_other_options(
    #[values("-x", "-e", "-n", "-w1000", "-o", "-F", "-E9")] option: &str,
    #[values(&["--", "l", "echo", "ran"], &["l", "-c", "echo ran"])] command: &[&str],
) {
    let env = &TestEnv::new();
    for options in [["--slots", "2", option], [option, "--slots", "2"]] {
        env.run(options.iter().chain(command))
            .assert_all(0, "ran\n", "");
    }
    assert_eq!(held_slots(env), []);
    assert_try(env, "1", 0);
}
