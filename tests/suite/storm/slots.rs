//! Stress tests of `--slots`: never more holders than slots while processes are killed, and a
//! single slot excludes like a lock.

use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::Ordering::Relaxed;

use super::fair::{Disruption, SetDoneOnDrop, kill_sentinels, run_stress_test};
use super::{CHECK, STEP, StressTest};
use fastrand::Rng;
use test_support::TestEnv;
use test_support::locks::{Slot, slots};
use test_support::process::send_signal;
use test_support::stress::{kill_group, random_delay};

/// The command of a holder of one of three slots: it locks one of three files, of which none would
/// be free for a fourth holder. It is never killed, and releases the file before it exits: see
/// `unlink::killing_processes_never_admits_a_second_holder`.
const WITNESSED: &str = r#"for i in 1 2 3; do
        exec 9>>witness$i; flock -n 9 && { read x <counter; exec 9>&-; exit 0; }
    done; echo "more than three" >&2"#;

/// Asserts until the end that at most `limit` slots are held, and returns the largest number. Only
/// slots that two consecutive observations have in common count: they were held at the same time.
fn watch_slots(env: &TestEnv, limit: usize, disruption: &Disruption) -> usize {
    let mut seen = 0;
    let mut before: Vec<Slot> = Vec::new();
    while !disruption.done.load(Relaxed) {
        let now = slots(env.file("lock"));
        let both = now.iter().filter(|slot| before.contains(slot)).count();
        assert!(both <= limit, "{now:?} and {before:?}");
        seen = seen.max(both);
        before = now;
    }
    seen
}

/// Holds a slot for a moment. The `flock` is sometimes killed, but never its command.
fn hold_briefly(stress: &StressTest<'_>, mut rng: Rng, options: &[&str]) {
    for _ in 0..30 * stress.size {
        let args = [options, &["--slots", "3", "lock", "sh", "-c", WITNESSED]].concat();
        let mut child = stress.spawn_flock(&args);
        if rng.u64(..3) == 0 {
            random_delay(&mut rng);
            send_signal(child.id() as i32, libc::SIGKILL);
        }
        let status = stress.wait(&mut child);
        let timed_out = status.code() == Some(42);
        let killed = status.signal() == Some(libc::SIGKILL);
        assert!(status.success() || killed || timed_out, "{status}");
    }
}

/// Waits for a slot or holds it, until killed with all processes that it has started.
fn hold_until_killed(stress: &StressTest<'_>, mut rng: Rng, number: &str) {
    for _ in 0..40 * stress.size {
        let option = ["-x", "-o", "-F", "-w1000"][rng.usize(..4)];
        let command = ["lock", "sh", "-c", "read x & read x"];
        let args = [&["--slots", number, option], &command[..]].concat();
        let mut child = stress.spawn_flock(&args);
        stress.kill_soon(&mut child, &mut rng);
    }
}

#[test]
fn never_more_holders_than_slots_despite_kills() {
    let env = &TestEnv::new();
    let disruption = &Disruption::default();
    run_stress_test(env, |stress| {
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| watch_slots(env, 3, disruption));
            stress.spawn_threads(scope, 56, 1, move |stress, rng| {
                kill_sentinels(stress, rng, disruption)
            });
            let done = SetDoneOnDrop(disruption);
            std::thread::scope(|scope| {
                stress.spawn_threads(scope, 51, 4, |stress, rng| hold_briefly(stress, rng, &[]));
                stress.spawn_threads(scope, 52, 2, |stress, rng| {
                    hold_briefly(stress, rng, &["-w0.002", "-E42"])
                });
                stress.spawn_threads(scope, 53, 3, |stress, rng| {
                    hold_until_killed(stress, rng, "3")
                });
                stress.spawn_threads(scope, 54, 1, |stress, rng| {
                    hold_until_killed(stress, rng, "2")
                });
                stress.spawn_threads(scope, 55, 1, |stress, rng| stress.read(rng, &["--fair"]));
            });
            drop(done);
            let seen = watcher.join().expect("never too many");
            println!("{seen} at the same time, {disruption:?}");
            assert!(seen > 1, "no two slots were held at the same time");
        });
    });
    assert!(slots(env.file("lock")).is_empty());
}

#[test]
fn exact_count_with_a_single_slot() {
    let env = &TestEnv::new();
    run_stress_test(env, |stress| {
        std::thread::scope(|scope| {
            stress.spawn_threads(scope, 61, 5, |stress, rng| {
                stress.step_with(rng, "flock", &["--slots", "1"], STEP)
            });
            stress.spawn_threads(scope, 62, 2, |stress, rng| {
                stress.try_steps(rng, 30, &["--slots=1"])
            });
            stress.spawn_threads(scope, 63, 3, |stress, rng| {
                hold_until_killed(stress, rng, "1")
            });
            stress.spawn_threads(scope, 64, 2, |stress, mut rng| {
                for _ in 0..30 * stress.size {
                    let args = ["--slots", "1", "lock", "sh", "-c", CHECK];
                    let mut child = stress.spawn_flock(&args);
                    if rng.u64(..4) == 0 {
                        random_delay(&mut rng);
                        kill_group(&child);
                    }
                    stress.wait(&mut child);
                }
            });
        });
    });
}
