//! Stress tests ([`test_support::stress`]).

mod fair;
mod slots;

use std::sync::atomic::Ordering;

use fastrand::Rng;
use test_support::stress::{CHECK, STEP, StressTest};
use test_support::{TestEnv, differs_from_util_linux};

#[test]
fn exact_count_despite_kills() {
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
    assert!(killed > 0, "no step was killed");
    stress.assert_consistent();
}

/// Replaces the lock file after two of three steps. Only a holder may do that, as its last action:
/// otherwise the next caller would have the lock at the same time as the holder.
const REPLACE: &str = "case $((n % 3)) in 0) rm lock ;; 1) : >lock.$$; mv lock.$$ lock ;; esac";

#[test]
fn exact_count_while_lock_file_is_replaced() {
    differs_from_util_linux(
        "util-linux may lock the old and the new file at the same time",
        |env| {
            let stress = StressTest::new(env);
            let step = &format!("{STEP}; {REPLACE}");
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
fn exact_count_despite_conflicts_and_timeouts() {
    let env = TestEnv::new();
    let stress = StressTest::new(&env);
    let holder = env.hold(&[], "lock");
    let mut rng = Rng::with_seed(stress.seed);
    for _ in 0..10 {
        assert!(!stress.try_step(&mut rng, &[]), "the lock is held");
    }
    holder.release();
    std::thread::scope(|scope| {
        stress.spawn_threads(scope, 5, 8, |stress, rng| stress.try_steps(rng, 40, &[]));
    });
    let committed = stress.committed.load(Ordering::Relaxed);
    assert!(committed > 0, "no step was done");
    stress.assert_consistent();
}
