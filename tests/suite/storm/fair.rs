//! Stress tests of `--fair`: waiters with and without tickets, while waiters, holders and sentinels
//! are killed, and waiters are stopped.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::{REPLACE, STEP, StressTest};
use fastrand::Rng;
use test_support::locks::tickets;
use test_support::process::send_signal;
use test_support::procfs::{is_sentinel, parent_of, status_field};
use test_support::stress::random_delay;
use test_support::{TestEnv, wait_until};

const OPTIONS: [&[&str]; 4] = [
    &["--fair"],
    &["--fair", "-w1000"],
    &["-x", "--fair"],
    &["--fair", "-E9"],
];

/// What the disrupting threads have done, and whether they should stop.
#[derive(Debug, Default)]
pub struct Disruption {
    pub done: AtomicBool,
    pub kills: AtomicU64,
    pub killed_sentinels: AtomicU64,
    pub stops: AtomicU64,
}

/// Sets `done` when it is dropped, even by a panic, so that the disrupting threads return.
pub struct SetDoneOnDrop<'a>(pub &'a Disruption);

impl Drop for SetDoneOnDrop<'_> {
    fn drop(&mut self) {
        self.0.done.store(true, Relaxed);
    }
}

fn step(stress: &StressTest<'_>, mut rng: Rng, script: &str) {
    let options = OPTIONS[rng.usize(..OPTIONS.len())];
    stress.step_with(rng, "flock", options, script);
}

/// Does steps in a shell with a descriptor, exclusively or after a shared lock.
fn step_with_fd(stress: &StressTest<'_>, mut rng: Rng) {
    let steps = 40 * stress.size;
    let step = match rng.u64(..3) {
        0 => format!("exec 8>>lock; flock --fair 8 || exit 9; {STEP}; exec 8>&-"),
        1 => format!("(flock --fair -w 1000 9 || exit 9; {STEP}) 9<lock || exit 9"),
        // The shared lock is released in favour of the exclusive one.
        _ => format!(
            "exec 8<lock; flock --fair -s 8 || exit 9; flock --fair 8 || exit 9; {STEP}; flock -u 8"
        ),
    };
    stress.run_repeatedly(steps, &step);
    stress.committed.fetch_add(steps, Relaxed);
}

/// Waits for the lock or holds it, until killed: alone, or with the command and the sentinel.
fn wait_until_killed(stress: &StressTest<'_>, mut rng: Rng, disruption: &Disruption) {
    for _ in 0..60 * stress.size {
        let mut child = spawn_waiter_or_holder(stress, &mut rng);
        random_delay(&mut rng);
        let pid = child.id() as i32;
        let alone = rng.u64(..2) == 0;
        // A command that is left behind exits at the end of its stdin.
        send_signal(if alone { pid } else { -pid }, libc::SIGKILL);
        drop(child.stdin.take());
        assert_eq!(stress.wait(&mut child).signal(), Some(libc::SIGKILL));
        disruption.kills.fetch_add(1, Relaxed);
    }
}

fn spawn_waiter_or_holder(stress: &StressTest<'_>, rng: &mut Rng) -> Child {
    let options: &[&str] = match rng.u64(..5) {
        0 => &["--fair"],
        1 => &["--fair", "-s"],
        2 => &["--fair", "-w1000", "-o"],
        3 => &["-F", "--fair"],
        _ => {
            let script = "exec 8>>lock; flock --fair 8; read x";
            return stress.spawn(stress.env.sh_command(script));
        }
    };
    stress.spawn_flock(&[options, &["lock", "sh", "-c", "read x"]].concat())
}

/// Kills a random sentinel now and then.
pub fn kill_sentinels(stress: &StressTest<'_>, mut rng: Rng, disruption: &Disruption) {
    while !disruption.done.load(Relaxed) {
        random_delay(&mut rng);
        let tickets = tickets(stress.env.file("lock"));
        let victim = rng.choice(&tickets).map(|ticket| ticket.sentinel);
        if victim.is_some_and(|victim| is_sentinel(victim) && send_signal(victim, libc::SIGKILL)) {
            disruption.killed_sentinels.fetch_add(1, Relaxed);
        }
    }
}

/// Stops random waiters and their sentinels for a moment, now and then.
fn stop_waiters(stress: &StressTest<'_>, mut rng: Rng, disruption: &Disruption) {
    while !disruption.done.load(Relaxed) {
        random_delay(&mut rng);
        let tickets = tickets(stress.env.file("lock"));
        let count = tickets.len() as u64;
        let victims: Vec<i32> = tickets
            .into_iter()
            .filter(|_| rng.u64(..count) == 0)
            .map(|ticket| [parent_of(ticket.sentinel), ticket.sentinel])
            .filter(|[waiter, _]| status_field(*waiter, "Name") == "flock")
            .flatten()
            .collect();
        for signal in [libc::SIGSTOP, libc::SIGCONT] {
            for victim in &victims {
                send_signal(*victim, signal);
            }
            random_delay(&mut rng);
        }
        let stopped = victims.len() as u64 / 2;
        disruption.stops.fetch_add(stopped, Relaxed);
    }
}

/// Returns the sentinels that have the file `lock` open.
fn remaining_sentinels(env: &TestEnv) -> Vec<i32> {
    let lock = env.file("lock");
    let pids = fs::read_dir("/proc").expect("/proc").filter_map(|entry| {
        let name = entry.ok()?.file_name();
        name.to_str()?.parse::<i32>().ok()
    });
    let has_lock_open = |pid: &i32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd"));
        let mut links = files.into_iter().flatten().flatten();
        links.any(|link| fs::read_link(link.path()).is_ok_and(|target| target == lock))
    };
    pids.filter(|pid| is_sentinel(*pid))
        .filter(has_lock_open)
        .collect()
}

/// Runs a stress test, and then asserts that the count is exact and nothing is left behind.
pub fn run_stress_test(env: &TestEnv, body: impl FnOnce(&StressTest<'_>)) {
    // Some steps open it for reading.
    fs::write(env.file("lock"), "").expect("a file");
    let stress = StressTest::new(env);
    body(&stress);
    wait_until("no sentinel is left", || {
        remaining_sentinels(env).is_empty()
    });
    wait_until("no ticket is left", || tickets(env.file("lock")).is_empty());
    stress.assert_consistent();
}

#[test]
fn exact_count_with_and_without_fair_despite_kills() {
    let env = &TestEnv::new();
    let disruption = &Disruption::default();
    let installed = Path::new("/usr/bin/flock").exists();
    let other = if installed { "/usr/bin/flock" } else { "flock" };
    run_stress_test(env, |stress| {
        std::thread::scope(|scope| {
            stress.spawn_threads(scope, 11, 4, |stress, rng| step(stress, rng, STEP));
            stress.spawn_threads(scope, 12, 2, step_with_fd);
            stress.spawn_threads(scope, 13, 2, |stress, rng| stress.read(rng, &["--fair"]));
            stress.spawn_threads(scope, 14, 4, move |stress, rng| {
                wait_until_killed(stress, rng, disruption)
            });
            stress.spawn_threads(scope, 15, 2, |stress, rng| {
                stress.try_steps(rng, 30, &["--fair"])
            });
            stress.spawn_threads(scope, 16, 1, move |stress, rng| {
                stress.step_with(rng, other, &[], STEP)
            });
            stress.spawn_threads(scope, 17, 1, |stress, rng| stress.read(rng, &[]));
            stress.spawn_threads(scope, 18, 1, |stress, rng| stress.step_with_fd(rng));
        });
    });
    assert!(disruption.kills.load(Relaxed) > 0);
}

#[test]
fn exact_count_despite_killed_sentinels_and_stops() {
    let env = &TestEnv::new();
    let disruption = &Disruption::default();
    run_stress_test(env, |stress| {
        std::thread::scope(|scope| {
            stress.spawn_threads(scope, 25, 1, move |stress, rng| {
                kill_sentinels(stress, rng, disruption)
            });
            stress.spawn_threads(scope, 26, 1, move |stress, rng| {
                stop_waiters(stress, rng, disruption)
            });
            let _done = SetDoneOnDrop(disruption);
            std::thread::scope(|scope| {
                stress.spawn_threads(scope, 21, 6, |stress, rng| step(stress, rng, STEP));
                stress.spawn_threads(scope, 22, 3, step_with_fd);
                stress.spawn_threads(scope, 23, 2, |stress, rng| stress.read(rng, &["--fair"]));
                stress.spawn_threads(scope, 24, 1, move |stress, rng| {
                    wait_until_killed(stress, rng, disruption)
                });
            });
        });
    });
    println!("{disruption:?}");
    assert!(disruption.killed_sentinels.load(Relaxed) > 0);
    assert!(disruption.stops.load(Relaxed) > 0);
}

#[test]
fn exact_count_while_lock_file_of_waiters_is_replaced() {
    let env = &TestEnv::new();
    let script = &format!("{STEP}; {REPLACE}");
    run_stress_test(env, |stress| {
        std::thread::scope(|scope| {
            stress.spawn_threads(scope, 31, 6, move |stress, rng| step(stress, rng, script));
            stress.spawn_threads(scope, 32, 2, move |stress, rng| {
                stress.step_with_command(rng, script)
            });
            stress.spawn_threads(scope, 33, 2, |stress, rng| stress.read(rng, &["--fair"]));
            stress.spawn_threads(scope, 34, 2, |stress, mut rng| {
                for _ in 0..30 * stress.size {
                    let mut child = stress.spawn_flock(&["--fair", "lock", "sh", "-c", "read x"]);
                    stress.kill_soon(&mut child, &mut rng);
                }
            });
        });
    });
}

#[test]
fn thousand_killed_waiters_leave_nothing() {
    let env = &TestEnv::new();
    run_stress_test(env, |stress| {
        let holder = env.hold(&["--fair"], "lock");
        std::thread::scope(|scope| {
            stress.spawn_threads(scope, 41, 4, |stress, mut rng| {
                for _ in 0..250 * stress.size {
                    let option = ["-x", "-s", "-w1000", "-F"][rng.usize(..4)];
                    let mut child = stress.spawn_flock(&["--fair", option, "lock", "touch", "ran"]);
                    std::thread::sleep(Duration::from_micros(rng.u64(..4000)));
                    send_signal(child.id() as i32, libc::SIGKILL);
                    assert_eq!(stress.wait(&mut child).signal(), Some(libc::SIGKILL));
                }
            });
        });
        wait_until("no ticket is left", || tickets(env.file("lock")).is_empty());
        env.run(["--fair", "-n", "lock", "true"]).assert_status(1);
        holder.release();
    });
    assert!(!env.file("ran").exists());
}
