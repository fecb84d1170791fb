//! Whoever is stopped keeps his place, and holds nobody up.

use super::crowd::Crowd;
use super::{WHY, holder_to_be, last_turn, nothing_is_left, queue_is, queuing};
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

/// A crowd that waits behind a holder.
fn crowd(env: &TestEnv, count: usize) -> (test_support::process::Process, Crowd<'_>) {
    let holder = env.hold(&["--fair"], "l");
    let mut crowd = Crowd::new(env);
    crowd.join(count, &["--fair"]);
    (holder, crowd)
}

#[test]
fn those_who_were_stopped_and_continued_meanwhile_are_served_in_order() {
    differs_from_util_linux(WHY, |env| {
        let (holder, mut crowd) = crowd(env, 10);
        // The first one in the queue is among them.
        for signal in [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN] {
            for number in [0, 3, 7] {
                stop(crowd.pid(number), signal);
            }
            for number in [7, 3, 0] {
                go_on(crowd.pid(number));
            }
        }
        // A whole group, with the token.
        for number in [0, 4] {
            stop(-crowd.pid(number), libc::SIGSTOP);
            stop(crowd.token(number), libc::SIGSTOP);
            go_on(-crowd.pid(number));
            wait_until("the token goes on", || !is_stopped(crowd.token(number)));
        }
        queue_is(env, 10);
        holder.release();
        crowd.end_well(0..10);
        assert_eq!(crowd.order(), Vec::from_iter(0..10));
        nothing_is_left(env, &crowd.tokens());
    });
}

#[test]
fn those_who_stay_stopped_are_passed_and_served_when_they_go_on() {
    differs_from_util_linux(WHY, |env| {
        // At the head of the queue, within it, and at its end.
        for still in [&[0][..], &[3], &[5], &[0, 1], &[2, 3, 5]] {
            let _ = std::fs::remove_file(env.file("order"));
            let (holder, mut crowd) = crowd(env, 6);
            for number in still {
                stop(crowd.pid(*number), libc::SIGSTOP);
            }
            holder.release();
            let others = crowd.without(still);
            crowd.end_well(others.clone());
            assert_eq!(crowd.order(), others, "{still:?} are stopped");
            queue_is(env, still.len());
            for number in still {
                go_on(crowd.pid(*number));
                crowd.end_well([*number]);
            }
            assert_eq!(crowd.order(), [&others[..], still].concat());
            nothing_is_left(env, &crowd.tokens());
        }
    });
}

#[test]
fn one_whose_whole_group_is_stopped_is_passed_too() {
    differs_from_util_linux(WHY, |env| {
        let (holder, mut crowd) = crowd(env, 4);
        for number in [0, 2] {
            stop(-crowd.pid(number), libc::SIGSTOP);
            wait_until("the token stops too", || is_stopped(crowd.token(number)));
        }
        holder.release();
        crowd.end_well([1, 3]);
        for number in [0, 2] {
            go_on(-crowd.pid(number));
            crowd.end_well([number]);
        }
        assert_eq!(crowd.order(), [1, 3, 0, 2]);
        nothing_is_left(env, &crowd.tokens());
    });
}

#[test]
fn one_that_goes_on_in_time_is_served_in_his_place() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut sleeper = queuing(env, ["--fair", "l", "sh", "-c", "echo sleeper >>order"]);
        let mut second = holder_to_be(env, &["--fair"]);
        let mut third = queuing(env, ["--fair", "l", "sh", "-c", "echo third >>order"]);
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
        nothing_is_left(env, &[]);
    });
}

#[test]
fn a_reader_and_a_writer_that_stay_stopped_are_passed_alike() {
    differs_from_util_linux(WHY, |env| {
        for (still, next) in [("-s", "-x"), ("-x", "-s"), ("-s", "-s")] {
            let holder = env.hold(&["--fair"], "l");
            let mut sleeper = queuing(env, ["--fair", still, "l", "echo", "at last"]);
            let mut passes = holder_to_be(env, &["--fair", next]);
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
        let mut sleeper = queuing(env, ["--fair", "l", "echo", "at last"]);
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
        nothing_is_left(env, &[]);
    });
}

#[test]
fn a_stopped_one_that_is_killed_leaves_nothing() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut sleeper = queuing(env, ["--fair", "l", "echo", "never"]);
        let token = last_turn(env).sentinel;
        stop(-sleeper.pid(), libc::SIGSTOP);
        sleeper.signal(libc::SIGKILL);
        assert_eq!(sleeper.wait(), ExitReason::Signaled(libc::SIGKILL));
        queue_is(env, 0);
        holder.release();
        nothing_is_left(env, &[token]);
    });
}

#[test]
fn a_token_that_stays_stopped_hinders_nobody_for_ever() {
    differs_from_util_linux(WHY, |env| {
        let (holder, mut crowd) = crowd(env, 3);
        for number in [0, 1] {
            stop(crowd.token(number), libc::SIGSTOP);
        }
        holder.release();
        crowd.end_well(0..3);
        let mut served = crowd.order();
        served.sort_unstable();
        assert_eq!(served, [0, 1, 2]);
        nothing_is_left(env, &crowd.tokens());
    });
}

#[test]
fn a_stopped_one_whose_token_has_died_is_passed_and_served_when_it_goes_on() {
    differs_from_util_linux(WHY, |env| {
        for still in [0, 1] {
            for ignored in [&[][..], &[libc::SIGCHLD]] {
                let _ = std::fs::remove_file(env.file("order"));
                let holder = env.hold(&["--fair"], "l");
                let mut crowd = Crowd::new(env);
                for number in 0..3 {
                    match number == still {
                        true => crowd.joins_ignoring(ignored),
                        false => crowd.joins(&["--fair"]),
                    }
                }
                stop(crowd.pid(still), libc::SIGSTOP);
                assert!(send_signal(crowd.token(still), libc::SIGKILL));
                holder.release();
                let others = crowd.without(&[still]);
                crowd.end_well(others.clone());
                go_on(crowd.pid(still));
                crowd.end_well([still]);
                assert_eq!(crowd.order(), [&others[..], &[still]].concat());
                nothing_is_left(env, &crowd.tokens());
            }
        }
    });
}

#[test]
fn a_stopped_waiter_whose_time_is_up_gives_up_when_it_goes_on() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut first = queuing(env, ["--fair", "-w1.5", "-E42", "l", "true"]);
        let mut second = queuing(env, ["--fair", "-w1.5", "-E43", "l", "true"]);
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
        nothing_is_left(env, &[]);
    });
}
