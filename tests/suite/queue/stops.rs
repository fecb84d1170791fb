//! A stopped waiter keeps its place, and holds up no other waiter.

use super::waiter_pool::WaiterPool;
use super::{
    FAIR, ONE_SLOT, assert_clean, assert_clean_after, assert_order, assert_queue_len,
    assert_served, last_ticket, spawn_noting_waiter, spawn_waiter, spawn_waiting_holder,
};
use libc::{SIGCHLD, SIGCONT, SIGKILL, SIGSTOP, SIGTSTP, SIGTTIN};
use rstest::rstest;
use test_support::locks::waiter_count;
use test_support::process::{ExitReason, send_signal};
use test_support::procfs::{is_stopped, parent_of, status_field};
use test_support::{TestEnv, wait_until};

/// Stops a process, or its whole group if the number is negative.
#[track_caller]
fn stop(pid: i32, signal: i32) {
    assert!(send_signal(pid, signal));
    wait_until("it stops", || is_stopped(pid.abs()));
}

/// Continues a process, or its whole group if the number is negative.
#[track_caller]
fn resume(pid: i32) {
    assert!(send_signal(pid, SIGCONT));
    wait_until("it continues", || !is_stopped(pid.abs()));
}

#[rstest]
fn waiters_stopped_for_a_while_keep_their_places(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let (holder, mut pool) = WaiterPool::behind_holder(env, queue, 10);
    // The head of the queue is among them.
    for signal in [SIGSTOP, SIGTSTP, SIGTTIN] {
        for number in [0, 3, 7] {
            stop(pool.pid(number), signal);
        }
        for number in [7, 3, 0] {
            resume(pool.pid(number));
        }
    }
    // Whole groups, which include the sentinels.
    for number in [0, 4] {
        stop(-pool.pid(number), SIGSTOP);
        stop(pool.sentinel(number), SIGSTOP);
        resume(-pool.pid(number));
        wait_until("the sentinel continues", || {
            !is_stopped(pool.sentinel(number))
        });
    }
    assert_queue_len(env, 10);
    pool.assert_served_after(holder, 0..10);
}

/// Asserts that the others pass the stopped waiters, which are served when they continue. `sign` is
/// -1 to stop whole groups.
#[track_caller]
fn assert_passed(queue: &str, stopped: &[usize], sign: i32) {
    let env = &TestEnv::new();
    let (holder, mut pool) = WaiterPool::behind_holder(env, queue, 6);
    for number in stopped {
        stop(sign * pool.pid(*number), SIGSTOP);
        wait_until("the sentinel stops too", || {
            sign > 0 || is_stopped(pool.sentinel(*number))
        });
    }
    holder.release();
    let others = pool.all_except(stopped);
    pool.assert_success(others.clone());
    assert_eq!(pool.order(), others, "{stopped:?} are stopped");
    assert_queue_len(env, stopped.len());
    for number in stopped {
        resume(sign * pool.pid(*number));
        pool.assert_success([*number]);
    }
    pool.assert_served([&others, stopped].concat());
}

#[rstest]
fn stopped_waiters_are_passed(#[values(FAIR, ONE_SLOT)] queue: &str) {
    // At the head of the queue, within it, and at its end. All at the same time, because a waiter
    // looks only every two seconds whether its predecessor has been stopped.
    std::thread::scope(|scope| {
        for stopped in [&[0][..], &[3], &[5], &[0, 1], &[2, 3, 5]] {
            scope.spawn(move || assert_passed(queue, stopped, 1));
        }
        scope.spawn(move || assert_passed(queue, &[0, 2], -1));
    });
}

#[rstest]
fn waiter_resumed_in_time_is_served_in_its_place(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    let stopped = spawn_noting_waiter(env, queue, "stopped");
    let mut second = spawn_waiting_holder(env, &[queue]);
    let third = spawn_noting_waiter(env, queue, "third");
    stop(stopped.pid(), SIGSTOP);
    holder.release();
    second.expect_line("held");
    // The third one may already consider itself the head of the queue, but it arrived later.
    resume(stopped.pid());
    assert_queue_len(env, 2);
    second.release();
    assert_order(env, [stopped, third], &["stopped", "third"]);
    assert_clean(env, &[]);
}

#[test]
fn stopped_readers_and_writers_are_passed() {
    let is_passed = |stopped: &str, next: &str| {
        let env = &TestEnv::new();
        let holder = env.hold(&["--fair"], "l");
        let stopped = spawn_waiting_holder(env, &["--fair", stopped]);
        let next = spawn_waiting_holder(env, &["--fair", next]);
        stop(stopped.pid(), SIGSTOP);
        holder.release();
        assert_served(next);
        resume(stopped.pid());
        assert_served(stopped);
    };
    std::thread::scope(|scope| {
        for (stopped, next) in [("-s", "-x"), ("-x", "-s"), ("-s", "-s")] {
            scope.spawn(move || is_passed(stopped, next));
        }
    });
}

/// The waiter has begun to wait for the other one before that was stopped, and would be served
/// beside the holder without it.
#[rstest]
#[case::slot_is_free(["--slots=2", "-x"], ["--slots=2", "-x"])]
#[case::readers_hold(["--fair", "-s"], ["--fair", "-x"])]
fn waiter_joins_holder_past_a_stopped_one(
    #[case] options: [&str; 2],
    #[case] options_of_stopped: [&str; 2],
) {
    let env = &TestEnv::new();
    let _holder = env.hold(&options, "l");
    let other_holder = env.hold(&options, "l");
    let _stopped = spawn_waiting_holder(env, &options_of_stopped);
    let owner = parent_of(last_ticket(env).sentinel);
    let mut waiter = spawn_waiting_holder(env, &options);
    let waiter_pid = parent_of(last_ticket(env).sentinel);
    wait_until("it sleeps", || {
        status_field(waiter_pid, "State").starts_with('S')
    });
    stop(owner, SIGSTOP);
    other_holder.release();
    waiter.expect_line("held");
    assert_queue_len(env, 1);
}

#[rstest]
fn nonblocking_call_passes_a_stopped_waiter(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    let waiter = spawn_waiting_holder(env, &[queue]);
    env.run([queue, "-n", "l", "true"]).assert_status(1);
    stop(waiter.pid(), SIGSTOP);
    wait_until("it does not wait in the kernel", || {
        waiter_count(env.file("l")) == 0
    });
    env.run([queue, "-n", "l", "true"]).assert_status(1);
    holder.release();
    env.run([queue, "-n", "l", "true"]).assert_status(0);
    env.run(["--fair", "-ns", "l", "true"]).assert_status(0);
    resume(waiter.pid());
    assert_served(waiter);
    assert_clean(env, &[]);
}

#[rstest]
fn stopped_waiter_that_is_killed_leaves_nothing(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    let mut waiter = spawn_waiter(env, [queue, "l", "echo", "never"]);
    let sentinel = last_ticket(env).sentinel;
    stop(-waiter.pid(), SIGSTOP);
    waiter.signal(SIGKILL);
    assert_eq!(waiter.wait(), ExitReason::Signaled(SIGKILL));
    assert_queue_len(env, 0);
    holder.release();
    assert_clean(env, &[sentinel]);
}

#[rstest]
fn stopped_sentinels_hold_up_no_waiter_forever(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let (holder, mut pool) = WaiterPool::behind_holder(env, queue, 3);
    for number in [0, 1] {
        stop(pool.sentinel(number), SIGSTOP);
    }
    holder.release();
    pool.assert_success(0..3);
    let mut served = pool.order();
    served.sort_unstable();
    assert_eq!(served, [0, 1, 2]);
    assert_clean(env, &pool.sentinels());
}

#[rstest]
fn stopped_waiter_without_sentinel_is_passed(
    #[values(FAIR, ONE_SLOT)] queue: &str,
    #[values(0, 1)] stopped: usize,
    #[values(&[], &[SIGCHLD])] ignored: &[i32],
) {
    let env = &TestEnv::new();
    let (holder, mut pool) = WaiterPool::behind_holder(env, queue, 0);
    for number in 0..3 {
        let ignored = if number == stopped { ignored } else { &[] };
        pool.spawn_ignoring(&[queue], ignored);
    }
    stop(pool.pid(stopped), SIGSTOP);
    pool.kill_sentinel(stopped);
    holder.release();
    let others = pool.all_except(&[stopped]);
    pool.assert_success(others.clone());
    resume(pool.pid(stopped));
    pool.assert_served([&others[..], &[stopped]].concat());
}

#[rstest]
fn stopped_waiter_times_out_when_it_continues(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    let mut first = spawn_waiter(env, [queue, "-w1", "-E42", "l", "true"]);
    let mut second = spawn_waiter(env, [queue, "-w1", "-E43", "l", "true"]);
    for waiter in [&first, &second] {
        stop(waiter.pid(), SIGSTOP);
    }
    // This one arrived later and has the same timeout.
    env.run([queue, "-w1", "-E44", "l", "true"])
        .assert_status(44);
    for waiter in [&first, &second] {
        resume(waiter.pid());
    }
    assert_eq!(first.wait(), ExitReason::Exited(42));
    assert_eq!(second.wait(), ExitReason::Exited(43));
    assert_clean_after(env, holder);
}
