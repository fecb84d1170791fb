//! Who waits for a slot: one queue, first come, first served, whatever happens to those who wait.

use super::{WHY, hold, holder_to_be, taken, taken_is, try_for};
use crate::fair::crowd::Crowd;
use crate::fair::{last_turn, nothing_is_left, queue_is, queuing_by};
use test_support::locks::{busy, is_token, naps, stopped, turns};
use test_support::process::{End, Live, send};
use test_support::stress::{Dice, size_and_seed};
use test_support::{departure, wait_until};

#[test]
fn thirty_who_wait_for_the_one_slot_are_served_in_the_order_in_which_they_came() {
    departure(WHY, |lab| {
        let ways: [&[&str]; 5] = [
            &["--slots", "1"],
            &["--slots=1", "-w1000"],
            &["-o", "--slots", "1"],
            &["-F", "--slots", "1"],
            &["--slots", "1", "-x"],
        ];
        let holder = hold(lab, "1");
        let mut crowd = Crowd::new(lab);
        for number in 0..30 {
            crowd.joins(ways[number % ways.len()]);
        }
        holder.let_go();
        crowd.end_well(0..30);
        assert_eq!(crowd.order(), Vec::from_iter(0..30));
        nothing_is_left(lab, &crowd.tokens());
    });
}

#[test]
fn the_first_one_enters_when_a_slot_is_free_and_the_others_stay() {
    departure(WHY, |lab| {
        let mut inside: Vec<Live> = (0..3).map(|_| hold(lab, "3")).collect();
        let queue: Vec<Live> = (0..6)
            .map(|_| holder_to_be(lab, &["--slots", "3"]))
            .collect();
        let mut left = queue.len();
        for mut next in queue {
            // Whoever has been in for longest, or for shortest.
            inside.remove(left % inside.len()).let_go();
            next.hears("held");
            left -= 1;
            queue_is(lab, left);
            taken_is(lab, 3);
            try_for(lab, "3", 1);
            inside.push(next);
        }
        inside.into_iter().for_each(Live::let_go);
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn all_enter_for_whom_there_is_room() {
    departure(WHY, |lab| {
        let holder = lab.hold(&[], "l");
        let mut queue: Vec<Live> = (0..5)
            .map(|_| holder_to_be(lab, &["--slots", "3"]))
            .collect();
        holder.let_go();
        for waiter in &mut queue[..3] {
            waiter.hears("held");
        }
        queue_is(lab, 2);
        assert_eq!(taken(lab).len(), 3);
        let last = queue.split_off(3);
        queue.into_iter().for_each(Live::let_go);
        for mut waiter in last {
            waiter.hears("held");
            waiter.let_go();
        }
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn nobody_with_a_greater_number_passes_one_that_waits() {
    departure(WHY, |lab| {
        let holders = [hold(lab, "2"), hold(lab, "2")];
        let mut modest = holder_to_be(lab, &["--slots", "1"]);
        try_for(lab, "5", 1);
        let mut greedy = holder_to_be(lab, &["--slots", "5"]);
        queue_is(lab, 2);
        let [first, second] = holders;
        first.let_go();
        // One is left, and the modest one wants to be alone.
        try_for(lab, "5", 1);
        queue_is(lab, 2);
        second.let_go();
        modest.hears("held");
        greedy.hears("held");
        assert_eq!(taken(lab).len(), 2);
        modest.let_go();
        greedy.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn locks_and_slots_have_one_queue() {
    departure(WHY, |lab| {
        let holder = lab.hold(&[], "l");
        let mut crowd = Crowd::new(lab);
        for number in 0..12 {
            match number % 3 {
                0 => crowd.joins(&["--fair"]),
                1 => crowd.joins(&["--slots", "1"]),
                _ => crowd.joins_by_shell("exec 8<l; flock --fair 8; NOTE"),
            }
        }
        holder.let_go();
        crowd.end_well(0..12);
        // Who has a slot is not who has the lock, so they may be in at the same time, but enter one after the other.
        let locks = |number: &usize| number % 3 != 1;
        let (order, slots): (Vec<usize>, Vec<usize>) = crowd.order().into_iter().partition(locks);
        assert!(order.is_sorted(), "{order:?}");
        assert!(slots.is_sorted(), "{slots:?}");
        assert_eq!(order.len() + slots.len(), 12);
        nothing_is_left(lab, &crowd.tokens());
    });
}

#[test]
fn of_sixty_twelve_are_killed_or_give_up_and_the_others_are_served_in_order() {
    departure(WHY, |lab| {
        let mut dice = Dice(size_and_seed().1);
        for how in ["killed", "bereft", "impatient"] {
            let _ = std::fs::remove_file(lab.file("order"));
            let holder = hold(lab, "1");
            let mut crowd = Crowd::new(lab);
            crowd.join(60, &["--slots", "1"]);
            let victims = crowd.some(12, &mut dice);
            let gone = match how {
                "killed" => {
                    for victim in &victims {
                        assert!(send(crowd.pid(*victim), libc::SIGKILL));
                        crowd.end(*victim);
                    }
                    victims
                }
                "bereft" => {
                    for victim in &victims {
                        assert!(send(crowd.token(*victim), libc::SIGKILL));
                    }
                    Vec::new()
                }
                _ => {
                    lab.run(["--slots", "1", "-w0.05", "l", "true"])
                        .expect_code(1);
                    Vec::new()
                }
            };
            queue_is(lab, 60 - gone.len());
            holder.let_go();
            let others = crowd.without(&gone);
            crowd.end_well(others.clone());
            assert_eq!(crowd.order(), others, "{how}");
            nothing_is_left(lab, &crowd.tokens());
        }
    });
}

#[test]
fn a_place_survives_a_stop_and_whoever_stays_stopped_is_passed() {
    departure(WHY, |lab| {
        for still in 0..3 {
            let _ = std::fs::remove_file(lab.file("order"));
            let holder = hold(lab, "1");
            let mut crowd = Crowd::new(lab);
            crowd.join(3, &["--slots", "1"]);
            for number in 0..3 {
                assert!(send(crowd.pid(number), libc::SIGSTOP));
                wait_until("it stops", || stopped(crowd.pid(number)));
            }
            let others = crowd.without(&[still]);
            for number in &others {
                assert!(send(crowd.pid(*number), libc::SIGCONT));
                wait_until("it goes on", || !stopped(crowd.pid(*number)));
            }
            holder.let_go();
            crowd.end_well(others.clone());
            assert_eq!(crowd.order(), others);
            assert!(send(crowd.pid(still), libc::SIGCONT));
            crowd.end_well([still]);
            nothing_is_left(lab, &crowd.tokens());
        }
    });
}

#[test]
fn who_gives_up_or_is_killed_leaves_nothing() {
    departure(WHY, |lab| {
        let holder = hold(lab, "1");
        for behind in [false, true] {
            let first = behind.then(|| holder_to_be(lab, &["--slots", "1"]));
            let before = turns(lab.file("l"));
            for time in ["-w0.000001", "-w0.0001", "-w0.01", "-n"] {
                lab.run(["--slots", "1", time, "-E42", "l", "true"])
                    .expect_err("")
                    .expect_code(42);
            }
            assert_eq!(turns(lab.file("l")), before);
            for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGINT] {
                let mut waiter = holder_to_be(lab, &["--slots", "1"]);
                let token = last_turn(lab).token;
                waiter.signal(signal);
                assert_eq!(waiter.end(), End::Killed(signal));
                queue_is(lab, before.len());
                wait_until("the token goes too", || !is_token(token));
            }
            assert_eq!(taken(lab).len(), 1);
            drop(first);
            queue_is(lab, 0);
        }
        holder.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn the_time_does_not_begin_again_when_the_queue_moves() {
    departure(WHY, |lab| {
        let holder = hold(lab, "1");
        let mut queue: Vec<Live> = (0..20)
            .map(|_| holder_to_be(lab, &["--slots", "1"]))
            .collect();
        let mut timed = holder_to_be(lab, &["--slots", "1", "-w1.5", "-E42"]);
        // Each time the one goes that it waits for. All that takes four seconds; were its time counted from the last
        // move, it would still have most of it.
        while queue.pop().is_some() {
            lab.run(["--slots", "1", "-w0.2", "l", "true"])
                .expect_code(1);
        }
        assert!(timed.is_over());
        assert_eq!(timed.end(), End::Exited(42));
        holder.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn those_who_wait_use_no_processor() {
    departure(WHY, |lab| {
        let holders: Vec<Live> = (0..3).map(|_| hold(lab, "3")).collect();
        let queue: Vec<Live> = (0..6)
            .map(|_| holder_to_be(lab, &["--slots", "3"]))
            .collect();
        let tokens = turns(lab.file("l")).into_iter().map(|turn| turn.token);
        let all: Vec<i32> = queue.iter().map(Live::pid).chain(tokens).collect();
        // Somebody else's timeout is the clock.
        let clock = || {
            lab.run(["--slots", "3", "-w1", "l", "true"]).expect_code(1);
        };
        clock();
        let naps = |pid: &i32| naps(*pid).parse::<u64>().expect("it lives");
        let before: Vec<(u64, u64)> = all.iter().map(|pid| (busy(*pid), naps(pid))).collect();
        clock();
        for (pid, (worked, slept)) in all.iter().zip(before) {
            // One that is busy has had half a second or more, and one that polls every hundredth has slept a hundred
            // times.
            assert!(busy(*pid) - worked < 100_000_000, "{pid} is busy");
            assert!(naps(pid) - slept < 20, "{pid} polls");
        }
        drop(queue);
        holders.into_iter().for_each(Live::let_go);
        nothing_is_left(lab, &all[6..]);
    });
}

#[test]
fn whoever_waits_in_a_script_has_the_place_of_its_flock() {
    departure(WHY, |lab| {
        let holder = hold(lab, "1");
        let mut shell = lab.command("sh");
        shell.args(["-c", "flock --slots 1 l echo first; echo second"]);
        let mut shell = queuing_by(lab, shell);
        holder.let_go();
        shell.hears("first");
        shell.hears("second");
        nothing_is_left(lab, &[]);
    });
}
