//! Readers and writers: nobody starves, and nobody waits for longer than he must.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::{WHY, assert_clean, assert_queue_len, spawn_waiter, spawn_waiting_holder};
use test_support::locks::{locks_on, tickets};
use test_support::process::{ExitReason, Process};
use test_support::{TestEnv, differs_from_util_linux, wait_until};

/// How many hold the lock on `l`.
fn holders(env: &TestEnv) -> usize {
    let locks = locks_on(env.file("l"));
    let held = locks.iter().filter(|lock| lock.kind == "FLOCK");
    held.filter(|lock| !lock.is_waiting).count()
}

/// The kernel's table may be incomplete for a moment.
#[track_caller]
fn holders_are(env: &TestEnv, count: usize) {
    wait_until("so many have the lock", || holders(env) == count);
}

#[test]
fn a_reader_does_not_pass_a_writer_that_waits() {
    differs_from_util_linux(WHY, |env| {
        let reader = env.hold(&["--fair", "-s"], "l");
        let mut writer = spawn_waiting_holder(env, &["--fair"]);
        // Whoever would get the lock here is never seen to wait.
        let mut late = spawn_waiting_holder(env, &["--fair", "-s"]);
        assert_queue_len(env, 2);
        holders_are(env, 1);
        reader.release();
        writer.expect_line("held");
        assert_queue_len(env, 1);
        writer.release();
        late.expect_line("held");
        late.release();
    });
}

#[test]
fn a_writer_waits_for_the_readers_that_came_before_it_and_for_no_other() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut before: Vec<Process> = (0..3)
            .map(|_| spawn_waiting_holder(env, &["--fair", "-s"]))
            .collect();
        let mut writer = spawn_waiting_holder(env, &["--fair"]);
        let mut after: Vec<Process> = (0..3)
            .map(|_| spawn_waiting_holder(env, &["--fair", "-s"]))
            .collect();
        holder.release();
        // Readers that follow each other hold together.
        for reader in &mut before {
            reader.expect_line("held");
        }
        holders_are(env, 3);
        assert_queue_len(env, 4);
        for reader in before {
            assert_eq!(tickets(env.file("l")).len(), 4);
            reader.release();
        }
        writer.expect_line("held");
        assert_queue_len(env, 3);
        holders_are(env, 1);
        writer.release();
        for reader in &mut after {
            reader.expect_line("held");
        }
        holders_are(env, 3);
        after.into_iter().for_each(Process::release);
        assert_clean(env, &[]);
    });
}

#[test]
fn a_reader_joins_the_readers_that_hold_when_nobody_waits() {
    differs_from_util_linux(WHY, |env| {
        let _readers: Vec<Process> = (0..3).map(|_| env.hold(&["--fair", "-s"], "l")).collect();
        holders_are(env, 3);
        assert_eq!(tickets(env.file("l")), []);
    });
}

#[test]
fn a_writer_gets_in_between_readers_of_whom_there_is_always_one() {
    differs_from_util_linux(WHY, |env| {
        let served = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (first, second) = (
                env.hold(&["--fair", "-s"], "l"),
                env.hold(&["--fair", "-s"], "l"),
            );
            let mut writer = spawn_waiter(env, ["--fair", "l", "echo", "wrote"]);
            for mut reader in [first, second] {
                let served = &served;
                scope.spawn(move || {
                    // No reader goes before the next one of its row has asked, and has the lock if that can be had.
                    // There are so many that a writer who is let in after them all is told apart.
                    for _ in 0..200 {
                        let words = ["--fair", "-s", "l", "sh", "-c", "echo held; read x; exit 0"];
                        let mut next = env.start_flock(words);
                        next.wait_alive_until("it has asked", || {
                            holders(env) > 2
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
            assert_eq!(writer.wait(), ExitReason::Exited(0));
        });
    });
}

#[test]
fn whoever_does_not_want_to_wait_never_gets_in_before_one_that_waits() {
    differs_from_util_linux(WHY, |env| {
        let reader = env.hold(&["--fair", "-s"], "l");
        let mut writer = spawn_waiting_holder(env, &["--fair"]);
        let refused = || {
            for words in [["--fair", "-n"], ["--fair", "-ns"], ["--fair", "-sw0"]] {
                env.run(words.iter().chain(&["l", "true"])).assert_status(1);
            }
            env.sh("exec 8<l; flock --fair -n -s 8; exit $?")
                .assert_status(1);
        };
        refused();
        // Nobody is kept out who has not promised to queue.
        env.run(["-ns", "l", "true"]).assert_status(0);
        std::thread::scope(|scope| {
            let served = scope.spawn(|| {
                reader.release();
                writer.expect_line("held");
                writer
            });
            while !served.is_finished() {
                refused();
            }
            refused();
            served.join().expect("it is served").release();
        });
        env.run(["--fair", "-n", "l", "true"]).assert_status(0);
    });
}
