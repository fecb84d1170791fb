//! A stress test: writers, readers, and scripts that create their own locks count under one lock,
//! while holders are killed and leave the lock behind.

use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::Ordering;

use fastrand::Rng;
use rstest::rstest;
use test_support::TestEnv;
use test_support::stress::{CHECK, STEP, StressTest, kill_group, random_delay};

use crate::{CommandLineEnv, env};

/// Waits for the lock or holds it until killed. A killed holder leaves the lock behind.
fn hold_until_killed(stress: &StressTest<'_>, mut rng: Rng) {
    let spawn = |script: &str| stress.spawn(stress.env.script("", script));
    for _ in 0..4 * stress.size {
        let args = ["lock", "-w lock readers", "-w lock"][rng.usize(..3)];
        let mut child = spawn(&format!("ulock --invalid=2 {args} && read x"));
        random_delay(&mut rng);
        kill_group(&child);
        assert_eq!(stress.wait(&mut child).signal(), Some(libc::SIGKILL));
    }
    // At least this one leaves it behind.
    let mut child = spawn("ulock --invalid=2 lock && kill -9 $$");
    assert_eq!(stress.wait(&mut child).signal(), Some(libc::SIGKILL));
}

#[rstest]
fn count_is_exact_while_locks_are_left_behind(env: TestEnv) {
    let stress = StressTest::new(&env);
    env.sh("ulock -w lock readers; rm lock").assert_status(0);
    let rounds = 15 * stress.size;
    let write = format!("ulock --invalid=2 -w lock readers || exit 9; {STEP}; rm -f lock");
    let read = format!("ulock --invalid=2 -r lock readers '{CHECK}' || exit 9");
    let original = format!(
        ": >tmp.$$; until ln tmp.$$ lock 2>/dev/null; do sleep 0.01; done; rm tmp.$$
         until [ \"$(stat -c %h readers)\" = 1 ]; do sleep 0.01; done; {STEP}; rm -f lock"
    );
    std::thread::scope(|scope| {
        let stress = &stress;
        for (script, count) in [(&write, 4), (&read, 3), (&original, 1)] {
            stress.spawn_threads(scope, 1, count, move |stress, _| {
                stress.run_repeatedly(rounds, script);
            });
        }
        stress.spawn_threads(scope, 2, 2, hold_until_killed);
    });
    let steps = 5 * rounds;
    stress.committed.store(steps, Ordering::Relaxed);
    stress.finish(|_| false);
    assert_eq!(env.read("counter"), format!("{steps} {steps}\n"));
    env.sh("ulock --invalid=2 -w lock readers && stat -c %h readers")
        .assert_stdout("1\n");
}
