//! A stress test: many `runlock` compete for one lock, some of them are killed, and stale files
//! appear. Two never have the lock at once, no step is lost, and no process hangs.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use fastrand::Rng;
use rstest::rstest;
use test_support::TestEnv;
use test_support::stress::{ATOMIC_STEP, StressTest, kill_group, random_delay};

use crate::{CommandLineEnv, env};

/// The exit status of a completed step. `runlock` exits with 0 if the lock is taken.
const COMMITTED: i32 = 7;

fn spawn(stress: &StressTest<'_>, script: &str) -> Child {
    stress.spawn(stress.env.script("runlock l", script))
}

/// Does steps, each of which is tried until the lock is free, and sometimes kills the `runlock`.
fn step(stress: &StressTest<'_>, mut rng: Rng) {
    let mut steps = 0;
    while steps < 20 * stress.size {
        stress.assert_in_time();
        let mut child = spawn(stress, &format!("{ATOMIC_STEP}; exit {COMMITTED}"));
        if rng.u64(..3) == 0 {
            // From before its main() until after the exit of its command.
            for _ in 0..3 {
                random_delay(&mut rng);
            }
            let _ = child.kill();
        }
        let status = stress.wait(&mut child);
        if status.success() {
            continue;
        }
        let killed = status.signal() == Some(libc::SIGKILL);
        assert!(killed || status.code() == Some(COMMITTED), "{status}");
        stress.count_step(killed);
        steps += 1;
    }
    step_until_killed(stress, rng);
}

/// Does a last step or not, and is killed in any case, because the script does not exit.
fn step_until_killed(stress: &StressTest<'_>, mut rng: Rng) {
    loop {
        stress.assert_in_time();
        let mut child = spawn(stress, &format!("{ATOMIC_STEP}; exec 9>&-; read x; :"));
        random_delay(&mut rng);
        let _ = child.kill();
        let status = stress.wait(&mut child);
        // With 0 the lock was taken.
        if !status.success() {
            assert_eq!(status.signal(), Some(libc::SIGKILL));
            return stress.count_step(true);
        }
    }
}

/// Holds the lock, if it is free, until killed with the supervisor and the command.
fn hold(stress: &StressTest<'_>, mut rng: Rng) {
    for _ in 0..20 * stress.size {
        let mut child = spawn(stress, "read x; :");
        random_delay(&mut rng);
        kill_group(&child);
        let status = stress.wait(&mut child);
        let killed = status.signal() == Some(libc::SIGKILL);
        assert!(status.success() || killed, "{status}");
    }
}

/// Creates stale files whenever there is no file, and counts them.
fn create_stale_files(stress: &StressTest<'_>, mut rng: Rng, created: &AtomicU64) {
    let file = stress.env.file(format!("stale{}", rng.u64(..)));
    for _ in 0..100 * stress.size {
        let _ = fs::remove_file(&file);
        let text = ["2000000000\n", "2000000000\nrest\n"][rng.usize(..2)];
        fs::write(&file, text).expect("a file");
        let linked = fs::hard_link(&file, stress.env.file("l.lock")).is_ok();
        created.fetch_add(u64::from(linked), Relaxed);
        random_delay(&mut rng);
    }
}

#[rstest]
fn count_is_exact_with_kills_and_stale_files(env: TestEnv) {
    let stress = StressTest::new(&env);
    let created = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let created = &created;
        stress.spawn_threads(scope, 1, 4, step);
        stress.spawn_threads(scope, 2, 2, hold);
        stress.spawn_threads(scope, 3, 2, move |stress, rng| {
            create_stale_files(stress, rng, created)
        });
    });
    assert!(created.into_inner() > 0, "no stale file was created");
    // A last file may be left, and a last supervisor may still be busy.
    env.run_line("runlock l echo ran")
        .assert_stdout("ran\n")
        .assert_status(0);
    assert!(!env.file("l.lock").exists());
    stress.finish(|error| error == "Still locked." || error.starts_with("runlock: UNLOCKED l ("));
}
