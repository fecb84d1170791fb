//! The same with turns: among those who wait for theirs, those who take none, and those who kill tokens or stop
//! waiters.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use test_support::stress::random_delay;

use super::{STEP, Storm};
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

/// What those who disturb the others have done, and whether it is enough.
#[derive(Default)]
struct Mischief {
    over: AtomicBool,
    kills: AtomicU64,
    tokens: AtomicU64,
    stops: AtomicU64,
}

/// A number by which the process is not known any more when it is over.
fn is_flock(pid: i32) -> bool {
    status_field(pid, "Name") == "flock"
}

impl Storm<'_> {
    /// Steps in shells by a descriptor, shared and exclusive by turns.
    fn step_by_fair_descriptor(&self, mut rng: Rng) {
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
        assert!(self.end(&mut self.spawn(shell)).success());
        self.sure.fetch_add(steps, Relaxed);
    }

    /// Waits, or holds, until it is killed: alone, or with its command and its token.
    fn is_killed(&self, mut rng: Rng, mischief: &Mischief) {
        for _ in 0..60 * self.size {
            let mut child = self.waits_or_holds(&mut rng);
            random_delay(&mut rng);
            let alone = rng.u64(..2) == 0;
            let pid = child.id() as i32;
            // Alone it leaves a command behind, which ends when its stdin does.
            send_signal(if alone { pid } else { -pid }, libc::SIGKILL);
            drop(child.stdin.take());
            let status = self.end(&mut child);
            assert!(status.signal() == Some(libc::SIGKILL), "{status}");
            mischief.kills.fetch_add(1, Relaxed);
        }
    }

    fn waits_or_holds(&self, rng: &mut Rng) -> Child {
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
    fn kill_tokens(&self, mut rng: Rng, mischief: &Mischief) {
        while !mischief.over.load(Relaxed) {
            random_delay(&mut rng);
            let turns = tickets(self.env.file("lock"));
            if turns.is_empty() {
                continue;
            }
            let victim = turns[rng.usize(..turns.len())].sentinel;
            if is_sentinel(victim) && send_signal(victim, libc::SIGKILL) {
                mischief.tokens.fetch_add(1, Relaxed);
            }
        }
    }

    /// Stops a waiter, or its token too, every now and then, for a moment.
    fn stop_waiters(&self, mut rng: Rng, mischief: &Mischief) {
        while !mischief.over.load(Relaxed) {
            random_delay(&mut rng);
            let turns = tickets(self.env.file("lock"));
            let count = turns.len() as u64;
            let victims: Vec<i32> = turns
                .into_iter()
                .filter(|_| rng.u64(..count) == 0)
                .map(|turn| (parent_of(turn.sentinel), turn.sentinel))
                .filter(|(waiter, _)| is_flock(*waiter))
                .flat_map(|(waiter, token)| [waiter, token])
                .collect();
            for victim in &victims {
                send_signal(*victim, libc::SIGSTOP);
            }
            random_delay(&mut rng);
            for victim in &victims {
                send_signal(*victim, libc::SIGCONT);
            }
            mischief.stops.fetch_add(victims.len() as u64 / 2, Relaxed);
        }
    }

    /// Steps or gives up, many times.
    fn gives_up(&self, mut rng: Rng) {
        for _ in 0..30 * self.size {
            self.step_or_give_up(&mut rng, &["--fair"]);
        }
    }
}

/// The tokens that still have the file `lock` of this test environment open.
fn tokens_left(env: &TestEnv) -> Vec<i32> {
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

/// Runs a storm, and then sees that nothing is left.
pub fn through(env: &TestEnv, deeds: impl FnOnce(&Storm<'_>)) {
    // Somebody who knows no turns has lost already.
    env.run(["--fair", "-n", "lock", "true"]).assert_status(0);
    let storm = Storm::new(env);
    deeds(&storm);
    wait_until("no token is left", || tokens_left(env).is_empty());
    wait_until("no turn is left", || tickets(env.file("lock")).is_empty());
    storm.blows_over();
}

/// Says that it is over, also when somebody has panicked, so that those who wait for it end.
struct Bell<'m>(&'m Mischief);

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Relaxed);
    }
}

#[test]
fn the_count_is_exact_with_turns_and_without_through_kills_and_timeouts() {
    differs_from_util_linux(WHY, |env| {
        let mischief = Mischief::default();
        let reference = "/usr/bin/flock";
        let other = if Path::new(reference).exists() {
            reference
        } else {
            "flock"
        };
        through(env, |storm| {
            std::thread::scope(|scope| {
                storm.many(scope, 11, 4, |storm, mut rng| {
                    let way = WAYS[rng.usize(..4)];
                    // Verbose ones speak to nobody who would mind.
                    storm.step_by(rng, "flock", way, STEP);
                });
                storm.many(scope, 12, 2, |storm, rng| {
                    storm.step_by_fair_descriptor(rng)
                });
                storm.many(scope, 13, 2, |storm, rng| storm.read(rng, &["--fair"]));
                let mischief = &mischief;
                storm.many(scope, 14, 4, |storm, rng| storm.is_killed(rng, mischief));
                storm.many(scope, 15, 2, |storm, rng| storm.gives_up(rng));
                storm.many(scope, 16, 1, |storm, rng| {
                    storm.step_by(rng, other, &[], STEP)
                });
                storm.many(scope, 17, 1, |storm, rng| storm.read(rng, &[]));
                storm.many(scope, 18, 1, |storm, rng| storm.step_by_descriptor(rng));
            });
        });
        assert!(mischief.kills.into_inner() > 0);
    });
}

#[test]
fn the_count_is_exact_though_tokens_are_killed_and_waiters_stopped() {
    differs_from_util_linux(WHY, |env| {
        let mischief = Mischief::default();
        through(env, |storm| {
            std::thread::scope(|scope| {
                let mischief = &mischief;
                let deeds = scope.spawn(move || {
                    let _bell = Bell(mischief);
                    std::thread::scope(|scope| {
                        storm.many(scope, 21, 6, |storm, mut rng| {
                            let way = WAYS[rng.usize(..4)];
                            storm.step_by(rng, "flock", way, STEP);
                        });
                        storm.many(scope, 22, 3, |storm, rng| {
                            storm.step_by_fair_descriptor(rng)
                        });
                        storm.many(scope, 23, 2, |storm, rng| storm.read(rng, &["--fair"]));
                        storm.many(scope, 24, 1, |storm, rng| storm.is_killed(rng, mischief));
                    });
                });
                storm.many(scope, 25, 1, move |storm, rng| {
                    storm.kill_tokens(rng, mischief)
                });
                storm.many(scope, 26, 1, move |storm, rng| {
                    storm.stop_waiters(rng, mischief)
                });
                deeds.join().expect("all is well");
            });
        });
        let counts = [&mischief.tokens, &mischief.stops].map(|count| count.load(Relaxed));
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
        let mischief = Mischief::default();
        through(env, |storm| {
            std::thread::scope(|scope| {
                let mischief = &mischief;
                storm.many(scope, 31, 6, move |storm, mut rng| {
                    let way = WAYS[rng.usize(..4)];
                    storm.step_by(rng, "flock", way, step);
                });
                storm.many(scope, 32, 2, move |storm, rng| {
                    storm.step_by(rng, "flock", &[], step)
                });
                storm.many(scope, 33, 2, |storm, rng| storm.read(rng, &["--fair"]));
                storm.many(scope, 34, 2, move |storm, mut rng| {
                    for _ in 0..30 * storm.size {
                        let mut child =
                            storm.spawn_flock(&["--fair", "lock", "sh", "-c", "read x"]);
                        random_delay(&mut rng);
                        send_signal(-(child.id() as i32), libc::SIGKILL);
                        storm.end(&mut child);
                        mischief.kills.fetch_add(1, Relaxed);
                    }
                });
            });
        });
        assert!(mischief.kills.into_inner() > 0);
    });
}

#[test]
fn a_thousand_who_only_wait_are_killed_and_nothing_is_left_of_them() {
    differs_from_util_linux(WHY, |env| {
        let mischief = Mischief::default();
        through(env, |storm| {
            let holder = env.hold(&["--fair"], "lock");
            std::thread::scope(|scope| {
                let mischief = &mischief;
                storm.many(scope, 41, 4, move |storm, mut rng| {
                    for _ in 0..250 * storm.size {
                        let how = ["-x", "-s", "-w1000", "-F"][rng.usize(..4)];
                        let mut child = storm.spawn_flock(&["--fair", how, "lock", "touch", "ran"]);
                        std::thread::sleep(Duration::from_micros(rng.u64(..4000)));
                        send_signal(child.id() as i32, libc::SIGKILL);
                        assert_eq!(storm.end(&mut child).signal(), Some(libc::SIGKILL));
                        mischief.kills.fetch_add(1, Relaxed);
                    }
                });
            });
            wait_until("nobody waits", || tickets(env.file("lock")).is_empty());
            env.run(["--fair", "-n", "lock", "true"]).assert_status(1);
            holder.release();
        });
        assert!(!env.file("ran").exists());
        assert!(mischief.kills.into_inner() >= 1000);
    });
}
