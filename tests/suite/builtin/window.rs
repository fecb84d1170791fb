//! The race window between the host's last check of its signal flags and the system call that
//! blocks: `sys::interruptible` in a helper process, where a signal can arrive at exactly that
//! moment.

use rstest::rstest;
use test_support::locks::waiter_count;
use test_support::process::Process;
use test_support::procfs::status_field;
use test_support::{TestEnv, wait_until};

fn start_waiter(env: &TestEnv, scenario: &str) -> Process {
    let mut helper = env.command("test-helper");
    helper.args(["wait-for-lock", scenario, "l"]);
    env.start(helper)
}

#[rstest]
#[case::signal_before_the_wait("signal-before", 1, "interrupted true received 1")]
#[case::signal_before_the_call("interruptible", 20, "interrupted true received 1")]
#[case::timeout_before_the_call("timeout", 1, "interrupted true received 0")]
#[case::signals_at_random_times("20000", 1, "all signals answered")]
#[case::signal_before_the_call_of_a_child("child-interrupted", 20, "interrupted true received 1")]
#[case::timeout_before_the_call_of_a_child("child-timeout", 20, "interrupted true received 0")]
#[case::signals_at_random_times_with_a_child("child-signals", 1, "all signals answered")]
fn signal_or_timeout_interrupts_the_wait(
    #[case] scenario: &str,
    #[case] runs: usize,
    #[case] report: &str,
) {
    let env = TestEnv::new();
    for _ in 0..runs {
        start_waiter(&env, scenario).expect_line(report);
    }
}

/// Without this, the test above would prove nothing.
#[rstest]
fn signal_is_missed_outside_an_interruptible_call(
    #[values("unprotected", "handlers-restored")] scenario: &str,
) {
    let env = TestEnv::new();
    let waiter = start_waiter(&env, scenario);
    wait_until("it waits", || waiter_count(env.file("l")) == 1);
    waiter.signal(libc::SIGUSR1);
    // The handler restarts the call.
    wait_until("the signal is handled", || {
        status_field(waiter.pid(), "ShdPnd") == "0000000000000000"
    });
    wait_until("it waits again", || waiter_count(env.file("l")) == 1);
}
