//! Who is killed, or gives up, takes his place with him, and the order of all others stays as it was.

use std::os::unix::process::ExitStatusExt;
use test_support::stress::random_delay;

use super::waiter_pool::WaiterPool;
use super::{WHY, assert_clean, assert_queue_len, last_ticket, spawn_waiter, spawn_waiter_command};
use fastrand::Rng;
use test_support::locks::{locks_on, tickets};
use test_support::pre_exec::signal_set;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{children_of, cpu_time_ns, is_sentinel, parent_of, status_field};
use test_support::stress::StressSettings;
use test_support::{TestEnv, differs_from_util_linux, wait_until};

/// A hundred who wait, and twenty of them by chance.
fn hundred<'l>(env: &'l TestEnv, rng: &mut Rng) -> (Process, WaiterPool<'l>, Vec<usize>) {
    let holder = env.hold(&["--fair"], "l");
    let mut pool = WaiterPool::new(env);
    pool.spawn_many(100, &["--fair"]);
    assert_queue_len(env, 100);
    let victims = pool.sample(20, rng);
    (holder, pool, victims)
}

#[test]
fn of_a_hundred_twenty_are_killed_and_the_others_are_served_in_order() {
    differs_from_util_linux(WHY, |env| {
        let mut rng = Rng::with_seed(StressSettings::from_env().seed);
        for signal in [libc::SIGKILL, libc::SIGTERM] {
            let _ = std::fs::remove_file(env.file("order"));
            let (holder, mut pool, victims) = hundred(env, &mut rng);
            for victim in &victims {
                assert!(send_signal(pool.pid(*victim), signal));
            }
            for victim in &victims {
                assert_eq!(pool.wait(*victim).signal(), Some(signal), "{victim}");
            }
            assert_queue_len(env, 80);
            holder.release();
            let others = pool.all_except(&victims);
            pool.assert_success(others.clone());
            assert_eq!(pool.order(), others);
            assert_clean(env, &pool.sentinels());
        }
    });
}

#[test]
fn those_who_are_killed_while_others_are_served_leave_the_order_as_it_is() {
    differs_from_util_linux(WHY, |env| {
        let mut rng = Rng::with_seed(StressSettings::from_env().seed);
        for signal in [libc::SIGKILL, libc::SIGTERM] {
            let _ = std::fs::remove_file(env.file("order"));
            let (holder, mut pool, victims) = hundred(env, &mut rng);
            holder.release();
            for victim in &victims {
                send_signal(pool.pid(*victim), signal);
                random_delay(&mut rng);
            }
            let others = pool.all_except(&victims);
            pool.assert_success(others.clone());
            for victim in &victims {
                pool.wait(*victim);
            }
            assert_clean(env, &pool.sentinels());
            let order = pool.order();
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
        let (holder, mut pool, victims) = hundred(env, &mut rng);
        let since = || -> Vec<_> {
            let tickets = tickets(env.file("l"));
            tickets
                .iter()
                .map(|ticket| (ticket.arrived, ticket.mode))
                .collect()
        };
        let before = since();
        for victim in &victims {
            assert!(send_signal(pool.sentinel(*victim), libc::SIGKILL));
        }
        // But for the head of the queue, who waits for the lock and not for a turn, and needs none to keep his place.
        let replaced = victims.iter().filter(|victim| **victim != 0);
        let dead: Vec<i32> = replaced.map(|victim| pool.sentinel(*victim)).collect();
        wait_until("each has another one, since the same time", || {
            let now = tickets(env.file("l"));
            let gone = |dead: &i32| !now.iter().any(|ticket| ticket.sentinel == *dead);
            dead.iter().all(gone) && since() == before
        });
        assert!(!dead.iter().any(|dead| is_sentinel(*dead)));
        holder.release();
        pool.assert_success(0..100);
        assert_eq!(pool.order(), Vec::from_iter(0..100));
        assert_clean(env, &pool.sentinels());
    });
}

#[test]
fn tokens_that_are_killed_while_the_queue_moves_cost_nobody_his_turn() {
    differs_from_util_linux(WHY, |env| {
        let mut rng = Rng::with_seed(StressSettings::from_env().seed);
        let (holder, mut pool, _) = hundred(env, &mut rng);
        holder.release();
        let mut killed = 0;
        loop {
            let tickets = tickets(env.file("l"));
            if tickets.is_empty() {
                break;
            }
            let victim = tickets[rng.usize(..tickets.len())];
            killed += u64::from(send_signal(victim.sentinel, libc::SIGKILL));
        }
        assert!(killed > 0, "nobody was killed");
        pool.assert_success(0..100);
        let mut served = pool.order();
        served.sort_unstable();
        assert_eq!(served, Vec::from_iter(0..100));
        assert_clean(env, &pool.sentinels());
    });
}

#[test]
fn of_a_hundred_twenty_give_up_and_the_others_are_served_in_order() {
    differs_from_util_linux(WHY, |env| {
        let mut rng = Rng::with_seed(StressSettings::from_env().seed);
        let holder = env.hold(&["--fair"], "l");
        let mut pool = WaiterPool::new(env);
        let mut impatient = Vec::new();
        for number in 0..100 {
            if rng.u64(..5) == 0 {
                impatient.push(number);
                pool.spawn_with_timeout("1");
            } else {
                pool.spawn(&["--fair"]);
            }
        }
        for number in &impatient {
            assert_eq!(pool.wait(*number).code(), Some(42));
        }
        let others = pool.all_except(&impatient);
        assert_queue_len(env, others.len());
        holder.release();
        pool.assert_success(others.clone());
        assert_eq!(pool.order(), others);
        assert_clean(env, &pool.sentinels());
    });
}

#[test]
fn those_who_give_up_while_others_are_served_leave_the_order_as_it_is() {
    differs_from_util_linux(WHY, |env| {
        let mut rng = Rng::with_seed(StressSettings::from_env().seed);
        let holder = env.hold(&["--fair"], "l");
        let mut pool = WaiterPool::new(env);
        // Their time is up at about the time when all have come and the holder goes.
        let mut impatient = Vec::new();
        for number in 0..60 {
            if rng.u64(..2) == 0 {
                impatient.push(number);
                pool.spawn_with_timeout(&format!("{}ms", 1000 + rng.u64(..400)));
            } else {
                pool.spawn(&["--fair"]);
            }
        }
        holder.release();
        let others = pool.all_except(&impatient);
        pool.assert_success(others);
        let gave_up: Vec<usize> = impatient
            .into_iter()
            .filter(|number| match pool.wait(*number).code() {
                Some(42) => true,
                status => {
                    assert_eq!(status, Some(0), "{number}");
                    false
                }
            })
            .collect();
        assert_eq!(pool.order(), pool.all_except(&gave_up));
        assert_clean(env, &pool.sentinels());
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
                let mut first = spawn_waiter_command(env, shell);
                let mut second = spawn_waiter(env, ["--fair", "-s", "l", "touch", "ran"]);
                let sentinels = tickets(env.file("l"))
                    .into_iter()
                    .map(|ticket| ticket.sentinel);
                let sentinels: Vec<i32> = sentinels.collect();
                for waiter in [&mut second, &mut first] {
                    waiter.signal(signal);
                    assert_eq!(waiter.wait(), ExitReason::Signaled(signal));
                }
                wait_until("nobody waits", || {
                    locks_on(env.file("l")).len() == 1
                        && !sentinels.iter().any(|sentinel| is_sentinel(*sentinel))
                });
            }
        }
        assert!(!env.file("ran").exists());
        holder.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn the_token_is_a_child_that_hears_nothing_and_does_nothing() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut waiter = spawn_waiter(env, ["--fair", "l", "echo", "done"]);
        let sentinel = last_ticket(env).sentinel;
        assert_eq!(parent_of(sentinel), waiter.pid());
        assert_eq!(children_of(waiter.pid()), [sentinel]);
        wait_until("it has its name", || is_sentinel(sentinel));
        let all = !signal_set([libc::SIGKILL, libc::SIGSTOP]);
        assert_eq!(status_field(sentinel, "SigBlk"), format!("{all:016x}"));
        // What others send to the whole group, the token included, ends no wait that was not to end.
        for signal in [
            libc::SIGTERM,
            libc::SIGINT,
            libc::SIGHUP,
            libc::SIGUSR1,
            34,
            64,
        ] {
            assert!(send_signal(sentinel, signal));
        }
        let worked = cpu_time_ns(sentinel);
        env.run(["-w0.2", "l", "true"]).assert_status(1);
        assert!(cpu_time_ns(sentinel) - worked < 20_000_000, "it is busy");
        assert_eq!(last_ticket(env).sentinel, sentinel);
        holder.release();
        waiter.expect_line("done");
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
        assert_clean(env, &[sentinel]);
    });
}

#[test]
fn a_token_that_is_killed_again_and_again_is_replaced_each_time() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut pool = WaiterPool::new(env);
        pool.spawn_many(3, &["--fair"]);
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
        assert_eq!(children_of(pool.pid(1)), [after[1].sentinel]);
        assert_eq!((before[0], before[2]), (after[0], after[2]));
        holder.release();
        pool.assert_success(0..3);
        assert_eq!(pool.order(), [0, 1, 2]);
        assert_clean(env, &[after[1].sentinel]);
    });
}

#[test]
fn whosever_token_is_killed_nobody_gets_busy() {
    differs_from_util_linux(WHY, |env| {
        for victim in 0..3 {
            let _ = std::fs::remove_file(env.file("order"));
            let holder = env.hold(&["--fair"], "l");
            let mut pool = WaiterPool::new(env);
            pool.spawn_many(3, &["--fair"]);
            assert!(send_signal(pool.sentinel(victim), libc::SIGKILL));
            wait_until("it is dead", || !is_sentinel(pool.sentinel(victim)));
            pool.spawn_many(1, &["--fair"]);
            let worked = || -> u64 { (0..4).map(|number| cpu_time_ns(pool.pid(number))).sum() };
            let before = worked();
            // Somebody else's timeout is the clock.
            env.run(["-w0.5", "l", "true"]).assert_status(1);
            let worked = worked() - before;
            assert!(worked < 100_000_000, "{victim}: {worked} ns");
            holder.release();
            pool.assert_success(0..4);
            assert_eq!(pool.order(), [0, 1, 2, 3], "{victim}");
            assert_clean(env, &pool.sentinels());
        }
    });
}

#[test]
fn a_writer_whose_token_is_killed_is_not_passed_by_readers() {
    differs_from_util_linux(WHY, |env| {
        let reader = env.hold(&["--fair", "-s"], "l");
        let mut writer = spawn_waiter(env, ["--fair", "l", "echo", "wrote"]);
        let sentinel = last_ticket(env).sentinel;
        assert!(send_signal(sentinel, libc::SIGKILL));
        wait_until("it is dead", || !is_sentinel(sentinel));
        env.run(["--fair", "-ns", "l", "true"]).assert_status(1);
        let mut late = spawn_waiter(env, ["--fair", "-s", "l", "echo", "read"]);
        reader.release();
        writer.expect_line("wrote");
        late.expect_line("read");
        assert_eq!(writer.wait(), ExitReason::Exited(0));
        assert_eq!(late.wait(), ExitReason::Exited(0));
        assert_clean(env, &[sentinel]);
    });
}
