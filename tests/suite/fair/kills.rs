//! Who is killed, or gives up, takes his place with him, and the order of all others stays as it was.

use std::os::unix::process::ExitStatusExt;

use super::crowd::Crowd;
use super::{WHY, last_turn, nothing_is_left, queue_is, queuing, queuing_by};
use test_support::locks::{busy, children_of, is_token, locks_on, parent_of, status_field, turns};
use test_support::pre_exec::signal_set;
use test_support::process::{End, Live, send};
use test_support::stress::{Dice, size_and_seed};
use test_support::{Lab, departure, wait_until};

/// A hundred who wait, and twenty of them by chance.
fn hundred<'l>(lab: &'l Lab, dice: &mut Dice) -> (Live, Crowd<'l>, Vec<usize>) {
    let holder = lab.hold(&["--fair"], "l");
    let mut crowd = Crowd::new(lab);
    crowd.join(100, &["--fair"]);
    queue_is(lab, 100);
    let victims = crowd.some(20, dice);
    (holder, crowd, victims)
}

#[test]
fn of_a_hundred_twenty_are_killed_and_the_others_are_served_in_order() {
    departure(WHY, |lab| {
        let mut dice = Dice(size_and_seed().1);
        for signal in [libc::SIGKILL, libc::SIGTERM] {
            let _ = std::fs::remove_file(lab.file("order"));
            let (holder, mut crowd, victims) = hundred(lab, &mut dice);
            for victim in &victims {
                assert!(send(crowd.pid(*victim), signal));
            }
            for victim in &victims {
                assert_eq!(crowd.end(*victim).signal(), Some(signal), "{victim}");
            }
            queue_is(lab, 80);
            holder.let_go();
            let others = crowd.without(&victims);
            crowd.end_well(others.clone());
            assert_eq!(crowd.order(), others);
            nothing_is_left(lab, &crowd.tokens());
        }
    });
}

#[test]
fn those_who_are_killed_while_others_are_served_leave_the_order_as_it_is() {
    departure(WHY, |lab| {
        let mut dice = Dice(size_and_seed().1);
        for signal in [libc::SIGKILL, libc::SIGTERM] {
            let _ = std::fs::remove_file(lab.file("order"));
            let (holder, mut crowd, victims) = hundred(lab, &mut dice);
            holder.let_go();
            for victim in &victims {
                send(crowd.pid(*victim), signal);
                dice.dawdle();
            }
            let others = crowd.without(&victims);
            crowd.end_well(others.clone());
            for victim in &victims {
                crowd.end(*victim);
            }
            nothing_is_left(lab, &crowd.tokens());
            let order = crowd.order();
            assert!(order.is_sorted_by(|one, next| one < next), "{order:?}");
            let served = |number: &usize| order.contains(number);
            assert!(others.iter().all(served), "{order:?} without {victims:?}");
        }
    });
}

#[test]
fn a_place_survives_the_death_of_its_token() {
    departure(WHY, |lab| {
        let mut dice = Dice(size_and_seed().1);
        let (holder, mut crowd, victims) = hundred(lab, &mut dice);
        let since = || -> Vec<_> {
            let turns = turns(lab.file("l"));
            turns.iter().map(|turn| (turn.since, turn.mode)).collect()
        };
        let before = since();
        for victim in &victims {
            assert!(send(crowd.token(*victim), libc::SIGKILL));
        }
        // But for the head of the queue, who waits for the lock and not for a turn, and needs none to keep his place.
        let replaced = victims.iter().filter(|victim| **victim != 0);
        let dead: Vec<i32> = replaced.map(|victim| crowd.token(*victim)).collect();
        wait_until("each has another one, since the same time", || {
            let now = turns(lab.file("l"));
            let gone = |dead: &i32| !now.iter().any(|turn| turn.token == *dead);
            dead.iter().all(gone) && since() == before
        });
        assert!(!dead.iter().any(|dead| is_token(*dead)));
        holder.let_go();
        crowd.end_well(0..100);
        assert_eq!(crowd.order(), Vec::from_iter(0..100));
        nothing_is_left(lab, &crowd.tokens());
    });
}

#[test]
fn tokens_that_are_killed_while_the_queue_moves_cost_nobody_his_turn() {
    departure(WHY, |lab| {
        let mut dice = Dice(size_and_seed().1);
        let (holder, mut crowd, _) = hundred(lab, &mut dice);
        holder.let_go();
        let mut killed = 0;
        loop {
            let turns = turns(lab.file("l"));
            if turns.is_empty() {
                break;
            }
            let victim = turns[dice.below(turns.len() as u64) as usize];
            killed += u64::from(send(victim.token, libc::SIGKILL));
        }
        assert!(killed > 0, "nobody was killed");
        crowd.end_well(0..100);
        let mut served = crowd.order();
        served.sort_unstable();
        assert_eq!(served, Vec::from_iter(0..100));
        nothing_is_left(lab, &crowd.tokens());
    });
}

#[test]
fn of_a_hundred_twenty_give_up_and_the_others_are_served_in_order() {
    departure(WHY, |lab| {
        let mut dice = Dice(size_and_seed().1);
        let holder = lab.hold(&["--fair"], "l");
        let mut crowd = Crowd::new(lab);
        let mut impatient = Vec::new();
        for number in 0..100 {
            if dice.below(5) == 0 {
                impatient.push(number);
                crowd.joins_for("1");
            } else {
                crowd.joins(&["--fair"]);
            }
        }
        for number in &impatient {
            assert_eq!(crowd.end(*number).code(), Some(42));
        }
        let others = crowd.without(&impatient);
        queue_is(lab, others.len());
        holder.let_go();
        crowd.end_well(others.clone());
        assert_eq!(crowd.order(), others);
        nothing_is_left(lab, &crowd.tokens());
    });
}

#[test]
fn those_who_give_up_while_others_are_served_leave_the_order_as_it_is() {
    departure(WHY, |lab| {
        let mut dice = Dice(size_and_seed().1);
        let holder = lab.hold(&["--fair"], "l");
        let mut crowd = Crowd::new(lab);
        // Their time is up at about the time when all have come and the holder goes.
        let mut impatient = Vec::new();
        for number in 0..60 {
            if dice.below(2) == 0 {
                impatient.push(number);
                crowd.joins_for(&format!("{}ms", 1000 + dice.below(400)));
            } else {
                crowd.joins(&["--fair"]);
            }
        }
        holder.let_go();
        let others = crowd.without(&impatient);
        crowd.end_well(others);
        let gave_up: Vec<usize> = impatient
            .into_iter()
            .filter(|number| match crowd.end(*number).code() {
                Some(42) => true,
                status => {
                    assert_eq!(status, Some(0), "{number}");
                    false
                }
            })
            .collect();
        assert_eq!(crowd.order(), crowd.without(&gave_up));
        nothing_is_left(lab, &crowd.tokens());
    });
}

#[test]
fn a_killed_waiter_leaves_neither_turn_nor_token() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        // The first in the queue and one behind it, by path and by descriptor.
        for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGINT, libc::SIGHUP, 34] {
            for words in [
                ["--fair", "l", "touch", "ran"],
                ["--fair", "--fd", "0", "true"],
            ] {
                let mut shell = lab.command("sh");
                shell
                    .args(["-c", "exec flock \"$@\" 0<l", "sh"])
                    .args(words);
                let mut first = queuing_by(lab, shell);
                let mut second = queuing(lab, ["--fair", "-s", "l", "touch", "ran"]);
                let tokens = turns(lab.file("l")).into_iter().map(|turn| turn.token);
                let tokens: Vec<i32> = tokens.collect();
                for waiter in [&mut second, &mut first] {
                    waiter.signal(signal);
                    assert_eq!(waiter.end(), End::Killed(signal));
                }
                wait_until("nobody waits", || {
                    locks_on(lab.file("l")).len() == 1
                        && !tokens.iter().any(|token| is_token(*token))
                });
            }
        }
        assert!(!lab.file("ran").exists());
        holder.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn the_token_is_a_child_that_hears_nothing_and_does_nothing() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut waiter = queuing(lab, ["--fair", "l", "echo", "done"]);
        let token = last_turn(lab).token;
        assert_eq!(parent_of(token), waiter.pid());
        assert_eq!(children_of(waiter.pid()), [token]);
        wait_until("it has its name", || is_token(token));
        let all = !signal_set([libc::SIGKILL, libc::SIGSTOP]);
        assert_eq!(status_field(token, "SigBlk"), format!("{all:016x}"));
        // What others send to the whole group, the token included, ends no wait that was not to end.
        for signal in [
            libc::SIGTERM,
            libc::SIGINT,
            libc::SIGHUP,
            libc::SIGUSR1,
            34,
            64,
        ] {
            assert!(send(token, signal));
        }
        let worked = busy(token);
        lab.run(["-w0.2", "l", "true"]).expect_code(1);
        assert!(busy(token) - worked < 20_000_000, "it is busy");
        assert_eq!(last_turn(lab).token, token);
        holder.let_go();
        waiter.hears("done");
        assert_eq!(waiter.end(), End::Exited(0));
        nothing_is_left(lab, &[token]);
    });
}

#[test]
fn a_token_that_is_killed_again_and_again_is_replaced_each_time() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut crowd = Crowd::new(lab);
        crowd.join(3, &["--fair"]);
        let before = turns(lab.file("l"));
        for _ in 0..20 {
            let victim = turns(lab.file("l"))[1];
            assert!(send(victim.token, libc::SIGKILL));
            wait_until("there is another one", || {
                let now = turns(lab.file("l"));
                now.len() == 3 && now[1].token != victim.token
            });
        }
        let after = turns(lab.file("l"));
        assert_eq!(after[1].since, before[1].since);
        // No old one is left to be waited for.
        assert_eq!(children_of(crowd.pid(1)), [after[1].token]);
        assert_eq!((before[0], before[2]), (after[0], after[2]));
        holder.let_go();
        crowd.end_well(0..3);
        assert_eq!(crowd.order(), [0, 1, 2]);
        nothing_is_left(lab, &[after[1].token]);
    });
}

#[test]
fn whosever_token_is_killed_nobody_gets_busy() {
    departure(WHY, |lab| {
        for victim in 0..3 {
            let _ = std::fs::remove_file(lab.file("order"));
            let holder = lab.hold(&["--fair"], "l");
            let mut crowd = Crowd::new(lab);
            crowd.join(3, &["--fair"]);
            assert!(send(crowd.token(victim), libc::SIGKILL));
            wait_until("it is dead", || !is_token(crowd.token(victim)));
            crowd.join(1, &["--fair"]);
            let worked = || -> u64 { (0..4).map(|number| busy(crowd.pid(number))).sum() };
            let before = worked();
            // Somebody else's timeout is the clock.
            lab.run(["-w0.5", "l", "true"]).expect_code(1);
            let worked = worked() - before;
            assert!(worked < 100_000_000, "{victim}: {worked} ns");
            holder.let_go();
            crowd.end_well(0..4);
            assert_eq!(crowd.order(), [0, 1, 2, 3], "{victim}");
            nothing_is_left(lab, &crowd.tokens());
        }
    });
}

#[test]
fn a_writer_whose_token_is_killed_is_not_passed_by_readers() {
    departure(WHY, |lab| {
        let reader = lab.hold(&["--fair", "-s"], "l");
        let mut writer = queuing(lab, ["--fair", "l", "echo", "wrote"]);
        let token = last_turn(lab).token;
        assert!(send(token, libc::SIGKILL));
        wait_until("it is dead", || !is_token(token));
        lab.run(["--fair", "-ns", "l", "true"]).expect_code(1);
        let mut late = queuing(lab, ["--fair", "-s", "l", "echo", "read"]);
        reader.let_go();
        writer.hears("wrote");
        late.hears("read");
        assert_eq!(writer.end(), End::Exited(0));
        assert_eq!(late.end(), End::Exited(0));
        nothing_is_left(lab, &[token]);
    });
}
