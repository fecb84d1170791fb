//! Exhausted resources: an error message, and nothing is left behind.

use crate::queue::{
    assert_clean_after, assert_one_message, assert_served_after, other_user_command,
    spawn_waiter_script, spawn_waiting_holder,
};
use test_support::locks::tickets;
use test_support::{Outcome, TestEnv};

/// Asserts a system error in one line, and that no ticket is left.
#[track_caller]
fn assert_fails(env: &TestEnv, outcome: Outcome) {
    assert_one_message(&outcome.assert_status(71).assert_stdout(""));
    assert_eq!(tickets(env.file("l")), []);
}

#[test]
fn lack_of_descriptors_matters_only_for_waiters() {
    let env = &TestEnv::new();
    env.sh("exec 3<bin 8<>l; ulimit -n 9; flock --fair -n 8")
        .assert_all(0, "", "");
    let holder = env.hold(&["--fair"], "l");
    // A dynamic loader also needs a descriptor, but only until the program runs. With more
    // descriptors than needed the call would succeed to wait, for a long time.
    for limit in 4..8 {
        let script = format!("exec 3<bin; ulimit -n {limit}; exec flock --fair -w1000 l echo ran");
        let outcome = env.sh(script);
        if outcome.code() != 127 {
            assert_fails(env, outcome);
            if limit == 5 {
                break;
            }
        }
    }
    assert_clean_after(env, holder);
}

#[test]
fn few_descriptors_are_enough_to_wait() {
    let env = &TestEnv::new();
    let holder = env.hold(&["--fair"], "l");
    let script = "ulimit -n 10; exec flock --fair -w1000 l sh -c 'echo held'";
    let first = spawn_waiter_script(env, script);
    let second = spawn_waiting_holder(env, &["--fair"]);
    assert_served_after(env, holder, [first, second]);
}

#[test]
fn lack_of_processes_is_an_error() {
    let env = &TestEnv::new();
    let holder = env.hold(&["--fair"], "l");
    // The processes of other tests' users do not count.
    let script = "exec bash -c 'ulimit -u 1; exec flock --fair -w1000 l echo ran'";
    if let Some(limited) = other_user_command(env, 65533, script) {
        assert_fails(env, env.run_command(limited));
    }
    assert_clean_after(env, holder);
}
