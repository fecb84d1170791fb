//! A waiter that is killed or times out gives up its place, and the order of all others stays the
//! same. Neither does it change when sentinels are killed.

use std::os::unix::process::ExitStatusExt;

use super::waiter_pool::WaiterPool;
use super::{
    FAIR, ONE_SLOT, assert_clean, assert_clean_after, assert_idle, assert_queue_len, assert_served,
    last_ticket, pass_time, sentinels, spawn_waiter, spawn_waiter_script, spawn_waiting_holder,
};
use fastrand::Rng;
use libc::{SIGHUP, SIGINT, SIGKILL, SIGSTOP, SIGTERM, SIGUSR1};
use rstest::rstest;
use test_support::locks::{locks_on, tickets};
use test_support::pre_exec::signal_set;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{
    children_of, cpu_time_ns, is_running, is_sentinel, parent_of, status_field,
};
use test_support::stress::{StressSettings, random_delay};
use test_support::{TestEnv, wait_until};

/// Returns a holder, a hundred waiters, and twenty random numbers of these.
fn hundred<'l>(
    env: &'l TestEnv,
    queue: &str,
    rng: &mut Rng,
) -> (Process, WaiterPool<'l>, Vec<usize>) {
    let (holder, pool) = WaiterPool::behind_holder(env, queue, 100);
    assert_queue_len(env, 100);
    let victims = pool.sample(20, rng);
    (holder, pool, victims)
}

fn rng() -> Rng {
    Rng::with_seed(StressSettings::from_env().seed)
}

fn signal_for(victim: usize) -> i32 {
    [SIGKILL, SIGTERM][victim % 2]
}

#[rstest]
fn killed_waiters_do_not_change_the_order(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let (holder, mut pool, victims) = hundred(env, queue, &mut rng());
    for victim in &victims {
        pool.signal(*victim, signal_for(*victim));
    }
    for victim in &victims {
        let signal = pool.wait(*victim).signal();
        assert_eq!(signal, Some(signal_for(*victim)), "{victim}");
    }
    assert_queue_len(env, 80);
    pool.assert_served_after(holder, pool.all_except(&victims));
}

#[rstest]
fn kills_while_others_are_served_keep_the_order(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let mut rng = rng();
    let (holder, mut pool, victims) = hundred(env, queue, &mut rng);
    holder.release();
    for victim in &victims {
        send_signal(pool.pid(*victim), signal_for(*victim));
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

#[rstest]
fn ticket_survives_death_of_its_sentinel(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let (holder, mut pool, victims) = hundred(env, queue, &mut rng());
    let places = || {
        let tickets = tickets(env.file("l")).into_iter();
        Vec::from_iter(tickets.map(|ticket| (ticket.arrived, ticket.mode)))
    };
    let before = places();
    for victim in &victims {
        pool.kill_sentinel(*victim);
    }
    // The head of the queue may block in flock(2), where it does not notice, and keeps its place
    // without a sentinel.
    let replaced = victims.iter().filter(|victim| **victim != 0);
    let dead: Vec<i32> = replaced.map(|victim| pool.sentinel(*victim)).collect();
    wait_until("each has a new sentinel and its old place", || {
        let now = sentinels(env);
        !dead.iter().any(|dead| now.contains(dead)) && places() == before
    });
    assert!(!dead.iter().any(|dead| is_sentinel(*dead)));
    pool.assert_served_after(holder, 0..100);
}

#[rstest]
fn killed_sentinels_lose_no_waiter(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let mut rng = rng();
    let (holder, mut pool, _) = hundred(env, queue, &mut rng);
    holder.release();
    let mut killed = 0;
    loop {
        let sentinels = sentinels(env);
        if sentinels.is_empty() {
            break;
        }
        let victim = sentinels[rng.usize(..sentinels.len())];
        killed += u64::from(send_signal(victim, SIGKILL));
    }
    assert!(killed > 0, "no sentinel was killed");
    pool.assert_success(0..100);
    let mut served = pool.order();
    served.sort_unstable();
    assert_eq!(served, Vec::from_iter(0..100));
    assert_clean(env, &pool.sentinels());
}

#[rstest]
fn timed_out_waiters_do_not_change_the_order(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let mut rng = rng();
    let (holder, mut pool) = WaiterPool::behind_holder(env, queue, 0);
    let mut impatient = Vec::new();
    for number in 0..100 {
        if rng.u64(..5) == 0 {
            impatient.push(number);
            pool.spawn_with_timeout(&[queue], "1");
        } else {
            pool.spawn(&[queue]);
        }
    }
    for number in &impatient {
        assert_eq!(pool.wait(*number).code(), Some(42));
    }
    let others = pool.all_except(&impatient);
    assert_queue_len(env, others.len());
    pool.assert_served_after(holder, others);
}

#[rstest]
fn timeouts_while_others_are_served_keep_the_order(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let mut rng = rng();
    let (holder, mut pool) = WaiterPool::behind_holder(env, queue, 0);
    // They time out at about the time when all have arrived and the holder releases the lock.
    let mut impatient = Vec::new();
    for number in 0..60 {
        if rng.u64(..2) == 0 {
            impatient.push(number);
            pool.spawn_with_timeout(&[queue], &format!("{}ms", 1000 + rng.u64(..400)));
        } else {
            pool.spawn(&[queue]);
        }
    }
    holder.release();
    pool.assert_success(pool.all_except(&impatient));
    impatient.retain(|number| {
        let status = pool.wait(*number).code();
        let timed_out = status == Some(42);
        assert!(timed_out || status == Some(0), "{number}: {status:?}");
        timed_out
    });
    pool.assert_served(pool.all_except(&impatient));
}

#[rstest]
fn killed_waiter_leaves_no_ticket_and_no_sentinel(
    #[values(FAIR, ONE_SLOT)] queue: &str,
    #[values(SIGKILL, SIGTERM, SIGINT, SIGHUP, 34)] signal: i32,
) {
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    let mut scripts = vec![format!("exec flock {queue} l touch ran")];
    if queue == FAIR {
        scripts.push("exec flock --fair --fd 0 touch ran 0<l".to_owned());
    }
    for script in scripts {
        let mut first = spawn_waiter_script(env, &script);
        let mut second = spawn_waiter(env, [queue, "l", "touch", "ran"]);
        let sentinels = sentinels(env);
        for waiter in [&mut second, &mut first] {
            waiter.signal(signal);
            assert_eq!(waiter.wait(), ExitReason::Signaled(signal));
        }
        wait_until("no waiter is left", || {
            locks_on(env.file("l")).len() == 1
                && !sentinels.iter().any(|sentinel| is_sentinel(*sentinel))
        });
    }
    assert!(!env.file("ran").exists());
    assert_clean_after(env, holder);
}

#[rstest]
fn sentinel_is_an_idle_child_that_blocks_signals(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    let waiter = spawn_waiting_holder(env, &[queue]);
    let sentinel = last_ticket(env).sentinel;
    assert_eq!(parent_of(sentinel), waiter.pid());
    assert_eq!(children_of(waiter.pid()), [sentinel]);
    wait_until("it has its name", || is_sentinel(sentinel));
    let all = !signal_set([SIGKILL, SIGSTOP]);
    assert_eq!(status_field(sentinel, "SigBlk"), format!("{all:016x}"));
    // A signal for the whole process group, which includes the sentinel, must not end a wait that
    // the waiter would continue.
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGUSR1, 34, 64] {
        assert!(send_signal(sentinel, signal));
    }
    let used = cpu_time_ns(sentinel);
    pass_time(env, queue, "0.2");
    assert!(cpu_time_ns(sentinel) - used < 20_000_000, "it is busy");
    assert_eq!(last_ticket(env).sentinel, sentinel);
    holder.release();
    assert_served(waiter);
    assert_clean(env, &[sentinel]);
}

#[rstest]
fn sentinel_is_respawned_each_time_it_is_killed(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let (holder, mut pool) = WaiterPool::behind_holder(env, queue, 3);
    let before = tickets(env.file("l"));
    for _ in 0..20 {
        let victim = tickets(env.file("l"))[1].sentinel;
        assert!(send_signal(victim, SIGKILL));
        wait_until("it has been replaced", || {
            let now = sentinels(env);
            now.len() == 3 && now[1] != victim
        });
    }
    let after = tickets(env.file("l"));
    assert_eq!(after[1].arrived, before[1].arrived);
    // No zombie is left.
    assert_eq!(children_of(pool.pid(1)), [after[1].sentinel]);
    assert_eq!((before[0], before[2]), (after[0], after[2]));
    pool.assert_served_after(holder, 0..3);
    assert_clean(env, &[after[1].sentinel]);
}

#[rstest]
fn no_waiter_is_busy_after_a_sentinel_was_killed(
    #[values(FAIR, ONE_SLOT)] queue: &str,
    #[values(0, 1, 2)] victim: usize,
) {
    let env = &TestEnv::new();
    let (holder, mut pool) = WaiterPool::behind_holder(env, queue, 3);
    pool.kill_sentinel(victim);
    wait_until("it is dead", || !is_sentinel(pool.sentinel(victim)));
    pool.spawn(&[queue]);
    assert_idle(env, queue, &[0, 1, 2, 3].map(|number| pool.pid(number)));
    pool.assert_served_after(holder, 0..4);
}

#[test]
fn readers_do_not_pass_writer_without_sentinel() {
    let env = &TestEnv::new();
    let reader = env.hold(&["--fair", "-s"], "l");
    let writer = spawn_waiting_holder(env, &["--fair"]);
    let sentinel = last_ticket(env).sentinel;
    assert!(send_signal(sentinel, SIGKILL));
    wait_until("it is dead", || !is_sentinel(sentinel));
    env.run(["--fair", "-ns", "l", "true"]).assert_status(1);
    let late = spawn_waiting_holder(env, &["--fair", "-s"]);
    reader.release();
    assert_served(writer);
    assert_served(late);
    assert_clean(env, &[sentinel]);
}

#[test]
fn sentinel_stopped_at_its_start_leaves_no_ticket() {
    let env = &TestEnv::new();
    let holder = env.hold(&["--fair"], "l");
    for _ in 0..60 {
        // The shell is in the process group too: the group does not become orphaned, so the kernel
        // does not continue the stopped sentinel.
        let script = "flock --fair l true & echo $!; read x";
        let mut shell = env.start(env.sh_command(script));
        let waiter: i32 = shell.read_line().parse().expect("a pid");
        while children_of(waiter).is_empty() {
            assert!(is_running(waiter), "it queues");
        }
        assert!(send_signal(-shell.pid(), SIGSTOP));
        assert!(send_signal(waiter, SIGKILL));
        assert_queue_len(env, 0);
    }
    holder.release();
}
