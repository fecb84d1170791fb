//! Stress tests: many processes count under one lock while others are killed, time out, or replace
//! the lock file. The count must be exact, no process may hang, and nothing may be left behind.
//!
//! `FDLOCK_STORM` multiplies the number of rounds (1: some seconds), and `FDLOCK_STORM_SEED`
//! repeats the random numbers of a run.

mod fair;
mod slots;

use std::sync::atomic::Ordering;

use fastrand::Rng;
use test_support::stress::{CHECK, STEP, StressTest};
use test_support::{TestEnv, differs_from_util_linux};

/// One step of the counter, in two writes, so that whoever comes in between sees it. The journal tells every step that
/// was made: it is exact when it reads 1, 2, 3 and so on to what the counter says. A step is never killed, or the half
/// of it would be no fault of the lock's: those who are killed wait, hold or read, or are a `flock` whose command goes
/// on, and keeps the lock.
const STEP: &str = r#"read a b <counter; [ "$a" = "$b" ] || echo "torn: $a $b" >&2
    n=$((a + 1)); printf %s $n >counter; printf ' %s\n' $n >>counter; echo $n >>journal"#;

/// A step that may be killed at any moment: it is made by the one write that tells of it. Whoever is inside holds the
/// witness, with everything that he has started.
const ATOMIC_STEP: &str = r#"exec 9>>witness; flock -n 9 || echo "two at once" >&2
    n=$(wc -l <journal); echo $((n + 1)) >>journal"#;

/// What a reader does.
const CHECK: &str = r#"read a b <counter; [ "$a" = "$b" ] || echo "torn: $a $b" >&2"#;

/// The state of a stress test: its environment, its settings and what the processes have done.
struct StressTest<'l> {
    env: &'l TestEnv,
    size: u64,
    seed: u64,
    deadline: Instant,
    /// A pipe whose writing end is the stdout of every process: it is closed when the last one exits.
    reader: OwnedFd,
    writer: OwnedFd,
    /// Steps that must be in the journal.
    committed: AtomicU64,
    /// Steps whose `flock` was killed: they may be in the journal or not.
    uncertain: AtomicU64,
}

impl<'l> StressTest<'l> {
    fn new(env: &'l TestEnv) -> Self {
        let StressSettings { size, seed } = StressSettings::from_env();
        let (reader, writer) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        fs::write(env.file("counter"), "0 0\n").expect("a counter");
        fs::write(env.file("journal"), "").expect("a journal");
        Self {
            env,
            size,
            seed,
            deadline: Instant::now() + Duration::from_secs(60 + 60 * size),
            reader,
            writer,
            committed: AtomicU64::new(0),
            uncertain: AtomicU64::new(0),
        }
    }

    /// Runs `body` in `count` threads, each with its own random numbers.
    fn spawn_threads<'s>(
        &'s self,
        scope: &'s std::thread::Scope<'s, '_>,
        kind: u64,
        count: u64,
        body: impl Fn(&'s Self, Rng) + Send + Copy + 's,
    ) {
        for thread in 0..count {
            let rng = Rng::with_seed(self.seed ^ (kind << 40) ^ (thread << 50));
            scope.spawn(move || body(self, rng));
        }
    }

    fn spawn(&self, mut command: Command) -> Child {
        let errors = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.env.file("errors"));
        command
            .stdin(Stdio::piped())
            .stdout(self.writer.try_clone().expect("a descriptor"))
            .stderr(errors.expect("a file"));
        command.spawn().expect("it starts")
    }

    fn spawn_flock(&self, words: &[&str]) -> Child {
        self.spawn(self.env.flock(words))
    }

    fn wait(&self, child: &mut Child) -> ExitStatus {
        if !poll_readable(&[open_pidfd(child).as_fd()], self.deadline)[0] {
            send_signal(-(child.id() as i32), libc::SIGKILL);
            panic!("hung: {child:?}");
        }
        child.wait().expect("our child")
    }

    /// Steps by `flock FILE COMMAND`, where now and then the `flock` is killed.
    fn step_with_command(&self, rng: Rng, step: &str) {
        self.step_with(rng, "flock", &[], step);
    }

    /// The same by any `flock`, with options.
    fn step_with(&self, mut rng: Rng, flock: &str, options: &[&str], step: &str) {
        for _ in 0..30 * self.size {
            let mut command = self.env.command(flock);
            command.args(options).args(["lock", "sh", "-c", step]);
            let mut child = self.spawn(command);
            if rng.u64(..3) == 0 {
                random_delay(&mut rng);
                let _ = child.kill();
            }
            let status = self.wait(&mut child);
            let count = match (status.code(), status.signal()) {
                (Some(0), _) => &self.committed,
                (_, Some(libc::SIGKILL)) => &self.uncertain,
                _ => panic!("{status}"),
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Steps by `flock N` in a shell that goes on for long: with `exec` or in a subshell.
    fn step_with_fd(&self, mut rng: Rng) {
        let steps = 50 * self.size;
        let step = match rng.u64(..2) {
            0 => format!("exec 8>>lock; flock 8 || exit 9; {STEP}; exec 8>&-"),
            _ => format!("(flock -w 1000 9 || exit 9; {STEP}) 9>>lock || exit 9"),
        };
        let script = format!("i=0; while [ $i -lt {steps} ]; do i=$((i + 1)); {step}; done");
        let mut shell = self.env.command("sh");
        shell.args(["-c", &script]);
        assert!(self.wait(&mut self.spawn(shell)).success());
        self.committed.fetch_add(steps, Ordering::Relaxed);
    }

    /// Reads under a shared lock, and is killed with its command now and then.
    fn read(&self, mut rng: Rng, options: &[&str]) {
        for _ in 0..30 * self.size {
            let words = [options, &["-s", "lock", "sh", "-c", CHECK]].concat();
            let mut child = self.spawn_flock(&words);
            if rng.u64(..4) == 0 {
                random_delay(&mut rng);
                send_signal(-(child.id() as i32), libc::SIGKILL);
            }
            let status = self.wait(&mut child);
            assert!(status.success() || status.signal() == Some(9), "{status}");
        }
    }

    /// Waits for the lock and holds it, until it is killed with its command: the first two ways by the file's path, the
    /// third by a descriptor.
    fn hold(&self, mut rng: Rng, ways: u64) {
        for _ in 0..20 * self.size {
            let mut child = match rng.u64(..ways) {
                0 => self.spawn_flock(&["lock", "sh", "-c", "read x"]),
                1 => self.spawn_flock(&["-s", "-w", "1000", "lock", "sh", "-c", "read x"]),
                _ => {
                    let mut shell = self.env.command("sh");
                    shell.args(["-c", "exec 8>>lock; flock 8; read x"]);
                    self.spawn(shell)
                }
            };
            random_delay(&mut rng);
            send_signal(-(child.id() as i32), libc::SIGKILL);
            assert_eq!(self.wait(&mut child).signal(), Some(libc::SIGKILL));
        }
    }

    /// One step that gives up soon when it does not get the lock, and whether it was made.
    fn try_step(&self, rng: &mut Rng, options: &[&str]) -> bool {
        let patience = ["-n", "-w0", "-w0.000001", "-w0.002"][rng.usize(..4)];
        let given_up = 40 + rng.u64(..20) as i32;
        let status = format!("-E{given_up}");
        let words = [patience, &status, "lock", "sh", "-c", STEP];
        let words = [options, &words].concat();
        let status = self.wait(&mut self.spawn_flock(&words)).code();
        assert!(
            [Some(0), Some(given_up)].contains(&status),
            "{patience}: {status:?}"
        );
        let made = status == Some(0);
        self.committed.fetch_add(u64::from(made), Ordering::Relaxed);
        made
    }

    /// Steps by `loto`, which is killed or told to stop now and then, or its keeper is, and its command with it.
    fn step_with_loto(&self, mut rng: Rng) {
        for _ in 0..30 * self.size {
            let mut loto = self.env.command("loto");
            let order = [["-L", "lock", "-L", "other"], ["-L", "other", "-L", "lock"]];
            loto.arg("-w").args(order[rng.usize(..2)]);
            loto.args(["--", "sh", "-c", ATOMIC_STEP]);
            let mut child = self.spawn(loto);
            let pid = child.id() as i32;
            let deed = rng.u64(..6);
            if deed < 3 {
                random_delay(&mut rng);
                let _ = match deed {
                    0 => send_signal(pid, libc::SIGKILL),
                    1 => send_signal(pid, libc::SIGTERM),
                    _ => children_of(pid)
                        .into_iter()
                        .all(|keeper| send_signal(keeper, libc::SIGKILL)),
                };
            }
            let status = self.wait(&mut child);
            let count = match (status.code(), status.signal()) {
                (Some(0), _) => &self.committed,
                (_, Some(libc::SIGKILL | libc::SIGTERM)) => &self.uncertain,
                (Some(code), _) if code == 128 + libc::SIGKILL => &self.uncertain,
                _ => panic!("{status}"),
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Asserts that all is well when all have gone, and as many steps have been counted as were made.
    fn assert_consistent(self) {
        let counter = self.env.file("counter");
        let steps = self.assert_journal_consistent();
        let counted = fs::read_to_string(counter).expect("it was written");
        assert_eq!(counted, format!("{steps} {steps}\n"));
    }

    /// Asserts that all is well when all have gone, and returns how many steps were made.
    fn assert_journal_consistent(self) -> u64 {
        drop(self.writer);
        assert!(
            poll_readable(&[self.reader.as_fd()], self.deadline)[0],
            "somebody hangs: {:?}",
            locks_on(self.env.file("lock"))
        );
        let said = |name| fs::read_to_string(self.env.file(name)).expect("it was written");
        assert_eq!(said("errors"), "");
        let journal = said("journal");
        let steps = journal.lines().count() as u64;
        for (step, line) in (1..).zip(journal.lines()) {
            assert_eq!(
                line,
                format!("{step}"),
                "the journal's line {step} of {steps}"
            );
        }
        let (committed, uncertain) = (self.committed.into_inner(), self.uncertain.into_inner());
        assert!(
            (committed..=committed + uncertain).contains(&steps),
            "{committed} to {} steps, and {steps} made",
            committed + uncertain
        );
        assert!(locks_on(self.env.file("lock")).is_empty());
        self.env.run(["-n", "lock", "true"]).assert_status(0);
        steps
    }
}

#[test]
fn exact_count_despite_kills() {
    let env = TestEnv::new();
    let stress = StressTest::new(&env);
    std::thread::scope(|scope| {
        stress.spawn_threads(scope, 1, 8, |stress, rng| {
            stress.step_with_command(rng, STEP)
        });
        stress.spawn_threads(scope, 2, 4, |stress, rng| stress.step_with_fd(rng));
        stress.spawn_threads(scope, 3, 3, |stress, rng| stress.read(rng, &[]));
        stress.spawn_threads(scope, 4, 3, |stress, rng| stress.hold(rng, 3));
    });
    let killed = stress.uncertain.load(Ordering::Relaxed);
    assert!(killed > 0, "no step was killed");
    stress.assert_consistent();
}

/// Replaces the lock file after two of three steps. Only a holder may do that, as its last action: if
/// another process did it, the next caller would have the lock at the same time as the holder.
const REPLACE: &str = "case $((n % 3)) in 0) rm lock ;; 1) : >lock.$$; mv lock.$$ lock ;; esac";

#[test]
fn exact_count_while_lock_file_is_replaced() {
    differs_from_util_linux(
        "util-linux may lock the old and the new file at the same time",
        |env| {
            let stress = StressTest::new(env);
            let step = &format!("{STEP}; {REPLACE}");
            std::thread::scope(|scope| {
                stress.spawn_threads(scope, 1, 8, move |stress, rng| {
                    stress.step_with_command(rng, step)
                });
                stress.spawn_threads(scope, 3, 2, |stress, rng| stress.read(rng, &[]));
                stress.spawn_threads(scope, 4, 2, |stress, rng| stress.hold(rng, 2));
            });
            stress.assert_consistent();
        },
    );
}

#[test]
fn the_count_is_exact_though_lotos_keepers_and_jobs_are_killed() {
    let env = TestEnv::new();
    let stress = StressTest::new(&env);
    std::thread::scope(|scope| {
        stress.spawn_threads(scope, 6, 8, |stress, rng| stress.step_with_loto(rng));
        stress.spawn_threads(scope, 4, 2, |stress, rng| stress.hold(rng, 3));
    });
    assert!(
        stress.uncertain.load(Ordering::Relaxed) > 0,
        "nobody was killed"
    );
    stress.assert_journal_consistent();
}

#[test]
fn exact_count_despite_conflicts_and_timeouts() {
    let env = TestEnv::new();
    let stress = StressTest::new(&env);
    let holder = env.hold(&[], "lock");
    let mut rng = Rng::with_seed(stress.seed);
    for _ in 0..10 {
        assert!(!stress.try_step(&mut rng, &[]), "the lock is held");
    }
    holder.release();
    std::thread::scope(|scope| {
        stress.spawn_threads(scope, 5, 8, |stress, mut rng| {
            for _ in 0..40 * stress.size {
                stress.try_step(&mut rng, &[]);
            }
        });
    });
    let committed = stress.committed.load(Ordering::Relaxed);
    assert!(committed > 0, "no step was done");
    stress.assert_consistent();
}
