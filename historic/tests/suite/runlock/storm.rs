//! Many `runlock` at once for one lock, some of which are killed, while files of dead ones turn up: never two inside, no step
//! lost, nobody stuck.

use super::RunlockEnv;
use std::fs::{self, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use test_support::stress::random_delay;

use fastrand::Rng;
use test_support::process::{open_pidfd, poll_readable, send_signal};
use test_support::stress::StressSettings;
use test_support::{Outcome, TestEnv};

/// One step of the counter, in one piece, since it is killed with its `runlock`: at any moment it has been made or not.
/// Whoever is inside has the witness.
const STEP: &str = "exec 9>>witness; flock -n 9 || echo overlap >&2
    read n <counter; echo $((n + 1)) >counter.$$; mv counter.$$ counter; exec 9>&-; WAIT exit 7";

/// The status of a step that was made: 0 is that of a lock that is taken.
const MADE: i32 = 7;

struct StressTest<'l> {
    env: &'l TestEnv,
    size: u64,
    seed: u64,
    deadline: Instant,
    /// Steps that must have been made.
    committed: AtomicU64,
    /// Steps whose `runlock` was killed: made or not.
    uncertain: AtomicU64,
    /// Files of dead ones that were left on purpose.
    left: AtomicU64,
}

impl StressTest<'_> {
    fn spawn(&self, script: &str) -> Child {
        let errors = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.env.file("errors"));
        let mut command = self.env.runlock(&["sh", "-c", script]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(errors.expect("a file"));
        command.spawn().expect("it starts")
    }

    fn wait(&self, child: &mut Child) -> ExitStatus {
        if !poll_readable(&[open_pidfd(child).as_fd()], self.deadline)[0] {
            send_signal(-(child.id() as i32), libc::SIGKILL);
            panic!("hung: {child:?}");
        }
        child.wait().expect("our child")
    }

    /// Makes steps, each of which is tried until the lock is to be had, and where now and then the `runlock` is killed alone.
    fn step(&self, mut rng: Rng) {
        let mut steps = 0;
        while steps < 20 * self.size {
            assert!(Instant::now() < self.deadline, "the lock is never free");
            let mut child = self.spawn(&STEP.replace("WAIT", ""));
            if rng.u64(..3) == 0 {
                // From before its main to after its command's end.
                random_delay(&mut rng);
                random_delay(&mut rng);
                random_delay(&mut rng);
                let _ = child.kill();
            }
            let status = self.wait(&mut child);
            let count = match (status.code(), status.signal()) {
                (Some(MADE), _) => &self.committed,
                (_, Some(libc::SIGKILL)) => &self.uncertain,
                (Some(0), _) => continue,
                _ => panic!("{status}"),
            };
            count.fetch_add(1, Ordering::Relaxed);
            steps += 1;
        }
        self.die(rng);
    }

    /// Makes a last step, or not, and is killed for committed, since nothing else ends it.
    fn die(&self, mut rng: Rng) {
        let status = loop {
            let mut child = self.spawn(&STEP.replace("WAIT", "read x;"));
            random_delay(&mut rng);
            let _ = child.kill();
            let status = self.wait(&mut child);
            // Where it was not to be had, the lock is somebody else's.
            if !status.success() {
                break status;
            }
            assert!(Instant::now() < self.deadline, "the lock is never free");
        };
        assert_eq!(status.signal(), Some(libc::SIGKILL));
        self.uncertain.fetch_add(1, Ordering::Relaxed);
    }

    /// Holds the lock, if it is to be had, until it is killed with its keeper and its command.
    fn hold(&self, mut rng: Rng) {
        for _ in 0..20 * self.size {
            let mut child = self.spawn("read x; :");
            random_delay(&mut rng);
            send_signal(-(child.id() as i32), libc::SIGKILL);
            let status = self.wait(&mut child);
            let ended = status.success() || status.signal() == Some(libc::SIGKILL);
            assert!(ended, "{status}");
        }
    }

    /// Leaves files as dead ones do, whenever there is none.
    fn leave(&self, mut rng: Rng, number: u64) {
        let draft = self.env.file(format!("draft{number}"));
        for _ in 0..100 * self.size {
            let _ = fs::remove_file(&draft);
            fs::write(
                &draft,
                ["2000000000\n", "2000000000\nrest\n"][rng.usize(..2)],
            )
            .expect("a file");
            let left = fs::hard_link(&draft, self.env.file("l.lock")).is_ok();
            self.left.fetch_add(u64::from(left), Ordering::Relaxed);
            random_delay(&mut rng);
        }
    }

    /// Asserts that all is well when all have gone.
    fn assert_consistent(self) {
        // A last file may be left, and a last keeper at work.
        let last: Outcome = self.env.run_runlock(&["echo", "ran"]);
        last.assert_stdout("ran\n").assert_status(0);
        assert!(!self.env.file("l.lock").exists());
        let errors = fs::read_to_string(self.env.file("errors")).expect("written");
        for line in errors.lines() {
            let known = line == "Still locked." || line.starts_with("runlock: UNLOCKED l (");
            assert!(known, "{line}");
        }
        let count = |count: AtomicU64| count.into_inner();
        let (committed, uncertain, left) = (
            count(self.committed),
            count(self.uncertain),
            count(self.left),
        );
        let counter = fs::read_to_string(self.env.file("counter")).expect("written");
        let steps: u64 = counter.trim().parse().expect("a number");
        println!(
            "{steps} steps of {committed} to {}, {left} left",
            committed + uncertain
        );
        assert!(
            (committed..=committed + uncertain).contains(&steps),
            "{committed} + {uncertain}: {steps}"
        );
        assert!(left > 0, "nobody left a file");
    }
}

#[test]
fn the_count_is_exact_through_a_storm_of_kills_and_of_files_left_behind() {
    let env = TestEnv::new();
    let StressSettings { size, seed } = StressSettings::from_env();
    fs::write(env.file("counter"), "0\n").expect("a counter");
    let stress = StressTest {
        env: &env,
        size,
        seed,
        deadline: Instant::now() + Duration::from_secs(60 + 60 * size),
        committed: AtomicU64::new(0),
        uncertain: AtomicU64::new(0),
        left: AtomicU64::new(0),
    };
    std::thread::scope(|scope| {
        let stress = &stress;
        let rng = |number: u64| Rng::with_seed(stress.seed ^ (number << 50));
        for number in 0..4 {
            scope.spawn(move || stress.step(rng(number)));
        }
        for number in 4..6 {
            scope.spawn(move || stress.hold(rng(number)));
        }
        for number in 6..8 {
            scope.spawn(move || stress.leave(rng(number), number));
        }
    });
    stress.assert_consistent();
}
