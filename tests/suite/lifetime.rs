//! How long a lock is held: until it is released, or its open file description is closed.

use rstest::rstest;
use test_support::TestEnv;
use test_support::locks::assert_lock_count;
use test_support::process::ExitReason;

use crate::fcntl::lock_kinds;

#[rstest]
#[case::unlocking_one_descriptor_keeps_the_lock_of_another_file(
    "exec 7>k 8>l; flock 7; flock 8; flock -u 8
     flock -n l true; echo $?; flock -n k true; echo $?",
    "0\n1\n"
)]
#[case::unlocking_an_unlocked_descriptor_keeps_that_of_another(
    "exec 8>l 9>l; flock 8; flock -u 9; echo $?; flock -n l true; echo $?",
    "0\n1\n"
)]
#[case::unlocking_a_free_lock_succeeds("exec 8>l; flock -u 8; echo $?", "0\n")]
#[case::unlocking_a_free_path_succeeds("flock -u l echo ran", "ran\n")]
#[case::unlocking_a_path_neither_waits_nor_releases_a_lock(
    "flock l flock -u l sh -c 'echo ran; flock -n l true; echo $?'",
    "ran\n1\n"
)]
#[case::a_subshell_can_unlock_an_inherited_descriptor(
    "exec 8>l; flock 8; (flock -u 8); flock -n l true; echo $?",
    "0\n"
)]
#[case::the_command_can_unlock_its_descriptor(
    "flock l sh -c 'flock -n l true; echo $?; flock -u 3; flock -n l true; echo $?'",
    "1\n0\n"
)]
#[case::the_end_of_a_subshell_releases_the_lock(
    "(flock 8; flock -n l true; echo $?) 8>l; flock -n l true; echo $?",
    "1\n0\n"
)]
#[case::closing_the_last_descriptor_releases_the_lock(
    "exec 8>l; flock 8; exec 9>&8 8>&-; flock -n l true; echo $?
     exec 9>&-; flock -n l true; echo $?",
    "1\n0\n"
)]
#[case::closing_another_description_keeps_the_lock(
    "exec 8>l 9>l; flock 8; exec 9>&-; flock -n l true; echo $?",
    "1\n"
)]
fn lock_lasts_until_unlocked_or_closed(#[case] script: &str, #[case] stdout: &str) {
    TestEnv::new().sh(script).assert_all(0, stdout, "");
}

#[test]
fn a_background_process_keeps_an_inherited_lock() {
    let env = TestEnv::new();
    for kind in lock_kinds(&env) {
        env.sh(format!(
            "rm -f end; mkfifo end; exec 8<>l; flock {kind} 8
             read x <end & exec 8>&-
             flock {kind} -n l true; echo $?
             echo >end; wait; flock {kind} -n l true; echo $?"
        ))
        .assert_stdout("1\n0\n");
    }
}

#[test]
fn background_processes_of_the_command_keep_the_lock() {
    let env = TestEnv::new();
    for (option, status) in [("-x", 1), ("-o", 0)] {
        env.sh(format!(
            "rm -f end; mkfifo end; flock {option} l sh -c 'read x <end &'
             flock -n l true; echo $?
             echo >end; flock l true; echo $?"
        ))
        .assert_all(0, &format!("{status}\n0\n"), "");
    }
}

#[test]
fn the_command_keeps_the_lock_when_flock_is_killed() {
    let env = TestEnv::new();
    for kind in lock_kinds(&env) {
        let mut flock = env.hold(&[kind], "l");
        flock.kill();
        env.run([kind, "-n", "l", "true"]).assert_status(1);
        assert_lock_count(env.file("l"), 1);
        flock.close_stdin();
        env.run([kind, "l", "true"]).assert_status(0);
    }
}

#[test]
fn with_close_killing_flock_releases_the_lock() {
    let env = TestEnv::new();
    let mut flock = env.hold(&["-o"], "l");
    flock.kill();
    env.run(["-n", "l", "true"]).assert_status(0);
}

#[test]
fn with_no_fork_the_command_holds_the_lock() {
    let env = TestEnv::new();
    let mut command = env.hold(&["-F"], "l");
    env.run(["-n", "l", "true"]).assert_status(1);
    command.close_stdin();
    assert_eq!(command.wait(), ExitReason::Exited(0));
    env.run(["-n", "l", "true"]).assert_status(0);
}
