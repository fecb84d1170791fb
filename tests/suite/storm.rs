//! Everything at once: many processes count under one lock while some are killed, time out, or replace the lock file.
//! The count must be exact, nobody may hang, and nothing may be left behind.
//!
//! `FDLOCK_STORM` multiplies the size (1: some seconds), `FDLOCK_STORM_SEED` repeats the random numbers of a run.

mod fair;
mod slots;

use std::sync::atomic::Ordering;

use fastrand::Rng;
use test_support::stress::{CHECK, STEP, StressTest};
use test_support::{TestEnv, differs_from_util_linux};

#[test]
fn the_count_is_exact_through_a_storm_of_kills() {
    let env = TestEnv::new();
    let stress = StressTest::new(&env);
    std::thread::scope(|scope| {
        stress.spawn_threads(scope, 1, 8, |stress, rng| {
            stress.step_with_command(rng, STEP)
        });
        stress.spawn_threads(scope, 2, 4, |stress, rng| stress.step_with_fd(rng));
        stress.spawn_threads(scope, 3, 3, |stress, rng| stress.read(rng, &[]));
        stress.spawn_threads(scope, 4, 3, |stress, rng| stress.hold(rng, 3));
    });
    let killed = stress.uncertain.load(Ordering::Relaxed);
    assert!(killed > 0, "nobody was killed in time");
    stress.assert_consistent();
}

#[test]
fn the_count_is_exact_while_the_lock_file_is_replaced() {
    // Only a holder may replace it, as the last thing that it does: who did so without the lock would let the next one
    // in beside the holder, and no check could help.
    let step =
        format!("{STEP}; case $((n % 3)) in 0) rm lock ;; 1) : >lock.$$; mv lock.$$ lock ;; esac");
    differs_from_util_linux(
        "the reference lets in one for the old file and one for the new",
        |env| {
            let stress = StressTest::new(env);
            let step = &step;
            std::thread::scope(|scope| {
                stress.spawn_threads(scope, 1, 8, move |stress, rng| {
                    stress.step_with_command(rng, step)
                });
                stress.spawn_threads(scope, 3, 2, |stress, rng| stress.read(rng, &[]));
                stress.spawn_threads(scope, 4, 2, |stress, rng| stress.hold(rng, 2));
            });
            stress.assert_consistent();
        },
    );
}

#[test]
fn the_count_is_exact_when_many_give_up() {
    let env = TestEnv::new();
    let stress = StressTest::new(&env);
    let holder = env.hold(&[], "lock");
    let mut rng = Rng::with_seed(stress.seed);
    for _ in 0..10 {
        assert!(!stress.try_step(&mut rng, &[]), "the lock is held");
    }
    holder.release();
    std::thread::scope(|scope| {
        stress.spawn_threads(scope, 5, 8, |stress, mut rng| {
            for _ in 0..40 * stress.size {
                stress.try_step(&mut rng, &[]);
            }
        });
    });
    assert!(stress.committed.load(Ordering::Relaxed) > 0, "all gave up");
    stress.assert_consistent();
}
