//! Whoever is stopped keeps his place, and holds nobody up.

use super::waiter_pool::WaiterPool;
use super::{WHY, assert_clean, assert_queue_len, last_ticket, spawn_waiter, spawn_waiting_holder};
use test_support::locks::{tickets, waiter_count};
use test_support::process::{ExitReason, send_signal};
use test_support::procfs::is_stopped;
use test_support::{TestEnv, differs_from_util_linux, wait_until};

/// Stops a process, or its whole group if the number is negative.
#[track_caller]
fn stop(pid: i32, signal: i32) {
    assert!(send_signal(pid, signal));
    wait_until("it stops", || is_stopped(pid.abs()));
}

#[track_caller]
fn go_on(pid: i32) {
    assert!(send_signal(pid, libc::SIGCONT));
    wait_until("it goes on", || !is_stopped(pid.abs()));
}

/// A pool that waits behind a holder.
fn spawn_pool(env: &TestEnv, count: usize) -> (test_support::process::Process, WaiterPool<'_>) {
    let holder = env.hold(&["--fair"], "l");
    let mut pool = WaiterPool::new(env);
    pool.spawn_many(count, &["--fair"]);
    (holder, pool)
}

#[test]
fn those_who_were_stopped_and_continued_meanwhile_are_served_in_order() {
    differs_from_util_linux(WHY, |env| {
        let (holder, mut pool) = spawn_pool(env, 10);
        // The first one in the queue is among them.
        for signal in [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN] {
            for number in [0, 3, 7] {
                stop(pool.pid(number), signal);
            }
            for number in [7, 3, 0] {
                go_on(pool.pid(number));
            }
        }
        // A whole group, with the token.
        for number in [0, 4] {
            stop(-pool.pid(number), libc::SIGSTOP);
            stop(pool.sentinel(number), libc::SIGSTOP);
            go_on(-pool.pid(number));
            wait_until("the token goes on", || !is_stopped(pool.sentinel(number)));
        }
        assert_queue_len(env, 10);
        holder.release();
        pool.assert_success(0..10);
        assert_eq!(pool.order(), Vec::from_iter(0..10));
        assert_clean(env, &pool.sentinels());
    });
}

#[test]
fn those_who_stay_stopped_are_passed_and_served_when_they_go_on() {
    differs_from_util_linux(WHY, |env| {
        // At the head of the queue, within it, and at its end.
        for still in [&[0][..], &[3], &[5], &[0, 1], &[2, 3, 5]] {
            let _ = std::fs::remove_file(env.file("order"));
            let (holder, mut pool) = spawn_pool(env, 6);
            for number in still {
                stop(pool.pid(*number), libc::SIGSTOP);
            }
            holder.release();
            let others = pool.all_except(still);
            pool.assert_success(others.clone());
            assert_eq!(pool.order(), others, "{still:?} are stopped");
            assert_queue_len(env, still.len());
            for number in still {
                go_on(pool.pid(*number));
                pool.assert_success([*number]);
            }
            assert_eq!(pool.order(), [&others[..], still].concat());
            assert_clean(env, &pool.sentinels());
        }
    });
}

#[test]
fn one_whose_whole_group_is_stopped_is_passed_too() {
    differs_from_util_linux(WHY, |env| {
        let (holder, mut pool) = spawn_pool(env, 4);
        for number in [0, 2] {
            stop(-pool.pid(number), libc::SIGSTOP);
            wait_until("the token stops too", || is_stopped(pool.sentinel(number)));
        }
        holder.release();
        pool.assert_success([1, 3]);
        for number in [0, 2] {
            go_on(-pool.pid(number));
            pool.assert_success([number]);
        }
        assert_eq!(pool.order(), [1, 3, 0, 2]);
        assert_clean(env, &pool.sentinels());
    });
}

#[test]
fn one_that_goes_on_in_time_is_served_in_his_place() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut sleeper = spawn_waiter(env, ["--fair", "l", "sh", "-c", "echo sleeper >>order"]);
        let mut second = spawn_waiting_holder(env, &["--fair"]);
        let mut third = spawn_waiter(env, ["--fair", "l", "sh", "-c", "echo third >>order"]);
        stop(sleeper.pid(), libc::SIGSTOP);
        holder.release();
        second.expect_line("held");
        // The third one may think itself the first, but it was not here first.
        go_on(sleeper.pid());
        wait_until("both wait", || tickets(env.file("l")).len() == 2);
        second.release();
        assert_eq!(sleeper.wait(), ExitReason::Exited(0));
        assert_eq!(third.wait(), ExitReason::Exited(0));
        let order = std::fs::read_to_string(env.file("order")).expect("the order");
        assert_eq!(order, "sleeper\nthird\n");
        assert_clean(env, &[]);
    });
}

#[test]
fn a_reader_and_a_writer_that_stay_stopped_are_passed_alike() {
    differs_from_util_linux(WHY, |env| {
        for (still, next) in [("-s", "-x"), ("-x", "-s"), ("-s", "-s")] {
            let holder = env.hold(&["--fair"], "l");
            let mut sleeper = spawn_waiter(env, ["--fair", still, "l", "echo", "at last"]);
            let mut passes = spawn_waiting_holder(env, &["--fair", next]);
            stop(sleeper.pid(), libc::SIGSTOP);
            holder.release();
            passes.expect_line("held");
            passes.release();
            go_on(sleeper.pid());
            sleeper.expect_line("at last");
            assert_eq!(sleeper.wait(), ExitReason::Exited(0));
        }
    });
}

#[test]
fn a_stopped_one_does_not_keep_out_whoever_does_not_want_to_wait() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut sleeper = spawn_waiter(env, ["--fair", "l", "echo", "at last"]);
        env.run(["--fair", "-n", "l", "true"]).assert_status(1);
        stop(sleeper.pid(), libc::SIGSTOP);
        wait_until("it is not asking", || waiter_count(env.file("l")) == 0);
        env.run(["--fair", "-n", "l", "true"]).assert_status(1);
        holder.release();
        env.run(["--fair", "-n", "l", "true"]).assert_status(0);
        env.run(["--fair", "-ns", "l", "true"]).assert_status(0);
        go_on(sleeper.pid());
        sleeper.expect_line("at last");
        assert_eq!(sleeper.wait(), ExitReason::Exited(0));
        assert_clean(env, &[]);
    });
}

#[test]
fn a_stopped_one_that_is_killed_leaves_nothing() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut sleeper = spawn_waiter(env, ["--fair", "l", "echo", "never"]);
        let sentinel = last_ticket(env).sentinel;
        stop(-sleeper.pid(), libc::SIGSTOP);
        sleeper.signal(libc::SIGKILL);
        assert_eq!(sleeper.wait(), ExitReason::Signaled(libc::SIGKILL));
        assert_queue_len(env, 0);
        holder.release();
        assert_clean(env, &[sentinel]);
    });
}

#[test]
fn a_token_that_stays_stopped_hinders_nobody_for_ever() {
    differs_from_util_linux(WHY, |env| {
        let (holder, mut pool) = spawn_pool(env, 3);
        for number in [0, 1] {
            stop(pool.sentinel(number), libc::SIGSTOP);
        }
        holder.release();
        pool.assert_success(0..3);
        let mut served = pool.order();
        served.sort_unstable();
        assert_eq!(served, [0, 1, 2]);
        assert_clean(env, &pool.sentinels());
    });
}

#[test]
fn a_stopped_one_whose_token_has_died_is_passed_and_served_when_it_goes_on() {
    differs_from_util_linux(WHY, |env| {
        for still in [0, 1] {
            for ignored in [&[][..], &[libc::SIGCHLD]] {
                let _ = std::fs::remove_file(env.file("order"));
                let holder = env.hold(&["--fair"], "l");
                let mut pool = WaiterPool::new(env);
                for number in 0..3 {
                    match number == still {
                        true => pool.spawn_ignoring(ignored),
                        false => pool.spawn(&["--fair"]),
                    }
                }
                stop(pool.pid(still), libc::SIGSTOP);
                assert!(send_signal(pool.sentinel(still), libc::SIGKILL));
                holder.release();
                let others = pool.all_except(&[still]);
                pool.assert_success(others.clone());
                go_on(pool.pid(still));
                pool.assert_success([still]);
                assert_eq!(pool.order(), [&others[..], &[still]].concat());
                assert_clean(env, &pool.sentinels());
            }
        }
    });
}

#[test]
fn a_stopped_waiter_whose_time_is_up_gives_up_when_it_goes_on() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut first = spawn_waiter(env, ["--fair", "-w1.5", "-E42", "l", "true"]);
        let mut second = spawn_waiter(env, ["--fair", "-w1.5", "-E43", "l", "true"]);
        for waiter in [&first, &second] {
            stop(waiter.pid(), libc::SIGSTOP);
        }
        // Somebody who came later and has the same time.
        env.run(["--fair", "-w1.5", "-E44", "l", "true"])
            .assert_status(44);
        for waiter in [&first, &second] {
            go_on(waiter.pid());
        }
        assert_eq!(first.wait(), ExitReason::Exited(42));
        assert_eq!(second.wait(), ExitReason::Exited(43));
        holder.release();
        assert_clean(env, &[]);
    });
}
