//! `--slots` on the command line: its argument, and its combinations with other options.

use super::{assert_try, held_slots, hold_slot};
use crate::queue::assert_usage_error;
use rstest::rstest;
use test_support::TestEnv;

#[test]
fn number_of_slots_is_at_least_one() {
    let env = &TestEnv::new();
    for number in [
        "0",
        "00",
        "-1",
        "x",
        "2x",
        "1.5",
        "0x2",
        " ",
        "2 ",
        "99999999999999999999",
    ] {
        assert_usage_error(env, env.run(["--slots", number, "l", "true"]), &[number]);
        let joined = format!("--slots={number}");
        assert_usage_error(env, env.run([&joined, "l", "true"]), &[number]);
    }
    assert_usage_error(env, env.run(["--slots", "", "l", "true"]), &[]);
    assert_usage_error(env, env.run(["--slots=", "l", "true"]), &[]);
    assert_usage_error(env, env.run(["--slots"]), &["--slots", "argument"]);
    for number in ["1", "+1", " 1", "01", "2147483647"] {
        env.run(["--slots", number, "l", "echo", "ran"])
            .assert_stderr("")
            .assert_stdout("ran\n");
    }
}

#[test]
fn last_number_of_slots_wins() {
    let env = &TestEnv::new();
    let _holder = hold_slot(env, "1");
    env.run(["--slots", "1", "-n", "--slots", "2", "l", "true"])
        .assert_status(0);
    env.run(["--slots", "2", "-n", "--slots=1", "l", "true"])
        .assert_status(1);
}

#[rstest]
#[case(&["--slots", "2", "8"])]
#[case(&["--slots", "2", "--fd", "8", "true"])]
#[case(&["--fd", "8", "--slots", "2", "true"])]
#[case(&["-n", "--slots=2", "0"])]
fn slots_require_file_and_command(#[case] args: &[&str]) {
    let env = &TestEnv::new();
    assert_usage_error(env, env.run(args), &["--slots"]);
}

#[rstest]
fn slots_exclude_other_kinds_of_locks(
    #[values(
        &["-s"], &["--shared"], &["-u"], &["--unlock"], &["--also", "a"], &["--unlink"],
        &["--fcntl"], &["--start", "0"], &["--length", "1"]
    )]
    other: &[&str],
) {
    let env = &TestEnv::new();
    let slots: &[&str] = &["--slots", "2"];
    for options in [[slots, other], [other, slots]] {
        let args = [options[0], options[1], &["l", "true"]].concat();
        assert_usage_error(env, env.run(args), &["--slots"]);
    }
}

#[test]
fn close_and_no_fork_exclude_each_other_with_slots() {
    let env = &TestEnv::new();
    let outcome = env.run(["--slots", "2", "-oF", "l", "true"]);
    assert_usage_error(env, outcome, &["--no-fork", "--close"]);
}

#[test]
fn slots_has_no_abbreviation() {
    let env = TestEnv::new();
    assert!(env.supports_option("--slots"));
    for option in ["--sl", "--slo", "--slot", "--slotss", "--Slots"] {
        env.run([option, "2", "l", "true"])
            .assert_status(64)
            .assert_stderr(&format!(
                "flock: unrecognized option '{option}'\nTry 'flock --help' for more information.\n"
            ));
    }
    assert!(env.file_names().is_empty());
    // Abbreviations of the other options are as unambiguous, or as ambiguous, as before.
    env.sh(
        "exec 8>l 9>l; flock --sh 8; flock --sha -n 9; echo $?; flock --st 0 --len 1 8; echo $?
        flock --u 9; echo $?",
    )
    .assert_stderr("")
    .assert_stdout("0\n0\n0\n");
    for option in ["--s", "--f"] {
        let outcome = env.run([option, "l", "true"]).assert_status(64);
        let expected = format!("flock: option '{option}' is ambiguous");
        assert!(outcome.stderr_text().starts_with(&expected), "{outcome:?}");
    }
}

#[rstest]
#[case(&["--slots", "2", "-x"])]
#[case(&["-e", "--slots", "2"])]
#[case(&["-n", "--slots", "2"])]
#[case(&["-w1000", "--slots", "2"])]
#[case(&["-o", "--slots", "2"])]
#[case(&["-F", "--slots", "2"])]
#[case(&["-E9", "--slots", "2"])]
#[case(&["--slots", "2", "--"])]
fn slots_can_be_combined_with_other_options(#[case] options: &[&str]) {
    let env = &TestEnv::new();
    for command in [&["l", "echo", "ran"][..], &["l", "-c", "echo ran"]] {
        env.run(options.iter().chain(command))
            .assert_stderr("")
            .assert_stdout("ran\n")
            .assert_status(0);
    }
    assert_eq!(held_slots(env), []);
    assert_try(env, "1", 0);
}
