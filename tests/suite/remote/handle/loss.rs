//! The lock is lost: all processes that have the descriptor are stopped, and no others.

use libc::SIGKILL;
use rstest::rstest;
use test_support::process::ExitReason;
use test_support::{Outcome, wait_until};

use super::HandleTest;
use super::kills::{ENDS, STUBBORN, start_stubborn};

/// The message for a reason.
pub fn message(why: &str) -> String {
    format!("flock: test://n: lock lost, its processes are being stopped: {why}\n")
}

pub const NOT_RENEWED: &str = "its lease was not renewed in time";

/// A script that holds the lock for as long as it is not asked to terminate. It has no children: a
/// shell reports those that are terminated.
pub const ASKED: &str = "exec 8>>handle; flock --ttl=100s --grace=50s 8 test://n || exit
    mkfifo fifo; exec 6<>fifo; trap 'echo asked; exit 3' TERM; echo >go
    while :; do read x <&6; done";

/// A helper whose lease ends soon after the script works: it is asked to terminate after 0.5 s.
pub const ENDS_SOON: &str =
    "echo granted 7 $(in_ms 90000); wait_for go; echo until $(in_ms 52500)\n";

/// A helper that reports a loss as soon as the script works.
pub fn loses(lines: &str) -> String {
    format!("echo granted 7 $(in_ms 90000); wait_for go; printf '{lines}\\n'; wait_for_release")
}

#[test]
fn script_is_asked_to_terminate_first() {
    let test = HandleTest::new(&format!("{ENDS_SOON}wait_for_release"));
    test.sh(ASKED)
        .assert_all(3, "asked\n", &message(NOT_RENEWED));
    test.assert_released_last();
}

#[rstest]
#[case::dead("exit 0")]
#[case::nonsense("printf 'hello\\nuntil %s\\n' $(in_ms 999000); wait_for_release")]
#[case::second_grant("echo granted 8 $(in_ms 999000); wait_for_release")]
fn script_is_asked_if_the_lease_is_not_renewed(#[case] helper: &str) {
    let test = HandleTest::new(&format!("{ENDS_SOON}{helper}"));
    test.sh(ASKED)
        .assert_all(3, "asked\n", &message(NOT_RENEWED));
}

/// A mark on a descriptor that is open for reading is a read lock.
#[test]
fn readers_of_a_deleted_file_are_killed_too() {
    let test = HandleTest::new(ENDS);
    let script = STUBBORN.replace("8>>handle; ", "8<handle; rm handle; ");
    std::fs::write(test.file("handle"), "").expect("the file");
    let mut script = test.start_script(&script);
    script.expect_line("working");
    assert_eq!(script.wait(), ExitReason::Signaled(SIGKILL));
    test.assert_released_last();
}

#[test]
fn children_of_a_killed_script_are_killed() {
    let test = HandleTest::new(ENDS);
    let mut script = start_stubborn(&test);
    script.kill();
    test.assert_released_last();
}

#[test]
fn all_processes_with_the_descriptor_are_asked() {
    let test = HandleTest::new(&format!("{ENDS_SOON}wait_for_release"));
    // The outer shell runs its trap only when the inner one has exited.
    let inner = "trap \"echo inner; exit\" TERM; echo >go; while :; do read x <&6; done";
    let script = format!(
        "exec 8>>handle; flock --ttl=100s --grace=50s 8 test://n || exit
        mkfifo fifo; exec 6<>fifo; trap 'echo outer; exit 0' TERM; sh -c '{inner}'; :"
    );
    test.sh(script)
        .assert_all(0, "inner\nouter\n", &message(NOT_RENEWED));
}

#[test]
fn stopped_processes_are_asked_too() {
    let test = HandleTest::new(&format!("{ENDS_SOON}wait_for_release"));
    let child = "trap \"echo asked; exit\" TERM; echo >go; kill -STOP $$; :";
    let script = format!(
        "exec 8>>handle; flock --ttl=100s --grace=50s 8 test://n || exit
        trap 'exit 0' TERM; sh -c '{child}'; :"
    );
    test.sh(script)
        .assert_all(0, "asked\n", &message(NOT_RENEWED));
}

#[test]
fn processes_without_the_descriptor_are_not_stopped() {
    let test = HandleTest::new(&loses("lost it is gone"));
    let child = "(until [ -e over ]; do sleep 0.01; done; echo survived) 8>&- &";
    let script = ASKED.replace("mkfifo", &format!("{child} mkfifo"));
    let script = script.replace("echo asked", "echo asked; echo >over; wait");
    test.sh(script)
        .assert_all(3, "asked\nsurvived\n", &message("it is gone"));
}

#[test]
fn reported_loss_stops_the_script() {
    let test = HandleTest::new(&loses("lost it is gone"));
    test.sh(ASKED)
        .assert_all(3, "asked\n", &message("it is gone"));
}

#[test]
fn renewal_after_a_loss_does_not_count() {
    let test = HandleTest::new(&loses("lost it is gone\\nuntil 9999999999999999999"));
    test.sh(ASKED)
        .assert_all(3, "asked\n", &message("it is gone"));
}

/// A script that does not terminate during the long grace period.
fn unwilling() -> String {
    ASKED.replace("echo asked; exit 3", ":")
}

/// Asserts that a script was killed at once. There may be no time to say why.
#[track_caller]
fn assert_killed(outcome: Outcome) {
    let outcome = outcome.assert_stdout("").assert_status(128 + SIGKILL);
    let stderr = outcome.stderr_text();
    assert!(
        stderr.is_empty() || stderr == message("it is gone"),
        "{stderr}"
    );
}

#[test]
fn lock_that_another_process_may_have_leaves_no_grace() {
    let test = HandleTest::new(&loses("until 0\\nlost it is gone"));
    assert_killed(test.sh(unwilling()));
}

#[test]
fn loss_that_becomes_certain_ends_the_grace_period() {
    let lines = "lost it is gone\\nuntil 0\\nlost another process has it";
    let test = HandleTest::new(&loses(lines));
    assert_killed(test.sh(unwilling()));
}

/// The same, while the guards wait for the end of the grace period.
#[test]
fn late_certainty_ends_the_grace_period() {
    let helper = "echo granted 7 $(in_ms 90000); wait_for go; echo lost it is gone
        wait_for asked; printf 'until 0\\nlost another process has it\\n'; wait_for_release";
    let test = HandleTest::new(helper);
    test.sh(ASKED.replace("echo asked; exit 3", "echo >asked"))
        .assert_all(128 + SIGKILL, "", &message("it is gone"));
}

#[test]
fn stubborn_script_has_only_the_grace_period() {
    let test = HandleTest::new(&loses("lost it is gone"));
    test.sh(unwilling().replace("--grace=50s", "--grace=1s"))
        .assert_all(128 + SIGKILL, "", &message("it is gone"));
}

#[test]
fn unlock_reports_the_loss() {
    let test = HandleTest::new(&loses("lost it is gone"));
    let script = ASKED.replace("echo asked", "flock -u 8; echo status $?");
    let late = "flock: the lock of descriptor 8 was lost\n";
    let expected = message("it is gone") + late;
    test.sh(script).assert_all(3, "status 75\n", &expected);
}

/// It does not succeed because the lock has been acquired before.
#[test]
fn request_during_the_grace_period_reports_the_loss() {
    let test = HandleTest::new(&loses("lost it is gone"));
    let script = ASKED.replace("echo asked", "flock 8 test://n; echo status $?");
    let late = "flock: the lock of descriptor 8 was lost\n";
    let expected = message("it is gone") + late;
    test.sh(script).assert_all(3, "status 75\n", &expected);
}

#[test]
fn renewals_let_the_script_run() {
    let helper = "echo granted 7 $(in_ms 4500); echo until $(in_ms 45000); wait_for_release";
    let test = HandleTest::new(helper);
    let lock = "exec 7>>witness 8>>handle; flock 7; flock --ttl=20s --grace=0 8 test://n || exit";
    test.sh(format!("{lock}; sleep 4.1; exit 3"))
        .assert_all(3, "", "");
    test.assert_released_last();
}

/// The lock of another descriptor of the same file is another lock.
#[test]
fn loss_concerns_only_its_own_descriptor() {
    let helper = "lost() { wait_for go; echo lost it is gone; }
        request=$(cat request); echo granted 7 $(in_ms 90000)
        case $request in *test://n*) lost ;; esac
        wait_for_release";
    let test = HandleTest::new(helper);
    let mut other = test.start_script("exec 8>>handle; flock 8 test://other; echo locked; read x");
    other.expect_line("locked");
    test.sh(ASKED)
        .assert_all(3, "asked\n", &message("it is gone"));
    wait_until("only one lock is left", || test.guards().of("").len() == 3);
    assert!(!other.has_exited());
    other.send_line("");
    assert_eq!(other.wait(), ExitReason::Exited(0));
}
