//! A stress test of `loto`, some of whose processes are killed or asked to terminate.

use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::Ordering;

use fastrand::Rng;
use rstest::rstest;
use test_support::TestEnv;
use test_support::process::send_signal;
use test_support::procfs::children_of;
use test_support::stress::{ATOMIC_STEP, StressTest, random_delay};

use crate::{CommandLineEnv, env};

/// Does steps with `loto`. Some of them are interrupted: `loto` is killed or asked to terminate, or
/// its supervisor is killed. The command is killed with it.
fn step_with_loto(stress: &StressTest<'_>, mut rng: Rng) {
    for _ in 0..30 * stress.size {
        let order = ["-L lock -L other", "-L other -L lock"][rng.usize(..2)];
        let line = format!("loto -w {order} --");
        let mut child = stress.spawn(stress.env.script(&line, ATOMIC_STEP));
        let pid = child.id() as i32;
        let action = rng.usize(..6);
        if action < 3 {
            random_delay(&mut rng);
            let victims = [vec![pid], vec![pid], children_of(pid)];
            let signals = [libc::SIGKILL, libc::SIGTERM, libc::SIGKILL];
            for victim in &victims[action] {
                send_signal(*victim, signals[action]);
            }
        }
        let status = stress.wait(&mut child);
        let killed = matches!(status.signal(), Some(libc::SIGKILL | libc::SIGTERM))
            || status.code() == Some(128 + libc::SIGKILL);
        assert!(status.success() || killed, "{status}");
        stress.count_step(killed);
    }
}

#[rstest]
fn count_is_exact_when_supervisors_and_commands_are_killed(env: TestEnv) {
    let stress = StressTest::new(&env);
    std::thread::scope(|scope| {
        stress.spawn_threads(scope, 6, 8, step_with_loto);
        stress.spawn_threads(scope, 4, 2, |stress, rng| stress.hold(rng, 3));
    });
    let killed = stress.uncertain.load(Ordering::Relaxed);
    assert!(killed > 0, "no process was killed in time");
    stress.assert_journal_consistent();
}
