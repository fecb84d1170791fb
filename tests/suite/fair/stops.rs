//! Whoever is stopped keeps his place, and holds nobody up.

use super::crowd::Crowd;
use super::{WHY, holder_to_be, last_turn, nothing_is_left, queue_is, queuing};
use test_support::locks::{stopped, turns, waiters};
use test_support::process::{End, send};
use test_support::{Lab, departure, wait_until};

/// Stops a process, or its whole group if the number is negative.
#[track_caller]
fn stop(pid: i32, signal: i32) {
    assert!(send(pid, signal));
    wait_until("it stops", || stopped(pid.abs()));
}

#[track_caller]
fn go_on(pid: i32) {
    assert!(send(pid, libc::SIGCONT));
    wait_until("it goes on", || !stopped(pid.abs()));
}

/// A crowd that waits behind a holder.
fn crowd(lab: &Lab, count: usize) -> (test_support::process::Live, Crowd<'_>) {
    let holder = lab.hold(&["--fair"], "l");
    let mut crowd = Crowd::new(lab);
    crowd.join(count, &["--fair"]);
    (holder, crowd)
}

#[test]
fn those_who_were_stopped_and_continued_meanwhile_are_served_in_order() {
    departure(WHY, |lab| {
        let (holder, mut crowd) = crowd(lab, 10);
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
            wait_until("the token goes on", || !stopped(crowd.token(number)));
        }
        queue_is(lab, 10);
        holder.let_go();
        crowd.end_well(0..10);
        assert_eq!(crowd.order(), Vec::from_iter(0..10));
        nothing_is_left(lab, &crowd.tokens());
    });
}

#[test]
fn those_who_stay_stopped_are_passed_and_served_when_they_go_on() {
    departure(WHY, |lab| {
        // At the head of the queue, within it, and at its end.
        for still in [&[0][..], &[3], &[5], &[0, 1], &[2, 3, 5]] {
            let _ = std::fs::remove_file(lab.file("order"));
            let (holder, mut crowd) = crowd(lab, 6);
            for number in still {
                stop(crowd.pid(*number), libc::SIGSTOP);
            }
            holder.let_go();
            let others = crowd.without(still);
            crowd.end_well(others.clone());
            assert_eq!(crowd.order(), others, "{still:?} are stopped");
            queue_is(lab, still.len());
            for number in still {
                go_on(crowd.pid(*number));
                crowd.end_well([*number]);
            }
            assert_eq!(crowd.order(), [&others[..], still].concat());
            nothing_is_left(lab, &crowd.tokens());
        }
    });
}

#[test]
fn one_whose_whole_group_is_stopped_is_passed_too() {
    departure(WHY, |lab| {
        let (holder, mut crowd) = crowd(lab, 4);
        for number in [0, 2] {
            stop(-crowd.pid(number), libc::SIGSTOP);
            wait_until("the token stops too", || stopped(crowd.token(number)));
        }
        holder.let_go();
        crowd.end_well([1, 3]);
        for number in [0, 2] {
            go_on(-crowd.pid(number));
            crowd.end_well([number]);
        }
        assert_eq!(crowd.order(), [1, 3, 0, 2]);
        nothing_is_left(lab, &crowd.tokens());
    });
}

#[test]
fn one_that_goes_on_in_time_is_served_in_his_place() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut sleeper = queuing(lab, ["--fair", "l", "sh", "-c", "echo sleeper >>order"]);
        let mut second = holder_to_be(lab, &["--fair"]);
        let mut third = queuing(lab, ["--fair", "l", "sh", "-c", "echo third >>order"]);
        stop(sleeper.pid(), libc::SIGSTOP);
        holder.let_go();
        second.hears("held");
        // The third one may think itself the first, but it was not here first.
        go_on(sleeper.pid());
        wait_until("both wait", || turns(lab.file("l")).len() == 2);
        second.let_go();
        assert_eq!(sleeper.end(), End::Exited(0));
        assert_eq!(third.end(), End::Exited(0));
        let order = std::fs::read_to_string(lab.file("order")).expect("the order");
        assert_eq!(order, "sleeper\nthird\n");
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn a_reader_and_a_writer_that_stay_stopped_are_passed_alike() {
    departure(WHY, |lab| {
        for (still, next) in [("-s", "-x"), ("-x", "-s"), ("-s", "-s")] {
            let holder = lab.hold(&["--fair"], "l");
            let mut sleeper = queuing(lab, ["--fair", still, "l", "echo", "at last"]);
            let mut passes = holder_to_be(lab, &["--fair", next]);
            stop(sleeper.pid(), libc::SIGSTOP);
            holder.let_go();
            passes.hears("held");
            passes.let_go();
            go_on(sleeper.pid());
            sleeper.hears("at last");
            assert_eq!(sleeper.end(), End::Exited(0));
        }
    });
}

#[test]
fn a_stopped_one_does_not_keep_out_whoever_does_not_want_to_wait() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut sleeper = queuing(lab, ["--fair", "l", "echo", "at last"]);
        lab.run(["--fair", "-n", "l", "true"]).expect_code(1);
        stop(sleeper.pid(), libc::SIGSTOP);
        wait_until("it is not asking", || waiters(lab.file("l")) == 0);
        lab.run(["--fair", "-n", "l", "true"]).expect_code(1);
        holder.let_go();
        lab.run(["--fair", "-n", "l", "true"]).expect_code(0);
        lab.run(["--fair", "-ns", "l", "true"]).expect_code(0);
        go_on(sleeper.pid());
        sleeper.hears("at last");
        assert_eq!(sleeper.end(), End::Exited(0));
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn a_stopped_one_that_is_killed_leaves_nothing() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut sleeper = queuing(lab, ["--fair", "l", "echo", "never"]);
        let token = last_turn(lab).token;
        stop(-sleeper.pid(), libc::SIGSTOP);
        sleeper.signal(libc::SIGKILL);
        assert_eq!(sleeper.end(), End::Killed(libc::SIGKILL));
        queue_is(lab, 0);
        holder.let_go();
        nothing_is_left(lab, &[token]);
    });
}

#[test]
fn a_token_that_stays_stopped_hinders_nobody_for_ever() {
    departure(WHY, |lab| {
        let (holder, mut crowd) = crowd(lab, 3);
        for number in [0, 1] {
            stop(crowd.token(number), libc::SIGSTOP);
        }
        holder.let_go();
        crowd.end_well(0..3);
        let mut served = crowd.order();
        served.sort_unstable();
        assert_eq!(served, [0, 1, 2]);
        nothing_is_left(lab, &crowd.tokens());
    });
}

#[test]
fn a_stopped_one_whose_token_has_died_is_passed_and_served_when_it_goes_on() {
    departure(WHY, |lab| {
        for still in [0, 1] {
            for ignored in [&[][..], &[libc::SIGCHLD]] {
                let _ = std::fs::remove_file(lab.file("order"));
                let holder = lab.hold(&["--fair"], "l");
                let mut crowd = Crowd::new(lab);
                for number in 0..3 {
                    match number == still {
                        true => crowd.joins_ignoring(ignored),
                        false => crowd.joins(&["--fair"]),
                    }
                }
                stop(crowd.pid(still), libc::SIGSTOP);
                assert!(send(crowd.token(still), libc::SIGKILL));
                holder.let_go();
                let others = crowd.without(&[still]);
                crowd.end_well(others.clone());
                go_on(crowd.pid(still));
                crowd.end_well([still]);
                assert_eq!(crowd.order(), [&others[..], &[still]].concat());
                nothing_is_left(lab, &crowd.tokens());
            }
        }
    });
}

#[test]
fn a_stopped_waiter_whose_time_is_up_gives_up_when_it_goes_on() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut first = queuing(lab, ["--fair", "-w1.5", "-E42", "l", "true"]);
        let mut second = queuing(lab, ["--fair", "-w1.5", "-E43", "l", "true"]);
        for waiter in [&first, &second] {
            stop(waiter.pid(), libc::SIGSTOP);
        }
        // Somebody who came later and has the same time.
        lab.run(["--fair", "-w1.5", "-E44", "l", "true"])
            .expect_code(44);
        for waiter in [&first, &second] {
            go_on(waiter.pid());
        }
        assert_eq!(first.end(), End::Exited(42));
        assert_eq!(second.end(), End::Exited(43));
        holder.let_go();
        nothing_is_left(lab, &[]);
    });
}
