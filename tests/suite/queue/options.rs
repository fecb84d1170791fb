//! `--fair` and `--slots` on the command line.

use super::{FAIR, ONE_SLOT};
use rstest::rstest;
use test_support::TestEnv;

#[rstest]
#[case::fair(
    "--fair",
    &["--fa", "--fai", "--fairr", "--Fair"],
    "exec 8>l 9>l; flock --fair 8; flock --fair -n 9; echo $?
    flock --u 8; flock --fair -n 9; echo $?
    flock --u 9; flock --sh 8; flock --sh 9; flock --u 9; flock --fd 8 true; flock --fc 9; echo $?",
    "1\n0\n0\n"
)]
#[case::slots(
    "--slots",
    &["--sl", "--slo", "--slot", "--slotss", "--Slots"],
    "exec 8>l 9>l; flock --sh 8; flock --sha -n 9; echo $?
    flock --st 0 --len 1 8; echo $?; flock --u 9; echo $?",
    "0\n0\n0\n"
)]
fn option_has_no_abbreviation(
    #[case] option: &str,
    #[case] misspellings: &[&str],
    #[case] other_abbreviations: &str,
    #[case] statuses: &str,
) {
    let env = TestEnv::new();
    assert!(env.supports_option(option));
    for word in misspellings {
        let message = format!(
            "flock: unrecognized option '{word}'\nTry 'flock --help' for more information.\n"
        );
        env.run([word, "l", "true"]).assert_all(64, "", &message);
    }
    assert!(env.file_names().is_empty());
    // Abbreviations of the other options are as unambiguous as before.
    env.sh(other_abbreviations).assert_all(0, statuses, "");
}

#[rstest]
fn ambiguous_abbreviation_is_rejected(#[values("--s", "--f")] option: &str) {
    let outcome = TestEnv::new().run([option, "l", "true"]).assert_status(64);
    let expected = format!("flock: option '{option}' is ambiguous");
    assert!(outcome.stderr_text().starts_with(&expected), "{outcome:?}");
}

#[rstest]
fn missing_command_leaves_no_file(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = TestEnv::new();
    let message = "flock: failed to execute no-such-command: No such file or directory\n";
    env.run([queue, "l", "no-such-command"])
        .assert_all(69, "", message);
    env.run([queue, "no/l", "true"]).assert_status(66);
    assert!(env.file_names().is_empty());
}
