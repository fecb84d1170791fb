//! The order of arrival, when nothing disturbs it.

use super::waiter_pool::WaiterPool;
use super::{
    FAIR, ONE_SLOT, assert_clean, assert_queue_len, assert_served_after, spawn_waiting_holder,
};
use rstest::rstest;
use test_support::TestEnv;
use test_support::locks::tickets;

#[rstest]
fn waiters_are_served_in_order_of_arrival(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let options = [
        "QUEUE",
        "-x QUEUE",
        "QUEUE -w1000",
        "QUEUE -F",
        "-o QUEUE",
        "-ow 1000 QUEUE",
    ];
    let options = options.map(|options| options.replace("QUEUE", queue));
    let holder = env.hold(&[queue], "l");
    let mut pool = WaiterPool::new(env);
    for number in 0..50 {
        match options.get(number % 7) {
            Some(options) => pool.spawn(&Vec::from_iter(options.split(' '))),
            None => pool.spawn_shell(&format!("flock {queue} l sh -c 'NOTE'; :")),
        }
    }
    pool.assert_served_after(holder, 0..50);
}

#[rstest]
fn order_is_kept_behind_a_plain_lock(
    #[values(FAIR, ONE_SLOT)] queue: &str,
    #[values("-x", "-s")] held: &str,
) {
    let env = &TestEnv::new();
    let holder = env.hold(&[held], "l");
    let mut pool = WaiterPool::new(env);
    (0..10).for_each(|_| pool.spawn(&[queue]));
    pool.assert_served_after(holder, 0..10);
}

#[test]
fn scripts_are_served_in_order_of_arrival() {
    let scripts = [
        "exec 8>>l; flock --fair 8 || exit; NOTE",
        "exec 8<l; flock --fair -x 8 || exit; NOTE",
        "(flock --fair -w 1000 9 || exit; NOTE) 9<>l",
        "exec 8>>l; flock --fair --fd 8 sh -c 'NOTE'",
        "exec 8>>l; exec flock --fair -F --fd 8 sh -c 'NOTE'",
        "flock --fair l -c 'NOTE'",
    ];
    let env = &TestEnv::new();
    let (holder, mut pool) = WaiterPool::behind_holder(env, FAIR, 0);
    for script in scripts.repeat(5) {
        pool.spawn_shell(script);
    }
    pool.assert_served_after(holder, 0..30);
}

#[test]
fn lock_and_slot_waiters_share_one_queue() {
    let env = &TestEnv::new();
    let holder = env.hold(&[], "l");
    let mut pool = WaiterPool::new(env);
    for number in 0..12 {
        match number % 3 {
            0 => pool.spawn(&[FAIR]),
            1 => pool.spawn(&[ONE_SLOT]),
            _ => pool.spawn_shell("exec 8<l; flock --fair 8; NOTE"),
        }
    }
    holder.release();
    pool.assert_success(0..12);
    // A slot does not exclude the lock, so both may be held at the same time and write `order` in
    // either order, but they are taken one after the other.
    let has_lock = |number: &usize| number % 3 != 1;
    let (locks, slots): (Vec<_>, Vec<_>) = pool.order().into_iter().partition(has_lock);
    assert!(locks.is_sorted(), "{locks:?}");
    assert!(slots.is_sorted(), "{slots:?}");
    assert_eq!(locks.len() + slots.len(), 12);
    assert_clean(env, &pool.sentinels());
}

#[rstest]
fn free_lock_is_taken_without_a_ticket(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    for option in ["-x", "-n", "-w0", "-w1000", "-o", "-F"] {
        let holder = env.hold(&[queue, option], "l");
        assert_eq!(tickets(env.file("l")), [], "{option}");
        holder.release();
    }
}

#[rstest]
fn served_waiter_leaves_the_queue(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    let mut first = spawn_waiting_holder(env, &[queue]);
    let second = spawn_waiting_holder(env, &[queue]);
    assert_queue_len(env, 2);
    holder.release();
    first.expect_line("held");
    assert_queue_len(env, 1);
    assert_served_after(env, first, [second]);
}
