//! The same with turns: among those who wait for theirs, those who take none, and those who kill tokens or stop
//! waiters.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use test_support::stress::random_delay;

use super::{STEP, StressTest};
use fastrand::Rng;
use test_support::locks::tickets;
use test_support::process::send_signal;
use test_support::procfs::{is_sentinel, parent_of, status_field};
use test_support::{TestEnv, differs_from_util_linux, wait_until};

/// Why all of these are departures.
const WHY: &str = "the reference knows no turns";

/// The ways to make a step that waits for its turn.
const WAYS: [&[&str]; 4] = [
    &["--fair"],
    &["--fair", "-w1000"],
    &["-x", "--fair"],
    &["--fair", "-E9"],
];

/// What the disturbing threads have done, and whether they should stop.
#[derive(Default)]
struct Disruption {
    done: AtomicBool,
    kills: AtomicU64,
    sentinels: AtomicU64,
    stops: AtomicU64,
}

/// Whether the process still exists and is a `flock`.
fn is_flock(pid: i32) -> bool {
    status_field(pid, "Name") == "flock"
}

/// Extensions of [`StressTest`].
trait FairStressTest {
    fn step_with_fair_fd(&self, rng: Rng);
    fn wait_until_killed(&self, rng: Rng, disruption: &Disruption);
    fn spawn_waiter_or_holder(&self, rng: &mut Rng) -> Child;
    fn kill_sentinels(&self, rng: Rng, disruption: &Disruption);
    fn stop_waiters(&self, rng: Rng, disruption: &Disruption);
    fn try_steps(&self, rng: Rng);
}

impl FairStressTest for StressTest<'_> {
    /// Steps in shells by a descriptor, shared and exclusive by turns.
    fn step_with_fair_fd(&self, mut rng: Rng) {
        let steps = 40 * self.size;
        let step = match rng.u64(..3) {
            0 => format!("exec 8>>lock; flock --fair 8 || exit 9; {STEP}; exec 8>&-"),
            1 => format!("(flock --fair -w 1000 9 || exit 9; {STEP}) 9<lock || exit 9"),
            // The lock that it has is given up for the one that it wants.
            _ => format!(
                "exec 8<lock; flock --fair -s 8 || exit 9; flock --fair 8 || exit 9; {STEP}; flock -u 8"
            ),
        };
        let script = format!("i=0; while [ $i -lt {steps} ]; do i=$((i + 1)); {step}; done");
        let mut shell = self.env.command("sh");
        shell.args(["-c", &script]);
        assert!(self.wait(&mut self.spawn(shell)).success());
        self.committed.fetch_add(steps, Relaxed);
    }

    /// Waits, or holds, until it is killed: alone, or with its command and its token.
    fn wait_until_killed(&self, mut rng: Rng, disruption: &Disruption) {
        for _ in 0..60 * self.size {
            let mut child = self.spawn_waiter_or_holder(&mut rng);
            random_delay(&mut rng);
            let alone = rng.u64(..2) == 0;
            let pid = child.id() as i32;
            // Alone it leaves a command behind, which ends when its stdin does.
            send_signal(if alone { pid } else { -pid }, libc::SIGKILL);
            drop(child.stdin.take());
            let status = self.wait(&mut child);
            assert!(status.signal() == Some(libc::SIGKILL), "{status}");
            disruption.kills.fetch_add(1, Relaxed);
        }
    }

    fn spawn_waiter_or_holder(&self, rng: &mut Rng) -> Child {
        match rng.u64(..5) {
            0 => self.spawn_flock(&["--fair", "lock", "sh", "-c", "read x"]),
            1 => self.spawn_flock(&["--fair", "-s", "lock", "sh", "-c", "read x"]),
            2 => self.spawn_flock(&["--fair", "-w1000", "-o", "lock", "sh", "-c", "read x"]),
            3 => self.spawn_flock(&["-F", "--fair", "lock", "sh", "-c", "read x"]),
            _ => {
                let mut shell = self.env.command("sh");
                shell.args(["-c", "exec 8>>lock; flock --fair 8; read x"]);
                self.spawn(shell)
            }
        }
    }

    /// Kills a token every now and then.
    fn kill_sentinels(&self, mut rng: Rng, disruption: &Disruption) {
        while !disruption.done.load(Relaxed) {
            random_delay(&mut rng);
            let tickets = tickets(self.env.file("lock"));
            if tickets.is_empty() {
                continue;
            }
            let victim = tickets[rng.usize(..tickets.len())].sentinel;
            if is_sentinel(victim) && send_signal(victim, libc::SIGKILL) {
                disruption.sentinels.fetch_add(1, Relaxed);
            }
        }
    }

    /// Stops a waiter, or its token too, every now and then, for a moment.
    fn stop_waiters(&self, mut rng: Rng, disruption: &Disruption) {
        while !disruption.done.load(Relaxed) {
            random_delay(&mut rng);
            let tickets = tickets(self.env.file("lock"));
            let count = tickets.len() as u64;
            let victims: Vec<i32> = tickets
                .into_iter()
                .filter(|_| rng.u64(..count) == 0)
                .map(|ticket| (parent_of(ticket.sentinel), ticket.sentinel))
                .filter(|(waiter, _)| is_flock(*waiter))
                .flat_map(|(waiter, sentinel)| [waiter, sentinel])
                .collect();
            for victim in &victims {
                send_signal(*victim, libc::SIGSTOP);
            }
            random_delay(&mut rng);
            for victim in &victims {
                send_signal(*victim, libc::SIGCONT);
            }
            disruption
                .stops
                .fetch_add(victims.len() as u64 / 2, Relaxed);
        }
    }

    /// Steps or gives up, many times.
    fn try_steps(&self, mut rng: Rng) {
        for _ in 0..30 * self.size {
            self.try_step(&mut rng, &["--fair"]);
        }
    }
}

/// Returns the sentinels that still have the file `lock` open.
fn remaining_sentinels(env: &TestEnv) -> Vec<i32> {
    let lock = env.file("lock");
    let pids = fs::read_dir("/proc").expect("/proc").filter_map(|entry| {
        let name = entry.ok()?.file_name();
        name.to_str()?.parse::<i32>().ok()
    });
    let has_it = |pid: &i32| {
        let folder = fs::read_dir(format!("/proc/{pid}/fd"));
        let mut links = folder.into_iter().flatten().flatten();
        links.any(|link| fs::read_link(link.path()).is_ok_and(|to| to == lock))
    };
    pids.filter(|pid| is_sentinel(*pid))
        .filter(has_it)
        .collect()
}

/// Runs a stress test, and then asserts that nothing is left behind.
pub fn run_stress_test(env: &TestEnv, body: impl FnOnce(&StressTest<'_>)) {
    // Somebody who knows no turns has lost already.
    env.run(["--fair", "-n", "lock", "true"]).assert_status(0);
    let stress = StressTest::new(env);
    body(&stress);
    wait_until("no token is left", || remaining_sentinels(env).is_empty());
    wait_until("no turn is left", || tickets(env.file("lock")).is_empty());
    stress.assert_consistent();
}

/// Sets `done` also after a panic, so that the threads that wait for it return.
struct SetOnDrop<'m>(&'m Disruption);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.done.store(true, Relaxed);
    }
}

#[test]
fn the_count_is_exact_with_turns_and_without_through_kills_and_timeouts() {
    differs_from_util_linux(WHY, |env| {
        let disruption = Disruption::default();
        let reference = "/usr/bin/flock";
        let other = if Path::new(reference).exists() {
            reference
        } else {
            "flock"
        };
        run_stress_test(env, |stress| {
            std::thread::scope(|scope| {
                stress.spawn_threads(scope, 11, 4, |stress, mut rng| {
                    let way = WAYS[rng.usize(..4)];
                    // Verbose ones speak to nobody who would mind.
                    stress.step_with(rng, "flock", way, STEP);
                });
                stress.spawn_threads(scope, 12, 2, |stress, rng| stress.step_with_fair_fd(rng));
                stress.spawn_threads(scope, 13, 2, |stress, rng| stress.read(rng, &["--fair"]));
                let disruption = &disruption;
                stress.spawn_threads(scope, 14, 4, |stress, rng| {
                    stress.wait_until_killed(rng, disruption)
                });
                stress.spawn_threads(scope, 15, 2, |stress, rng| stress.try_steps(rng));
                stress.spawn_threads(scope, 16, 1, |stress, rng| {
                    stress.step_with(rng, other, &[], STEP)
                });
                stress.spawn_threads(scope, 17, 1, |stress, rng| stress.read(rng, &[]));
                stress.spawn_threads(scope, 18, 1, |stress, rng| stress.step_with_fd(rng));
            });
        });
        assert!(disruption.kills.into_inner() > 0);
    });
}

#[test]
fn the_count_is_exact_though_tokens_are_killed_and_waiters_stopped() {
    differs_from_util_linux(WHY, |env| {
        let disruption = Disruption::default();
        run_stress_test(env, |stress| {
            std::thread::scope(|scope| {
                let disruption = &disruption;
                let body = scope.spawn(move || {
                    let _done = SetOnDrop(disruption);
                    std::thread::scope(|scope| {
                        stress.spawn_threads(scope, 21, 6, |stress, mut rng| {
                            let way = WAYS[rng.usize(..4)];
                            stress.step_with(rng, "flock", way, STEP);
                        });
                        stress.spawn_threads(scope, 22, 3, |stress, rng| {
                            stress.step_with_fair_fd(rng)
                        });
                        stress.spawn_threads(scope, 23, 2, |stress, rng| {
                            stress.read(rng, &["--fair"])
                        });
                        stress.spawn_threads(scope, 24, 1, |stress, rng| {
                            stress.wait_until_killed(rng, disruption)
                        });
                    });
                });
                stress.spawn_threads(scope, 25, 1, move |stress, rng| {
                    stress.kill_sentinels(rng, disruption)
                });
                stress.spawn_threads(scope, 26, 1, move |stress, rng| {
                    stress.stop_waiters(rng, disruption)
                });
                body.join().expect("all is well");
            });
        });
        let counts = [&disruption.sentinels, &disruption.stops].map(|count| count.load(Relaxed));
        println!("killed and stopped: {counts:?}");
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    });
}

#[test]
fn the_count_is_exact_while_the_lock_file_is_replaced_under_those_who_have_turns() {
    let step =
        format!("{STEP}; case $((n % 3)) in 0) rm lock ;; 1) : >lock.$$; mv lock.$$ lock ;; esac");
    differs_from_util_linux(WHY, |env| {
        let step = &step;
        let disruption = Disruption::default();
        run_stress_test(env, |stress| {
            std::thread::scope(|scope| {
                let disruption = &disruption;
                stress.spawn_threads(scope, 31, 6, move |stress, mut rng| {
                    let way = WAYS[rng.usize(..4)];
                    stress.step_with(rng, "flock", way, step);
                });
                stress.spawn_threads(scope, 32, 2, move |stress, rng| {
                    stress.step_with(rng, "flock", &[], step)
                });
                stress.spawn_threads(scope, 33, 2, |stress, rng| stress.read(rng, &["--fair"]));
                stress.spawn_threads(scope, 34, 2, move |stress, mut rng| {
                    for _ in 0..30 * stress.size {
                        let mut child =
                            stress.spawn_flock(&["--fair", "lock", "sh", "-c", "read x"]);
                        random_delay(&mut rng);
                        send_signal(-(child.id() as i32), libc::SIGKILL);
                        stress.wait(&mut child);
                        disruption.kills.fetch_add(1, Relaxed);
                    }
                });
            });
        });
        assert!(disruption.kills.into_inner() > 0);
    });
}

#[test]
fn a_thousand_who_only_wait_are_killed_and_nothing_is_left_of_them() {
    differs_from_util_linux(WHY, |env| {
        let disruption = Disruption::default();
        run_stress_test(env, |stress| {
            let holder = env.hold(&["--fair"], "lock");
            std::thread::scope(|scope| {
                let disruption = &disruption;
                stress.spawn_threads(scope, 41, 4, move |stress, mut rng| {
                    for _ in 0..250 * stress.size {
                        let how = ["-x", "-s", "-w1000", "-F"][rng.usize(..4)];
                        let mut child =
                            stress.spawn_flock(&["--fair", how, "lock", "touch", "ran"]);
                        std::thread::sleep(Duration::from_micros(rng.u64(..4000)));
                        send_signal(child.id() as i32, libc::SIGKILL);
                        assert_eq!(stress.wait(&mut child).signal(), Some(libc::SIGKILL));
                        disruption.kills.fetch_add(1, Relaxed);
                    }
                });
            });
            wait_until("nobody waits", || tickets(env.file("lock")).is_empty());
            env.run(["--fair", "-n", "lock", "true"]).assert_status(1);
            holder.release();
        });
        assert!(!env.file("ran").exists());
        assert!(disruption.kills.into_inner() >= 1000);
    });
}
