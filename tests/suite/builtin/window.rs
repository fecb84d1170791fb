//! The window between the host's last look at its flags and the system call that blocks: `sys::interruptible`, tried out in
//! a process of its own, where a signal can be had at exactly that moment.

use test_support::locks::waiter_count;
use test_support::process::Process;
use test_support::{TestEnv, wait_until};

fn start_waiter(env: &TestEnv, scenario: &str) -> Process {
    let mut helper = env.command("test-helper");
    helper.args(["wait-for-lock", scenario, "l"]);
    env.start(helper)
}

#[test]
fn a_signal_just_before_the_call_ends_it() {
    let env = TestEnv::new();
    for _ in 0..20 {
        start_waiter(&env, "interruptible").expect_line("interrupted true received 1");
    }
}

#[test]
fn without_attention_it_is_missed() {
    // So the test above tests something.
    let env = TestEnv::new();
    for scenario in ["unprotected", "handlers-restored"] {
        let waiter = start_waiter(&env, scenario);
        wait_until("it waits", || waiter_count(env.file("l")) == 1);
        waiter.signal(libc::SIGUSR1);
        // Its handler restarts the call.
        wait_until("the signal is handled", || {
            test_support::procfs::status_field(waiter.pid(), "ShdPnd") == "0000000000000000"
        });
        wait_until("it still waits", || waiter_count(env.file("l")) == 1);
    }
}

#[test]
fn a_signal_that_came_before_keeps_the_wait_from_beginning() {
    let env = TestEnv::new();
    start_waiter(&env, "signal-before").expect_line("interrupted true received 1");
}

#[test]
fn a_time_that_is_up_before_the_call_ends_it() {
    let env = TestEnv::new();
    start_waiter(&env, "timeout").expect_line("interrupted true received 0");
}

#[test]
fn none_of_many_signals_at_random_moments_is_missed() {
    let env = TestEnv::new();
    start_waiter(&env, "20000").expect_line("all signals answered");
}
