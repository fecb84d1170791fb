//! The order, when nothing gets in its way.

use super::waiter_pool::WaiterPool;
use super::{WHY, assert_clean, assert_queue_len, spawn_waiter, spawn_waiting_holder};
use test_support::differs_from_util_linux;
use test_support::locks::{tickets, waiter_count};
use test_support::process::ExitReason;

/// The ways to want an exclusive lock on a path.
const WAYS: [&[&str]; 6] = [
    &["--fair"],
    &["-x", "--fair"],
    &["--fair", "-w1000"],
    &["--fair", "-F"],
    &["-o", "--fair"],
    &["-ow", "1000", "--fair"],
];

#[test]
fn fifty_are_served_in_the_order_in_which_they_came() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut pool = WaiterPool::new(env);
        for number in 0..50 {
            pool.spawn(WAYS[number % WAYS.len()]);
        }
        holder.release();
        pool.assert_success(0..50);
        assert_eq!(pool.order(), Vec::from_iter(0..50));
        assert_clean(env, &pool.sentinels());
    });
}

#[test]
fn whoever_holds_the_lock_without_having_asked_for_a_turn_does_not_matter() {
    differs_from_util_linux(WHY, |env| {
        for how in ["-x", "-s"] {
            let _ = std::fs::remove_file(env.file("order"));
            let holder = env.hold(&[how], "l");
            let mut pool = WaiterPool::new(env);
            pool.spawn_many(10, &["--fair"]);
            holder.release();
            pool.assert_success(0..10);
            assert_eq!(pool.order(), Vec::from_iter(0..10));
        }
    });
}

/// The ways to want the lock on a descriptor, or under one, in a script.
const SCRIPTS: [&str; 6] = [
    "exec 8>>l; flock --fair 8 || exit; NOTE",
    "exec 8<l; flock --fair -x 8 || exit; NOTE",
    "(flock --fair -w 1000 9 || exit; NOTE) 9<>l",
    "exec 8>>l; flock --fair --fd 8 sh -c 'NOTE'",
    "exec 8>>l; exec flock --fair -F --fd 8 sh -c 'NOTE'",
    "flock --fair l -c 'NOTE'",
];

#[test]
fn scripts_are_served_in_the_order_in_which_they_came() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut pool = WaiterPool::new(env);
        for number in 0..30 {
            pool.spawn_shell(SCRIPTS[number % SCRIPTS.len()]);
        }
        holder.release();
        pool.assert_success(0..30);
        assert_eq!(pool.order(), Vec::from_iter(0..30));
        assert_clean(env, &pool.sentinels());
    });
}

#[test]
fn readers_and_writers_are_served_in_the_order_in_which_they_came() {
    differs_from_util_linux(WHY, |env| {
        // Those of a group of readers may enter in any order, but none of them before or after its time.
        let queue = "xssxxsssxsxsssssxxxssx";
        let holder = env.hold(&["--fair"], "l");
        let mut pool = WaiterPool::new(env);
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (number, mode) in queue.char_indices() {
            pool.spawn(&["--fair", if mode == 's' { "-s" } else { "-x" }]);
            match groups.last_mut() {
                Some(group) if queue[number - 1..].starts_with("ss") => group.push(number),
                _ => groups.push(vec![number]),
            }
        }
        holder.release();
        pool.assert_success(0..queue.len());
        let order = pool.order();
        let mut rest = &order[..];
        for group in groups {
            let (mut served, later) = rest.split_at(group.len().min(rest.len()));
            let mut sorted = served.to_vec();
            sorted.sort_unstable();
            served = &sorted;
            assert_eq!(served, group, "{order:?}");
            rest = later;
        }
        assert_eq!(rest, [0; 0], "{order:?}");
        assert_clean(env, &pool.sentinels());
    });
}

#[test]
fn a_turn_tells_what_is_waited_for_and_the_first_one_waits_in_the_kernel() {
    use fdlock::lock::Mode;
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&[], "l");
        let queue = [
            spawn_waiting_holder(env, &["--fair"]),
            spawn_waiting_holder(env, &["--fair", "-s"]),
            spawn_waiting_holder(env, &["--fair", "-s"]),
            spawn_waiting_holder(env, &["--fair", "-x"]),
        ];
        let modes: Vec<Mode> = tickets(env.file("l"))
            .iter()
            .map(|ticket| ticket.mode)
            .collect();
        let wanted = [Mode::Exclusive, Mode::Shared, Mode::Shared, Mode::Exclusive];
        assert_eq!(modes, wanted);
        test_support::wait_until("the first one waits", || waiter_count(env.file("l")) == 1);
        holder.release();
        for mut waiter in queue {
            waiter.expect_line("held");
            waiter.release();
        }
    });
}

#[test]
fn whoever_comes_when_nobody_holds_and_nobody_waits_gets_the_lock_and_takes_no_turn() {
    differs_from_util_linux(WHY, |env| {
        for how in ["-x", "-s", "-n", "-w0", "-w1000", "-o", "-F"] {
            let holder = env.hold(&["--fair", how], "l");
            assert_eq!(tickets(env.file("l")), [], "{how}");
            holder.release();
        }
        env.sh("exec 8>l; flock --fair 8; flock -n l true; echo $?; flock --fair -u 8; flock -n l true; echo $?")
            .assert_stderr("")
            .assert_stdout("1\n0\n");
    });
}

#[test]
fn whoever_is_served_is_in_the_queue_no_more() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut first = spawn_waiting_holder(env, &["--fair"]);
        let mut second = spawn_waiter(env, ["--fair", "l", "echo", "done"]);
        assert_queue_len(env, 2);
        holder.release();
        first.expect_line("held");
        assert_queue_len(env, 1);
        first.release();
        second.expect_line("done");
        assert_eq!(second.wait(), ExitReason::Exited(0));
        assert_clean(env, &[]);
    });
}
