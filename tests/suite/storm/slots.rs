//! The same with slots: never more than there are, whoever is killed, and one slot is a lock.

use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use test_support::stress::random_delay;

use super::fair::run_stress_test;
use super::{CHECK, STEP, StressTest};
use fastrand::Rng;
use test_support::locks::{Slot, slots, tickets};
use test_support::process::send_signal;
use test_support::procfs::is_sentinel;
use test_support::{TestEnv, differs_from_util_linux};

/// Why all of these are departures.
const WHY: &str = "the reference knows no slots";

/// What somebody does who has one of three slots, and is never killed: he looks for a witness of his own among three. A
/// fourth one would find none.
const WITNESSED: &str = r#"for i in 1 2 3; do
        exec 9>>witness$i; flock -n 9 && { read x <counter; exit 0; }
    done; echo "more than three" >&2"#;

/// Looks at the slots that are taken, until it is told to end: never more than so many. A slot counts that two looks
/// show: so all that are counted were taken at the same time.
fn watch_slots(env: &TestEnv, limit: usize, done: &AtomicBool) -> usize {
    let mut seen = 0;
    let mut before: Vec<Slot> = Vec::new();
    while !done.load(Relaxed) {
        let now = slots(env.file("lock"));
        let both = now.iter().filter(|slot| before.contains(slot)).count();
        assert!(both <= limit, "{now:?} and {before:?}");
        seen = seen.max(both);
        before = now;
    }
    seen
}

/// Sets the flag also after a panic.
struct SetOnDrop<'b>(&'b AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Extensions of [`StressTest`].
trait SlotsStressTest {
    fn enter_briefly(&self, rng: Rng, options: &[&str]);
    fn occupy(&self, rng: Rng, number: &str, kills: &AtomicU64);
    fn kill_some_sentinels(&self, rng: Rng, done: &AtomicBool);
}

impl SlotsStressTest for StressTest<'_> {
    /// Is in for a moment, by a `flock` that may be killed, but its command is not.
    fn enter_briefly(&self, mut rng: Rng, options: &[&str]) {
        for _ in 0..30 * self.size {
            let words = [options, &["--slots", "3", "lock", "sh", "-c", WITNESSED]].concat();
            let mut child = self.spawn_flock(&words);
            if rng.u64(..3) == 0 {
                random_delay(&mut rng);
                send_signal(child.id() as i32, libc::SIGKILL);
            }
            let status = self.wait(&mut child);
            let given_up = status.code() == Some(42);
            let killed = status.signal() == Some(libc::SIGKILL);
            assert!(status.success() || killed || given_up, "{status}");
        }
    }

    /// Has a slot, or waits for one, until it is killed with all that it has started.
    fn occupy(&self, mut rng: Rng, number: &str, kills: &AtomicU64) {
        for _ in 0..40 * self.size {
            let how = ["-x", "-o", "-F", "-w1000"][rng.usize(..4)];
            let words = [
                "--slots",
                number,
                how,
                "lock",
                "sh",
                "-c",
                "read x & read x",
            ];
            let mut child = self.spawn_flock(&words);
            random_delay(&mut rng);
            send_signal(-(child.id() as i32), libc::SIGKILL);
            self.wait(&mut child);
            kills.fetch_add(1, Relaxed);
        }
    }

    /// Kills a token every now and then.
    fn kill_some_sentinels(&self, mut rng: Rng, done: &AtomicBool) {
        while !done.load(Relaxed) {
            random_delay(&mut rng);
            let tickets = tickets(self.env.file("lock"));
            if let Some(victim) = tickets.get(rng.usize(..4))
                && is_sentinel(victim.sentinel)
            {
                send_signal(victim.sentinel, libc::SIGKILL);
            }
        }
    }
}

#[test]
fn never_are_more_in_than_there_are_slots_whoever_is_killed() {
    differs_from_util_linux(WHY, |env| {
        let kills = AtomicU64::new(0);
        let done = AtomicBool::new(false);
        env.run(["--slots", "1", "-n", "lock", "true"])
            .assert_status(0);
        run_stress_test(env, |stress| {
            std::thread::scope(|scope| {
                let (done, kills) = (&done, &kills);
                let watcher = scope.spawn(|| watch_slots(env, 3, done));
                stress.spawn_threads(scope, 56, 1, move |stress, rng| {
                    stress.kill_some_sentinels(rng, done)
                });
                let body = scope.spawn(move || {
                    let _done = SetOnDrop(done);
                    std::thread::scope(|scope| {
                        stress.spawn_threads(scope, 51, 4, |stress, rng| {
                            stress.enter_briefly(rng, &[])
                        });
                        stress.spawn_threads(scope, 52, 2, |stress, rng| {
                            stress.enter_briefly(rng, &["-w0.002", "-E42"])
                        });
                        stress.spawn_threads(scope, 53, 3, move |stress, rng| {
                            stress.occupy(rng, "3", kills)
                        });
                        stress.spawn_threads(scope, 54, 1, move |stress, rng| {
                            stress.occupy(rng, "2", kills)
                        });
                        stress.spawn_threads(scope, 55, 1, |stress, rng| {
                            stress.read(rng, &["--fair"])
                        });
                    });
                });
                body.join().expect("all is well");
                let seen = watcher.join().expect("never too many");
                println!("{seen} at once, {kills:?} killed");
                assert!(seen > 1, "they were never in together");
            });
        });
        assert!(slots(env.file("lock")).is_empty());
    });
}

#[test]
fn the_count_is_exact_where_there_is_one_slot() {
    differs_from_util_linux(WHY, |env| {
        env.run(["--slots", "1", "-n", "lock", "true"])
            .assert_status(0);
        let kills = AtomicU64::new(0);
        run_stress_test(env, |stress| {
            std::thread::scope(|scope| {
                stress.spawn_threads(scope, 61, 5, |stress, rng| {
                    stress.step_with(rng, "flock", &["--slots", "1"], STEP)
                });
                stress.spawn_threads(scope, 62, 2, |stress, mut rng| {
                    for _ in 0..30 * stress.size {
                        stress.try_step(&mut rng, &["--slots=1"]);
                    }
                });
                let kills = &kills;
                stress.spawn_threads(scope, 63, 3, move |stress, rng| {
                    stress.occupy(rng, "1", kills)
                });
                stress.spawn_threads(scope, 64, 2, |stress, mut rng| {
                    for _ in 0..30 * stress.size {
                        let words = ["--slots", "1", "lock", "sh", "-c", CHECK];
                        let mut child = stress.spawn_flock(&words);
                        if rng.u64(..4) == 0 {
                            random_delay(&mut rng);
                            send_signal(-(child.id() as i32), libc::SIGKILL);
                        }
                        stress.wait(&mut child);
                    }
                });
            });
        });
    });
}
