//! Who waits for a slot: one queue, first come, first served, whatever happens to those who wait.

use super::{WHY, hold, holder_to_be, taken, taken_is, try_for};
use crate::fair::crowd::Crowd;
use crate::fair::{last_turn, nothing_is_left, queue_is, queuing_by};
use fastrand::Rng;
use test_support::locks::tickets;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{cpu_time_ns, is_sentinel, is_stopped, voluntary_switches};
use test_support::stress::StressSettings;
use test_support::{differs_from_util_linux, wait_until};

#[test]
fn thirty_who_wait_for_the_one_slot_are_served_in_the_order_in_which_they_came() {
    differs_from_util_linux(WHY, |env| {
        let ways: [&[&str]; 5] = [
            &["--slots", "1"],
            &["--slots=1", "-w1000"],
            &["-o", "--slots", "1"],
            &["-F", "--slots", "1"],
            &["--slots", "1", "-x"],
        ];
        let holder = hold(env, "1");
        let mut crowd = Crowd::new(env);
        for number in 0..30 {
            crowd.joins(ways[number % ways.len()]);
        }
        holder.release();
        crowd.end_well(0..30);
        assert_eq!(crowd.order(), Vec::from_iter(0..30));
        nothing_is_left(env, &crowd.tokens());
    });
}

#[test]
fn the_first_one_enters_when_a_slot_is_free_and_the_others_stay() {
    differs_from_util_linux(WHY, |env| {
        let mut inside: Vec<Process> = (0..3).map(|_| hold(env, "3")).collect();
        let queue: Vec<Process> = (0..6)
            .map(|_| holder_to_be(env, &["--slots", "3"]))
            .collect();
        let mut left = queue.len();
        for mut next in queue {
            // Whoever has been in for longest, or for shortest.
            inside.remove(left % inside.len()).release();
            next.expect_line("held");
            left -= 1;
            queue_is(env, left);
            taken_is(env, 3);
            try_for(env, "3", 1);
            inside.push(next);
        }
        inside.into_iter().for_each(Process::release);
        nothing_is_left(env, &[]);
    });
}

#[test]
fn all_enter_for_whom_there_is_room() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&[], "l");
        let mut queue: Vec<Process> = (0..5)
            .map(|_| holder_to_be(env, &["--slots", "3"]))
            .collect();
        holder.release();
        for waiter in &mut queue[..3] {
            waiter.expect_line("held");
        }
        queue_is(env, 2);
        assert_eq!(taken(env).len(), 3);
        let last = queue.split_off(3);
        queue.into_iter().for_each(Process::release);
        for mut waiter in last {
            waiter.expect_line("held");
            waiter.release();
        }
        nothing_is_left(env, &[]);
    });
}

#[test]
fn nobody_with_a_greater_number_passes_one_that_waits() {
    differs_from_util_linux(WHY, |env| {
        let holders = [hold(env, "2"), hold(env, "2")];
        let mut modest = holder_to_be(env, &["--slots", "1"]);
        try_for(env, "5", 1);
        let mut greedy = holder_to_be(env, &["--slots", "5"]);
        queue_is(env, 2);
        let [first, second] = holders;
        first.release();
        // One is left, and the modest one wants to be alone.
        try_for(env, "5", 1);
        queue_is(env, 2);
        second.release();
        modest.expect_line("held");
        greedy.expect_line("held");
        assert_eq!(taken(env).len(), 2);
        modest.release();
        greedy.release();
        nothing_is_left(env, &[]);
    });
}

#[test]
fn locks_and_slots_have_one_queue() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&[], "l");
        let mut crowd = Crowd::new(env);
        for number in 0..12 {
            match number % 3 {
                0 => crowd.joins(&["--fair"]),
                1 => crowd.joins(&["--slots", "1"]),
                _ => crowd.joins_by_shell("exec 8<l; flock --fair 8; NOTE"),
            }
        }
        holder.release();
        crowd.end_well(0..12);
        // Who has a slot is not who has the lock, so they may be in at the same time, but enter one after the other.
        let locks = |number: &usize| number % 3 != 1;
        let (order, slots): (Vec<usize>, Vec<usize>) = crowd.order().into_iter().partition(locks);
        assert!(order.is_sorted(), "{order:?}");
        assert!(slots.is_sorted(), "{slots:?}");
        assert_eq!(order.len() + slots.len(), 12);
        nothing_is_left(env, &crowd.tokens());
    });
}

#[test]
fn of_sixty_twelve_are_killed_or_give_up_and_the_others_are_served_in_order() {
    differs_from_util_linux(WHY, |env| {
        let mut rng = Rng::with_seed(StressSettings::from_env().seed);
        for how in ["killed", "bereft", "impatient"] {
            let _ = std::fs::remove_file(env.file("order"));
            let holder = hold(env, "1");
            let mut crowd = Crowd::new(env);
            crowd.join(60, &["--slots", "1"]);
            let victims = crowd.some(12, &mut rng);
            let gone = match how {
                "killed" => {
                    for victim in &victims {
                        assert!(send_signal(crowd.pid(*victim), libc::SIGKILL));
                        crowd.end(*victim);
                    }
                    victims
                }
                "bereft" => {
                    for victim in &victims {
                        assert!(send_signal(crowd.token(*victim), libc::SIGKILL));
                    }
                    Vec::new()
                }
                _ => {
                    env.run(["--slots", "1", "-w0.05", "l", "true"])
                        .assert_status(1);
                    Vec::new()
                }
            };
            queue_is(env, 60 - gone.len());
            holder.release();
            let others = crowd.without(&gone);
            crowd.end_well(others.clone());
            assert_eq!(crowd.order(), others, "{how}");
            nothing_is_left(env, &crowd.tokens());
        }
    });
}

#[test]
fn a_place_survives_a_stop_and_whoever_stays_stopped_is_passed() {
    differs_from_util_linux(WHY, |env| {
        for still in 0..3 {
            let _ = std::fs::remove_file(env.file("order"));
            let holder = hold(env, "1");
            let mut crowd = Crowd::new(env);
            crowd.join(3, &["--slots", "1"]);
            for number in 0..3 {
                assert!(send_signal(crowd.pid(number), libc::SIGSTOP));
                wait_until("it stops", || is_stopped(crowd.pid(number)));
            }
            let others = crowd.without(&[still]);
            for number in &others {
                assert!(send_signal(crowd.pid(*number), libc::SIGCONT));
                wait_until("it goes on", || !is_stopped(crowd.pid(*number)));
            }
            holder.release();
            crowd.end_well(others.clone());
            assert_eq!(crowd.order(), others);
            assert!(send_signal(crowd.pid(still), libc::SIGCONT));
            crowd.end_well([still]);
            nothing_is_left(env, &crowd.tokens());
        }
    });
}

#[test]
fn who_gives_up_or_is_killed_leaves_nothing() {
    differs_from_util_linux(WHY, |env| {
        let holder = hold(env, "1");
        for behind in [false, true] {
            let first = behind.then(|| holder_to_be(env, &["--slots", "1"]));
            let before = tickets(env.file("l"));
            for time in ["-w0.000001", "-w0.0001", "-w0.01", "-n"] {
                env.run(["--slots", "1", time, "-E42", "l", "true"])
                    .assert_stderr("")
                    .assert_status(42);
            }
            assert_eq!(tickets(env.file("l")), before);
            for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGINT] {
                let mut waiter = holder_to_be(env, &["--slots", "1"]);
                let token = last_turn(env).sentinel;
                waiter.signal(signal);
                assert_eq!(waiter.wait(), ExitReason::Signaled(signal));
                queue_is(env, before.len());
                wait_until("the token goes too", || !is_sentinel(token));
            }
            assert_eq!(taken(env).len(), 1);
            drop(first);
            queue_is(env, 0);
        }
        holder.release();
        nothing_is_left(env, &[]);
    });
}

#[test]
fn the_time_does_not_begin_again_when_the_queue_moves() {
    differs_from_util_linux(WHY, |env| {
        let holder = hold(env, "1");
        let mut queue: Vec<Process> = (0..20)
            .map(|_| holder_to_be(env, &["--slots", "1"]))
            .collect();
        let mut timed = holder_to_be(env, &["--slots", "1", "-w1.5", "-E42"]);
        // Each time the one goes that it waits for. All that takes four seconds; were its time counted from the last
        // move, it would still have most of it.
        while queue.pop().is_some() {
            env.run(["--slots", "1", "-w0.2", "l", "true"])
                .assert_status(1);
        }
        assert!(timed.has_exited());
        assert_eq!(timed.wait(), ExitReason::Exited(42));
        holder.release();
        nothing_is_left(env, &[]);
    });
}

#[test]
fn those_who_wait_use_no_processor() {
    differs_from_util_linux(WHY, |env| {
        let holders: Vec<Process> = (0..3).map(|_| hold(env, "3")).collect();
        let queue: Vec<Process> = (0..6)
            .map(|_| holder_to_be(env, &["--slots", "3"]))
            .collect();
        let tokens = tickets(env.file("l")).into_iter().map(|turn| turn.sentinel);
        let all: Vec<i32> = queue.iter().map(Process::pid).chain(tokens).collect();
        // Somebody else's timeout is the clock.
        let clock = || {
            env.run(["--slots", "3", "-w1", "l", "true"])
                .assert_status(1);
        };
        clock();
        let before: Vec<(u64, u64)> = all
            .iter()
            .map(|pid| (cpu_time_ns(*pid), voluntary_switches(*pid)))
            .collect();
        clock();
        for (pid, (worked, slept)) in all.iter().zip(before) {
            // One that is busy has had half a second or more, and one that polls every hundredth has slept a hundred
            // times.
            assert!(cpu_time_ns(*pid) - worked < 100_000_000, "{pid} is busy");
            assert!(voluntary_switches(*pid) - slept < 20, "{pid} polls");
        }
        drop(queue);
        holders.into_iter().for_each(Process::release);
        nothing_is_left(env, &all[6..]);
    });
}

#[test]
fn whoever_waits_in_a_script_has_the_place_of_its_flock() {
    differs_from_util_linux(WHY, |env| {
        let holder = hold(env, "1");
        let mut shell = env.command("sh");
        shell.args(["-c", "flock --slots 1 l echo first; echo second"]);
        let mut shell = queuing_by(env, shell);
        holder.release();
        shell.expect_line("first");
        shell.expect_line("second");
        nothing_is_left(env, &[]);
    });
}
