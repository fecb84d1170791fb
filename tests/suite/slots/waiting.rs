//! Who waits for a slot: one queue, first come, first served, whatever happens to those who wait.

use super::{WHY, assert_slots_held, assert_try, held_slots, hold_slot, spawn_waiting_holder};
use crate::queue::waiter_pool::WaiterPool;
use crate::queue::{assert_clean, assert_queue_len, last_ticket, spawn_waiter_command};
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
        let holder = hold_slot(env, "1");
        let mut pool = WaiterPool::new(env);
        for number in 0..30 {
            pool.spawn(ways[number % ways.len()]);
        }
        holder.release();
        pool.assert_success(0..30);
        assert_eq!(pool.order(), Vec::from_iter(0..30));
        assert_clean(env, &pool.sentinels());
    });
}

#[test]
fn the_first_one_enters_when_a_slot_is_free_and_the_others_stay() {
    differs_from_util_linux(WHY, |env| {
        let mut inside: Vec<Process> = (0..3).map(|_| hold_slot(env, "3")).collect();
        let queue: Vec<Process> = (0..6)
            .map(|_| spawn_waiting_holder(env, &["--slots", "3"]))
            .collect();
        let mut left = queue.len();
        for mut next in queue {
            // Whoever has been in for longest, or for shortest.
            inside.remove(left % inside.len()).release();
            next.expect_line("held");
            left -= 1;
            assert_queue_len(env, left);
            assert_slots_held(env, 3);
            assert_try(env, "3", 1);
            inside.push(next);
        }
        inside.into_iter().for_each(Process::release);
        assert_clean(env, &[]);
    });
}

#[test]
fn all_enter_for_whom_there_is_room() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&[], "l");
        let mut queue: Vec<Process> = (0..5)
            .map(|_| spawn_waiting_holder(env, &["--slots", "3"]))
            .collect();
        holder.release();
        for waiter in &mut queue[..3] {
            waiter.expect_line("held");
        }
        assert_queue_len(env, 2);
        assert_eq!(held_slots(env).len(), 3);
        let last = queue.split_off(3);
        queue.into_iter().for_each(Process::release);
        for mut waiter in last {
            waiter.expect_line("held");
            waiter.release();
        }
        assert_clean(env, &[]);
    });
}

#[test]
fn nobody_with_a_greater_number_passes_one_that_waits() {
    differs_from_util_linux(WHY, |env| {
        let holders = [hold_slot(env, "2"), hold_slot(env, "2")];
        let mut modest = spawn_waiting_holder(env, &["--slots", "1"]);
        assert_try(env, "5", 1);
        let mut greedy = spawn_waiting_holder(env, &["--slots", "5"]);
        assert_queue_len(env, 2);
        let [first, second] = holders;
        first.release();
        // One is left, and the modest one wants to be alone.
        assert_try(env, "5", 1);
        assert_queue_len(env, 2);
        second.release();
        modest.expect_line("held");
        greedy.expect_line("held");
        assert_eq!(held_slots(env).len(), 2);
        modest.release();
        greedy.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn locks_and_slots_have_one_queue() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&[], "l");
        let mut pool = WaiterPool::new(env);
        for number in 0..12 {
            match number % 3 {
                0 => pool.spawn(&["--fair"]),
                1 => pool.spawn(&["--slots", "1"]),
                _ => pool.spawn_shell("exec 8<l; flock --fair 8; NOTE"),
            }
        }
        holder.release();
        pool.assert_success(0..12);
        // Who has a slot is not who has the lock, so they may be in at the same time, but enter one after the other.
        let locks = |number: &usize| number % 3 != 1;
        let (order, slots): (Vec<usize>, Vec<usize>) = pool.order().into_iter().partition(locks);
        assert!(order.is_sorted(), "{order:?}");
        assert!(slots.is_sorted(), "{slots:?}");
        assert_eq!(order.len() + slots.len(), 12);
        assert_clean(env, &pool.sentinels());
    });
}

#[test]
fn of_sixty_twelve_are_killed_or_give_up_and_the_others_are_served_in_order() {
    differs_from_util_linux(WHY, |env| {
        let mut rng = Rng::with_seed(StressSettings::from_env().seed);
        for how in ["killed", "bereft", "impatient"] {
            let _ = std::fs::remove_file(env.file("order"));
            let holder = hold_slot(env, "1");
            let mut pool = WaiterPool::new(env);
            pool.spawn_many(60, &["--slots", "1"]);
            let victims = pool.sample(12, &mut rng);
            let gone = match how {
                "killed" => {
                    for victim in &victims {
                        assert!(send_signal(pool.pid(*victim), libc::SIGKILL));
                        pool.wait(*victim);
                    }
                    victims
                }
                "bereft" => {
                    for victim in &victims {
                        assert!(send_signal(pool.sentinel(*victim), libc::SIGKILL));
                    }
                    Vec::new()
                }
                _ => {
                    env.run(["--slots", "1", "-w0.05", "l", "true"])
                        .assert_status(1);
                    Vec::new()
                }
            };
            assert_queue_len(env, 60 - gone.len());
            holder.release();
            let others = pool.all_except(&gone);
            pool.assert_success(others.clone());
            assert_eq!(pool.order(), others, "{how}");
            assert_clean(env, &pool.sentinels());
        }
    });
}

#[test]
fn a_place_survives_a_stop_and_whoever_stays_stopped_is_passed() {
    differs_from_util_linux(WHY, |env| {
        for still in 0..3 {
            let _ = std::fs::remove_file(env.file("order"));
            let holder = hold_slot(env, "1");
            let mut pool = WaiterPool::new(env);
            pool.spawn_many(3, &["--slots", "1"]);
            for number in 0..3 {
                assert!(send_signal(pool.pid(number), libc::SIGSTOP));
                wait_until("it stops", || is_stopped(pool.pid(number)));
            }
            let others = pool.all_except(&[still]);
            for number in &others {
                assert!(send_signal(pool.pid(*number), libc::SIGCONT));
                wait_until("it goes on", || !is_stopped(pool.pid(*number)));
            }
            holder.release();
            pool.assert_success(others.clone());
            assert_eq!(pool.order(), others);
            assert!(send_signal(pool.pid(still), libc::SIGCONT));
            pool.assert_success([still]);
            assert_clean(env, &pool.sentinels());
        }
    });
}

#[test]
fn who_gives_up_or_is_killed_leaves_nothing() {
    differs_from_util_linux(WHY, |env| {
        let holder = hold_slot(env, "1");
        for behind in [false, true] {
            let first = behind.then(|| spawn_waiting_holder(env, &["--slots", "1"]));
            let before = tickets(env.file("l"));
            for time in ["-w0.000001", "-w0.0001", "-w0.01", "-n"] {
                env.run(["--slots", "1", time, "-E42", "l", "true"])
                    .assert_stderr("")
                    .assert_status(42);
            }
            assert_eq!(tickets(env.file("l")), before);
            for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGINT] {
                let mut waiter = spawn_waiting_holder(env, &["--slots", "1"]);
                let sentinel = last_ticket(env).sentinel;
                waiter.signal(signal);
                assert_eq!(waiter.wait(), ExitReason::Signaled(signal));
                assert_queue_len(env, before.len());
                wait_until("the token goes too", || !is_sentinel(sentinel));
            }
            assert_eq!(held_slots(env).len(), 1);
            drop(first);
            assert_queue_len(env, 0);
        }
        holder.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn the_time_does_not_begin_again_when_the_queue_moves() {
    differs_from_util_linux(WHY, |env| {
        let holder = hold_slot(env, "1");
        let mut queue: Vec<Process> = (0..20)
            .map(|_| spawn_waiting_holder(env, &["--slots", "1"]))
            .collect();
        let mut timed = spawn_waiting_holder(env, &["--slots", "1", "-w1.5", "-E42"]);
        // Each time the one goes that it waits for. All that takes four seconds; were its time counted from the last
        // move, it would still have most of it.
        while queue.pop().is_some() {
            env.run(["--slots", "1", "-w0.2", "l", "true"])
                .assert_status(1);
        }
        assert!(timed.has_exited());
        assert_eq!(timed.wait(), ExitReason::Exited(42));
        holder.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn those_who_wait_use_no_processor() {
    differs_from_util_linux(WHY, |env| {
        let holders: Vec<Process> = (0..3).map(|_| hold_slot(env, "3")).collect();
        let queue: Vec<Process> = (0..6)
            .map(|_| spawn_waiting_holder(env, &["--slots", "3"]))
            .collect();
        let sentinels = tickets(env.file("l"))
            .into_iter()
            .map(|ticket| ticket.sentinel);
        let all: Vec<i32> = queue.iter().map(Process::pid).chain(sentinels).collect();
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
        assert_clean(env, &all[6..]);
    });
}

#[test]
fn whoever_waits_in_a_script_has_the_place_of_its_flock() {
    differs_from_util_linux(WHY, |env| {
        let holder = hold_slot(env, "1");
        let mut shell = env.command("sh");
        shell.args(["-c", "flock --slots 1 l echo first; echo second"]);
        let mut shell = spawn_waiter_command(env, shell);
        holder.release();
        shell.expect_line("first");
        shell.expect_line("second");
        assert_clean(env, &[]);
    });
}
