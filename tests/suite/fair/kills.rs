//! Who is killed, or gives up, takes his place with him, and the order of all others stays as it was.

use std::os::unix::process::ExitStatusExt;
use test_support::stress::random_delay;

use super::crowd::Crowd;
use super::{WHY, last_turn, nothing_is_left, queue_is, queuing, queuing_by};
use fastrand::Rng;
use test_support::locks::{locks_on, tickets};
use test_support::pre_exec::signal_set;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{children_of, cpu_time_ns, is_sentinel, parent_of, status_field};
use test_support::stress::StressSettings;
use test_support::{TestEnv, differs_from_util_linux, wait_until};

/// A hundred who wait, and twenty of them by chance.
fn hundred<'l>(env: &'l TestEnv, rng: &mut Rng) -> (Process, Crowd<'l>, Vec<usize>) {
    let holder = env.hold(&["--fair"], "l");
    let mut crowd = Crowd::new(env);
    crowd.join(100, &["--fair"]);
    queue_is(env, 100);
    let victims = crowd.some(20, rng);
    (holder, crowd, victims)
}

#[test]
fn of_a_hundred_twenty_are_killed_and_the_others_are_served_in_order() {
    differs_from_util_linux(WHY, |env| {
        let mut rng = Rng::with_seed(StressSettings::from_env().seed);
        for signal in [libc::SIGKILL, libc::SIGTERM] {
            let _ = std::fs::remove_file(env.file("order"));
            let (holder, mut crowd, victims) = hundred(env, &mut rng);
            for victim in &victims {
                assert!(send_signal(crowd.pid(*victim), signal));
            }
            for victim in &victims {
                assert_eq!(crowd.end(*victim).signal(), Some(signal), "{victim}");
            }
            queue_is(env, 80);
            holder.release();
            let others = crowd.without(&victims);
            crowd.end_well(others.clone());
            assert_eq!(crowd.order(), others);
            nothing_is_left(env, &crowd.tokens());
        }
    });
}

#[test]
fn those_who_are_killed_while_others_are_served_leave_the_order_as_it_is() {
    differs_from_util_linux(WHY, |env| {
        let mut rng = Rng::with_seed(StressSettings::from_env().seed);
        for signal in [libc::SIGKILL, libc::SIGTERM] {
            let _ = std::fs::remove_file(env.file("order"));
            let (holder, mut crowd, victims) = hundred(env, &mut rng);
            holder.release();
            for victim in &victims {
                send_signal(crowd.pid(*victim), signal);
                random_delay(&mut rng);
            }
            let others = crowd.without(&victims);
            crowd.end_well(others.clone());
            for victim in &victims {
                crowd.end(*victim);
            }
            nothing_is_left(env, &crowd.tokens());
            let order = crowd.order();
            assert!(order.is_sorted_by(|one, next| one < next), "{order:?}");
            let served = |number: &usize| order.contains(number);
            assert!(others.iter().all(served), "{order:?} without {victims:?}");
        }
    });
}

#[test]
fn a_place_survives_the_death_of_its_token() {
    differs_from_util_linux(WHY, |env| {
        let mut rng = Rng::with_seed(StressSettings::from_env().seed);
        let (holder, mut crowd, victims) = hundred(env, &mut rng);
        let since = || -> Vec<_> {
            let turns = tickets(env.file("l"));
            turns.iter().map(|turn| (turn.arrived, turn.mode)).collect()
        };
        let before = since();
        for victim in &victims {
            assert!(send_signal(crowd.token(*victim), libc::SIGKILL));
        }
        // But for the head of the queue, who waits for the lock and not for a turn, and needs none to keep his place.
        let replaced = victims.iter().filter(|victim| **victim != 0);
        let dead: Vec<i32> = replaced.map(|victim| crowd.token(*victim)).collect();
        wait_until("each has another one, since the same time", || {
            let now = tickets(env.file("l"));
            let gone = |dead: &i32| !now.iter().any(|turn| turn.sentinel == *dead);
            dead.iter().all(gone) && since() == before
        });
        assert!(!dead.iter().any(|dead| is_sentinel(*dead)));
        holder.release();
        crowd.end_well(0..100);
        assert_eq!(crowd.order(), Vec::from_iter(0..100));
        nothing_is_left(env, &crowd.tokens());
    });
}

#[test]
fn tokens_that_are_killed_while_the_queue_moves_cost_nobody_his_turn() {
    differs_from_util_linux(WHY, |env| {
        let mut rng = Rng::with_seed(StressSettings::from_env().seed);
        let (holder, mut crowd, _) = hundred(env, &mut rng);
        holder.release();
        let mut killed = 0;
        loop {
            let turns = tickets(env.file("l"));
            if turns.is_empty() {
                break;
            }
            let victim = turns[rng.usize(..turns.len())];
            killed += u64::from(send_signal(victim.sentinel, libc::SIGKILL));
        }
        assert!(killed > 0, "nobody was killed");
        crowd.end_well(0..100);
        let mut served = crowd.order();
        served.sort_unstable();
        assert_eq!(served, Vec::from_iter(0..100));
        nothing_is_left(env, &crowd.tokens());
    });
}

#[test]
fn of_a_hundred_twenty_give_up_and_the_others_are_served_in_order() {
    differs_from_util_linux(WHY, |env| {
        let mut rng = Rng::with_seed(StressSettings::from_env().seed);
        let holder = env.hold(&["--fair"], "l");
        let mut crowd = Crowd::new(env);
        let mut impatient = Vec::new();
        for number in 0..100 {
            if rng.u64(..5) == 0 {
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
        queue_is(env, others.len());
        holder.release();
        crowd.end_well(others.clone());
        assert_eq!(crowd.order(), others);
        nothing_is_left(env, &crowd.tokens());
    });
}

#[test]
fn those_who_give_up_while_others_are_served_leave_the_order_as_it_is() {
    differs_from_util_linux(WHY, |env| {
        let mut rng = Rng::with_seed(StressSettings::from_env().seed);
        let holder = env.hold(&["--fair"], "l");
        let mut crowd = Crowd::new(env);
        // Their time is up at about the time when all have come and the holder goes.
        let mut impatient = Vec::new();
        for number in 0..60 {
            if rng.u64(..2) == 0 {
                impatient.push(number);
                crowd.joins_for(&format!("{}ms", 1000 + rng.u64(..400)));
            } else {
                crowd.joins(&["--fair"]);
            }
        }
        holder.release();
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
        nothing_is_left(env, &crowd.tokens());
    });
}

#[test]
fn a_killed_waiter_leaves_neither_turn_nor_token() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        // The first in the queue and one behind it, by path and by descriptor.
        for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGINT, libc::SIGHUP, 34] {
            for words in [
                ["--fair", "l", "touch", "ran"],
                ["--fair", "--fd", "0", "true"],
            ] {
                let mut shell = env.command("sh");
                shell
                    .args(["-c", "exec flock \"$@\" 0<l", "sh"])
                    .args(words);
                let mut first = queuing_by(env, shell);
                let mut second = queuing(env, ["--fair", "-s", "l", "touch", "ran"]);
                let tokens = tickets(env.file("l")).into_iter().map(|turn| turn.sentinel);
                let tokens: Vec<i32> = tokens.collect();
                for waiter in [&mut second, &mut first] {
                    waiter.signal(signal);
                    assert_eq!(waiter.wait(), ExitReason::Signaled(signal));
                }
                wait_until("nobody waits", || {
                    locks_on(env.file("l")).len() == 1
                        && !tokens.iter().any(|token| is_sentinel(*token))
                });
            }
        }
        assert!(!env.file("ran").exists());
        holder.release();
        nothing_is_left(env, &[]);
    });
}

#[test]
fn the_token_is_a_child_that_hears_nothing_and_does_nothing() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut waiter = queuing(env, ["--fair", "l", "echo", "done"]);
        let token = last_turn(env).sentinel;
        assert_eq!(parent_of(token), waiter.pid());
        assert_eq!(children_of(waiter.pid()), [token]);
        wait_until("it has its name", || is_sentinel(token));
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
            assert!(send_signal(token, signal));
        }
        let worked = cpu_time_ns(token);
        env.run(["-w0.2", "l", "true"]).assert_status(1);
        assert!(cpu_time_ns(token) - worked < 20_000_000, "it is busy");
        assert_eq!(last_turn(env).sentinel, token);
        holder.release();
        waiter.expect_line("done");
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
        nothing_is_left(env, &[token]);
    });
}

#[test]
fn a_token_that_is_killed_again_and_again_is_replaced_each_time() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut crowd = Crowd::new(env);
        crowd.join(3, &["--fair"]);
        let before = tickets(env.file("l"));
        for _ in 0..20 {
            let victim = tickets(env.file("l"))[1];
            assert!(send_signal(victim.sentinel, libc::SIGKILL));
            wait_until("there is another one", || {
                let now = tickets(env.file("l"));
                now.len() == 3 && now[1].sentinel != victim.sentinel
            });
        }
        let after = tickets(env.file("l"));
        assert_eq!(after[1].arrived, before[1].arrived);
        // No old one is left to be waited for.
        assert_eq!(children_of(crowd.pid(1)), [after[1].sentinel]);
        assert_eq!((before[0], before[2]), (after[0], after[2]));
        holder.release();
        crowd.end_well(0..3);
        assert_eq!(crowd.order(), [0, 1, 2]);
        nothing_is_left(env, &[after[1].sentinel]);
    });
}

#[test]
fn whosever_token_is_killed_nobody_gets_busy() {
    differs_from_util_linux(WHY, |env| {
        for victim in 0..3 {
            let _ = std::fs::remove_file(env.file("order"));
            let holder = env.hold(&["--fair"], "l");
            let mut crowd = Crowd::new(env);
            crowd.join(3, &["--fair"]);
            assert!(send_signal(crowd.token(victim), libc::SIGKILL));
            wait_until("it is dead", || !is_sentinel(crowd.token(victim)));
            crowd.join(1, &["--fair"]);
            let worked = || -> u64 { (0..4).map(|number| cpu_time_ns(crowd.pid(number))).sum() };
            let before = worked();
            // Somebody else's timeout is the clock.
            env.run(["-w0.5", "l", "true"]).assert_status(1);
            let worked = worked() - before;
            assert!(worked < 100_000_000, "{victim}: {worked} ns");
            holder.release();
            crowd.end_well(0..4);
            assert_eq!(crowd.order(), [0, 1, 2, 3], "{victim}");
            nothing_is_left(env, &crowd.tokens());
        }
    });
}

#[test]
fn a_writer_whose_token_is_killed_is_not_passed_by_readers() {
    differs_from_util_linux(WHY, |env| {
        let reader = env.hold(&["--fair", "-s"], "l");
        let mut writer = queuing(env, ["--fair", "l", "echo", "wrote"]);
        let token = last_turn(env).sentinel;
        assert!(send_signal(token, libc::SIGKILL));
        wait_until("it is dead", || !is_sentinel(token));
        env.run(["--fair", "-ns", "l", "true"]).assert_status(1);
        let mut late = queuing(env, ["--fair", "-s", "l", "echo", "read"]);
        reader.release();
        writer.expect_line("wrote");
        late.expect_line("read");
        assert_eq!(writer.wait(), ExitReason::Exited(0));
        assert_eq!(late.wait(), ExitReason::Exited(0));
        nothing_is_left(env, &[token]);
    });
}
