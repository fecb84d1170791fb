//! Readers and writers: no waiter starves, and none waits longer than necessary.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::{assert_held, held_modes};
use crate::queue::waiter_pool::WaiterPool;
use crate::queue::{
    HOLD, assert_clean, assert_queue_len, assert_served_after, spawn_waiter, spawn_waiting_holder,
    spawn_waiting_holders,
};
use fdlock::lock::Mode;
use test_support::locks::{tickets, waiter_count};
use test_support::process::Process;
use test_support::{TestEnv, wait_until};

#[test]
fn reader_does_not_pass_waiting_writer() {
    let env = &TestEnv::new();
    let reader = env.hold(&["--fair", "-s"], "l");
    let mut writer = spawn_waiting_holder(env, &["--fair"]);
    // This one would have no ticket if it got the lock.
    let late = spawn_waiting_holder(env, &["--fair", "-s"]);
    assert_queue_len(env, 2);
    assert_held(env, &["READ"]);
    reader.release();
    writer.expect_line("held");
    assert_queue_len(env, 1);
    assert_served_after(env, writer, [late]);
}

#[test]
fn writer_waits_for_earlier_readers_only() {
    let env = &TestEnv::new();
    let holder = env.hold(&["--fair"], "l");
    let mut before = spawn_waiting_holders(env, &["--fair", "-s"], 3);
    let mut writer = spawn_waiting_holder(env, &["--fair"]);
    let mut after = spawn_waiting_holders(env, &["--fair", "-s"], 3);
    holder.release();
    // Consecutive readers hold the lock together.
    let expect_held = |reader: &mut Process| reader.expect_line("held");
    before.iter_mut().for_each(expect_held);
    assert_held(env, &["READ"; 3]);
    assert_queue_len(env, 4);
    for reader in before {
        assert_eq!(tickets(env.file("l")).len(), 4);
        reader.release();
    }
    writer.expect_line("held");
    assert_queue_len(env, 3);
    assert_held(env, &["WRITE"]);
    writer.release();
    after.iter_mut().for_each(expect_held);
    assert_held(env, &["READ"; 3]);
    after.into_iter().for_each(Process::release);
    assert_clean(env, &[]);
}

#[test]
fn reader_joins_readers_without_a_ticket() {
    let env = &TestEnv::new();
    let _readers = [(); 3].map(|()| env.hold(&["--fair", "-s"], "l"));
    assert_held(env, &["READ"; 3]);
    assert_eq!(tickets(env.file("l")), []);
}

#[test]
fn readers_and_writers_are_served_in_order_of_arrival() {
    let env = &TestEnv::new();
    // The readers of a group may be served in any order, but only between the writers around it.
    let queue = "xssxxsssxsxsssssxxxssx";
    let (holder, mut pool) = WaiterPool::behind_holder(env, "--fair", 0);
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
    assert_eq!(order.len(), queue.len());
    let mut rest = &order[..];
    for group in groups {
        let (served, later) = rest.split_at(group.len());
        let mut served = served.to_vec();
        served.sort_unstable();
        assert_eq!(served, group, "{order:?}");
        rest = later;
    }
    assert_clean(env, &pool.sentinels());
}

#[test]
fn tickets_show_modes_and_head_waits_in_kernel() {
    let env = &TestEnv::new();
    let holder = env.hold(&[], "l");
    let modes = ["--fair", "-s", "-s", "-x"];
    let waiters = modes.map(|mode| spawn_waiting_holder(env, &["--fair", mode]));
    let tickets = tickets(env.file("l")).into_iter();
    let expected = [Mode::Exclusive, Mode::Shared, Mode::Shared, Mode::Exclusive];
    assert!(tickets.map(|ticket| ticket.mode).eq(expected));
    wait_until("only the head waits in the kernel", || {
        waiter_count(env.file("l")) == 1
    });
    assert_served_after(env, holder, waiters);
}

#[test]
fn readers_and_writers_may_leave_the_queue_anywhere() {
    let env = &TestEnv::new();
    let holder = env.hold(&["--fair"], "l");
    let mut waiters = Vec::new();
    for number in 0..50 {
        let mode = if number % 3 == 0 { "-x" } else { "-s" };
        waiters.push(spawn_waiting_holder(env, &["--fair", mode]));
        if number % 3 == 2 {
            drop(waiters.remove(waiters.len() / 2));
        }
        assert_queue_len(env, waiters.len());
    }
    assert_served_after(env, holder, waiters);
}

#[test]
fn writer_does_not_starve_among_overlapping_readers() {
    let env = &TestEnv::new();
    let served = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers = [(); 2].map(|()| env.hold(&["--fair", "-s"], "l"));
        let mut writer = spawn_waiter(env, ["--fair", "l", "echo", "wrote"]);
        for mut reader in readers {
            scope.spawn(move || {
                // A reader exits only after the next one of its thread has asked, and has the lock
                // if it can have it. A writer that waits for all of these readers would be noticed.
                for _ in 0..200 {
                    let mut next = env.start(env.flock(["--fair", "-s"].iter().chain(&HOLD)));
                    next.wait_alive_until("it has asked", || {
                        held_modes(env).len() > 2
                            || !tickets(env.file("l")).is_empty()
                            || served.load(Relaxed)
                    });
                    reader.release();
                    reader = next;
                    if served.load(Relaxed) {
                        return;
                    }
                    reader.expect_line("held");
                }
                panic!("the writer starves");
            });
        }
        writer.expect_line("wrote");
        served.store(true, Relaxed);
        writer.release();
    });
}

#[test]
fn nonblocking_call_never_overtakes_a_waiter() {
    let env = &TestEnv::new();
    let reader = env.hold(&["--fair", "-s"], "l");
    let mut writer = spawn_waiting_holder(env, &["--fair"]);
    let assert_refused = || {
        for option in ["-n", "-ns", "-sw0"] {
            env.run(["--fair", option, "l", "true"]).assert_status(1);
        }
        let script = "exec 8<l; flock --fair -n -s 8; exit $?";
        env.sh(script).assert_status(1);
    };
    assert_refused();
    // A call without --fair does not respect the queue.
    env.run(["-ns", "l", "true"]).assert_status(0);
    std::thread::scope(|scope| {
        let served = scope.spawn(|| {
            reader.release();
            writer.expect_line("held");
            writer
        });
        while !served.is_finished() {
            assert_refused();
        }
        assert_refused();
        served.join().expect("it is served").release();
    });
    env.run(["--fair", "-n", "l", "true"]).assert_status(0);
}
