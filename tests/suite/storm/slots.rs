//! The same with slots: never more than there are, whoever is killed, and one slot is a lock.

use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use test_support::stress::random_delay;

use super::fair::through;
use super::{LOOK, STEP, Storm};
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
fn watch(env: &TestEnv, most: usize, over: &AtomicBool) -> usize {
    let mut seen = 0;
    let mut before: Vec<Slot> = Vec::new();
    while !over.load(Relaxed) {
        let now = slots(env.file("lock"));
        let both = now.iter().filter(|slot| before.contains(slot)).count();
        assert!(both <= most, "{now:?} and {before:?}");
        seen = seen.max(both);
        before = now;
    }
    seen
}

/// Says that it is over, also when somebody has panicked.
struct Bell<'b>(&'b AtomicBool);

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

impl Storm<'_> {
    /// Is in for a moment, by a `flock` that may be killed, but its command is not.
    fn enter(&self, mut rng: Rng, options: &[&str]) {
        for _ in 0..30 * self.size {
            let words = [options, &["--slots", "3", "lock", "sh", "-c", WITNESSED]].concat();
            let mut child = self.spawn_flock(&words);
            if rng.u64(..3) == 0 {
                random_delay(&mut rng);
                send_signal(child.id() as i32, libc::SIGKILL);
            }
            let status = self.end(&mut child);
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
            self.end(&mut child);
            kills.fetch_add(1, Relaxed);
        }
    }

    /// Kills a token every now and then.
    fn kill_some_tokens(&self, mut rng: Rng, over: &AtomicBool) {
        while !over.load(Relaxed) {
            random_delay(&mut rng);
            let turns = tickets(self.env.file("lock"));
            if let Some(victim) = turns.get(rng.usize(..4))
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
        let over = AtomicBool::new(false);
        env.run(["--slots", "1", "-n", "lock", "true"])
            .assert_status(0);
        through(env, |storm| {
            std::thread::scope(|scope| {
                let (over, kills) = (&over, &kills);
                let watcher = scope.spawn(|| watch(env, 3, over));
                storm.many(scope, 56, 1, move |storm, rng| {
                    storm.kill_some_tokens(rng, over)
                });
                let deeds = scope.spawn(move || {
                    let _bell = Bell(over);
                    std::thread::scope(|scope| {
                        storm.many(scope, 51, 4, |storm, rng| storm.enter(rng, &[]));
                        storm.many(scope, 52, 2, |storm, rng| {
                            storm.enter(rng, &["-w0.002", "-E42"])
                        });
                        storm.many(scope, 53, 3, move |storm, rng| {
                            storm.occupy(rng, "3", kills)
                        });
                        storm.many(scope, 54, 1, move |storm, rng| {
                            storm.occupy(rng, "2", kills)
                        });
                        storm.many(scope, 55, 1, |storm, rng| storm.read(rng, &["--fair"]));
                    });
                });
                deeds.join().expect("all is well");
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
        through(env, |storm| {
            std::thread::scope(|scope| {
                storm.many(scope, 61, 5, |storm, rng| {
                    storm.step_by(rng, "flock", &["--slots", "1"], STEP)
                });
                storm.many(scope, 62, 2, |storm, mut rng| {
                    for _ in 0..30 * storm.size {
                        storm.step_or_give_up(&mut rng, &["--slots=1"]);
                    }
                });
                let kills = &kills;
                storm.many(scope, 63, 3, move |storm, rng| {
                    storm.occupy(rng, "1", kills)
                });
                storm.many(scope, 64, 2, |storm, mut rng| {
                    for _ in 0..30 * storm.size {
                        let words = ["--slots", "1", "lock", "sh", "-c", LOOK];
                        let mut child = storm.spawn_flock(&words);
                        if rng.u64(..4) == 0 {
                            random_delay(&mut rng);
                            send_signal(-(child.id() as i32), libc::SIGKILL);
                        }
                        storm.end(&mut child);
                    }
                });
            });
        });
    });
}
