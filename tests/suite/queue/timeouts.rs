//! Timeouts: one deadline for the whole wait, anywhere in the queue.

use super::{
    FAIR, ONE_SLOT, assert_clean_after, assert_queue_len, assert_served, assert_served_after,
    pass_time, spawn_waiter_command, spawn_waiting_holder, spawn_waiting_holders,
};
use rstest::rstest;
use test_support::TestEnv;
use test_support::locks::tickets;
use test_support::pre_exec::{CommandPreExecExt, signal_set};
use test_support::process::{ExitReason, Process};

#[rstest]
fn timeout_fires_anywhere_in_the_queue(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    let mut waiters: Vec<Process> = Vec::new();
    for place in 0..3 {
        for option in ["-x", "-F", "-o"] {
            env.run([queue, option, "-w0.01", "-E42", "l", "true"])
                .assert_all(42, "", "");
        }
        if queue == FAIR {
            env.sh("exec 8<>l; flock --fair -w 0.01 8; echo $?
                flock --fair -s -w 0.01 --fd 8 true; echo $?
                flock --fair -s -w 0.01 l true; echo $?")
                .assert_all(0, "1\n1\n1\n", "");
        }
        assert_eq!(tickets(env.file("l")).len(), place);
        waiters.push(spawn_waiting_holder(env, &[queue]));
    }
    assert_served_after(env, holder, waiters);
}

#[rstest]
#[case::fair(FAIR, "flock --fair -s -w $time -E42 8")]
#[case::one_slot(ONE_SLOT, "flock --slots=1 -F -w $time -E42 l true")]
fn timeout_of_a_microsecond_fires(#[case] queue: &str, #[case] other: &str) {
    let script = format!(
        "for i in 0 1 2 3 4; do
            for time in 0.000001 0.000002 .000005 1e-5 0.00005 0.0001 0.0002 0.0005 0.001; do
                flock {queue} -w $time l true; [ $? -eq 1 ] || exit 9
                {other}; [ $? -eq 42 ] || exit 9
            done
        done"
    );
    let env = &TestEnv::new();
    env.run([queue, "l", "sh", "-c", &format!("exec 8<l; {script}")])
        .assert_all(0, "", "");
    assert_eq!(tickets(env.file("l")), []);
    let holder = env.hold(&[queue], "l");
    let first = spawn_waiting_holder(env, &[queue]);
    env.sh(format!("exec 8<l; {script}")).assert_all(0, "", "");
    assert_queue_len(env, 1);
    assert_served_after(env, holder, [first]);
}

#[rstest]
fn timeout_fires_with_ignored_and_blocked_signals(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    let assert_times_out = || {
        let mut timed = env.flock([queue, "-w0.01", "-E42", "l", "true"]);
        timed.ignore_signals((1..=31).filter(|signal| ![9, 19].contains(signal)));
        timed.block_signals(u64::MAX);
        env.run_command(timed).assert_status(42);
        let mut timed = env.flock([queue, "-w0.01", "-E43", "l", "true"]);
        timed.block_signals(signal_set([libc::SIGALRM, 64]));
        env.run_command(timed).assert_status(43);
    };
    assert_times_out();
    let first = spawn_waiting_holder(env, &[queue]);
    assert_times_out();
    assert_served_after(env, holder, [first]);
}

#[rstest]
fn timeout_does_not_restart_when_the_queue_moves(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    let mut waiters = spawn_waiting_holders(env, &[queue], 10);
    let mut timed = spawn_waiting_holder(env, &[queue, "-w1", "-E42"]);
    // Each time its predecessor is killed. All of that takes two seconds; if the timeout started
    // again with each move, most of it would be left.
    while waiters.pop().is_some() {
        pass_time(env, queue, "0.2");
    }
    assert!(timed.has_exited());
    assert_eq!(timed.wait(), ExitReason::Exited(42));
    assert_clean_after(env, holder);
}

#[rstest]
fn waiter_with_time_left_is_served(
    #[values(FAIR, ONE_SLOT)] queue: &str,
    #[values(0, 2)] predecessors: usize,
    #[values("-x", "-o")] option: &str,
) {
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    let before = spawn_waiting_holders(env, &[queue], predecessors);
    let timed = spawn_waiting_holder(env, &[queue, option, "-w1000"]);
    holder.release();
    before.into_iter().for_each(assert_served);
    assert_served(timed);
}

#[rstest]
fn alarm_of_the_caller_is_inherited_after_a_wait(
    #[values(FAIR, ONE_SLOT)] queue: &str,
    #[values("-x", "-w1000")] option: &str,
) {
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    let helper = ["test-helper", "inherited-state", "state"];
    let mut timed = env.flock([queue, "-F", option, "l"].iter().chain(&helper));
    timed.set_alarm(1_000_000_000);
    let timed = spawn_waiter_command(env, timed);
    holder.release();
    timed.release();
    let state = env.read_file("state");
    assert!(state.contains("alarm true\n"), "{state}");
}
