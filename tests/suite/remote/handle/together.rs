//! Calls for one descriptor that wait at the same time.

use rstest::rstest;
use test_support::locks::waiter_count;
use test_support::process::ExitReason;
use test_support::wait_until;

use super::HandleTest;

/// As with flock(2), the lock of one call is the other's as well. In another mode, it is acquired
/// again.
#[rstest]
fn two_calls_do_not_wait_for_each_other(
    #[values("", "-s")] first: &str,
    #[values("", "-s")] second: &str,
) {
    let test = HandleTest::excluding();
    let mut holder = test.start_script("exec 9>>store-n; flock 9; echo held; read x; exit 0");
    holder.expect_line("held");
    let call = |options| format!("{{ flock {options} 8 test://n; echo $?; }} &");
    let calls = [call(first), call(second)].join("\n");
    let mut script = test.start_script(&format!(
        "exec 8>>handle\n{calls}\nwait; flock -n store-n true; echo excluded $?; flock -u 8 && exit 5"
    ));
    wait_until("both wait", || waiter_count(test.file("store-n")) == 2);
    holder.release();
    script.expect_line("0");
    script.expect_line("0");
    script.expect_line("excluded 1");
    assert_eq!(script.wait(), ExitReason::Exited(5));
}
