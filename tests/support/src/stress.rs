//! Stress tests: many processes count under one lock while others are killed, time out, or replace
//! the lock file. The count must be exact, no process may hang, and nothing may be left behind.

use std::fs::{self, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::Scope;
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;

use crate::locks::{assert_unlocked, locks_on};
use crate::process::{open_pidfd, output_pipe, poll_readable, send_signal};
use crate::test_env::TestEnv;

/// A step of the counter, in two writes, so that an overlapping step sees a half-written counter.
///
/// Each step is also recorded in the journal, which must read 1, 2, 3, ... up to the counter. A
/// process must not be killed during this step, because that leaves half of it without any fault of
/// the lock. Only waiters, holders and readers are killed, or a `flock` whose command continues and
/// keeps the lock.
pub const STEP: &str = r#"read a b <counter; [ "$a" = "$b" ] || echo "torn: $a $b" >&2
    n=$((a + 1)); printf %s $n >counter; printf ' %s\n' $n >>counter; echo $n >>journal"#;

/// A step that may be killed at any time, because it consists of the single write to the journal.
///
/// The process, and everything that it has started, has the file `witness` locked meanwhile.
pub const ATOMIC_STEP: &str = r#"exec 9>>witness; flock -n 9 || echo "two at once" >&2
    n=$(wc -l <journal); echo $((n + 1)) >>journal"#;

/// The script of a reader: it checks that no [`STEP`] is in progress.
pub const CHECK: &str = r#"read a b <counter; [ "$a" = "$b" ] || echo "torn: $a $b" >&2"#;

/// How much a stress test does, and with which random numbers.
#[derive(Clone, Copy, Debug)]
pub struct StressSettings {
    /// A factor for the number of rounds, from `FDLOCK_STORM`. At 1, the default, a test takes some
    /// seconds.
    pub size: u64,
    /// The seed of the random numbers: `FDLOCK_STORM_SEED`, to repeat a run, or the clock.
    pub seed: u64,
}

impl StressSettings {
    /// Reads the settings from the environment, and prints them for the case that the test fails.
    pub fn from_env() -> Self {
        let number = |name| Some(std::env::var(name).ok()?.parse().expect("a number"));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let clock = u64::from(now.expect("the clock is after 1970").subsec_nanos());
        let size = number("FDLOCK_STORM").unwrap_or(1);
        let seed = number("FDLOCK_STORM_SEED").unwrap_or(clock);
        println!("FDLOCK_STORM={size} FDLOCK_STORM_SEED={seed}");
        Self { size, seed }
    }
}

/// Sleeps for up to 6 ms, so that what follows happens at a random point of another process's run.
pub fn random_delay(rng: &mut Rng) {
    std::thread::sleep(Duration::from_micros(rng.u64(..6000)));
}

/// Kills a child and all other processes of its group.
pub fn kill_group(child: &Child) {
    send_signal(-(child.id() as i32), libc::SIGKILL);
}

/// A stress test in progress: its settings, and the steps that its processes have completed.
///
/// Its processes write errors to the file `errors`. Steps lock the file `lock`, unless the test
/// does them in its own way.
#[derive(Debug)]
pub struct StressTest<'env> {
    /// The test environment.
    pub env: &'env TestEnv,
    /// The factor for the number of rounds.
    pub size: u64,
    /// The seed of the random numbers.
    pub seed: u64,
    deadline: Instant,
    /// A pipe whose writing end is the stdout of every process, and is closed when the last one
    /// exits.
    reader: OwnedFd,
    writer: OwnedFd,
    /// The number of steps that must be in the journal.
    pub committed: AtomicU64,
    /// The number of steps whose process was killed: they may be in the journal or not.
    pub uncertain: AtomicU64,
}

impl<'env> StressTest<'env> {
    /// Creates the counter and the journal.
    pub fn new(env: &'env TestEnv) -> Self {
        let StressSettings { size, seed } = StressSettings::from_env();
        let (reader, writer) = output_pipe();
        for (name, content) in [("counter", "0 0\n"), ("journal", ""), ("errors", "")] {
            fs::write(env.file(name), content).expect("the file can be created");
        }
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

    /// Runs `body` in `count` threads, each with its own random numbers. `kind` distinguishes them
    /// from those of other calls.
    pub fn spawn_threads<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        kind: u64,
        count: u64,
        body: impl Fn(&'scope Self, Rng) + Send + Copy + 'scope,
    ) {
        for thread in 0..count {
            let rng = Rng::with_seed(self.seed ^ (kind << 40) ^ (thread << 50));
            scope.spawn(move || body(self, rng));
        }
    }

    /// Starts a command, with a pipe as its stdin.
    pub fn spawn(&self, mut command: Command) -> Child {
        command.stdin(Stdio::piped());
        self.spawn_with_stdin(command)
    }

    /// Starts a command with the stdin that it has been given.
    pub fn spawn_with_stdin(&self, mut command: Command) -> Child {
        let errors = self.env.file("errors");
        let errors = OpenOptions::new().append(true).open(errors);
        command
            .stdout(self.writer.try_clone().expect("a descriptor"))
            .stderr(errors.expect("it has been created"));
        command.spawn().expect("the command starts")
    }

    /// Starts `flock` with these arguments.
    pub fn spawn_flock(&self, args: &[&str]) -> Child {
        self.spawn(self.env.flock(args))
    }

    /// Waits for a process.
    ///
    /// # Panics
    ///
    /// If it hangs. Its process group is killed.
    pub fn wait(&self, child: &mut Child) -> ExitStatus {
        if !poll_readable(&[open_pidfd(child).as_fd()], self.deadline)[0] {
            kill_group(child);
            panic!("hung: {child:?}");
        }
        child.wait().expect("our child")
    }

    /// Asserts that the time for the whole test has not passed.
    pub fn assert_in_time(&self) {
        assert!(Instant::now() < self.deadline, "the lock is never free");
    }

    /// Counts a step that must be in the journal, or that may be there if its process was killed.
    pub fn count_step(&self, killed: bool) {
        let counter = if killed {
            &self.uncertain
        } else {
            &self.committed
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Does steps with `flock FILE COMMAND`, and sometimes kills the `flock`.
    pub fn step_with_command(&self, rng: Rng, step: &str) {
        self.step_with(rng, "flock", &[], step);
    }

    /// Does steps with a certain `flock` and options, and sometimes kills the `flock`.
    pub fn step_with(&self, mut rng: Rng, flock: &str, options: &[&str], step: &str) {
        for _ in 0..30 * self.size {
            let mut command = self.env.command(flock);
            command.args(options).args(["lock", "sh", "-c", step]);
            let mut child = self.spawn(command);
            if rng.u64(..3) == 0 {
                random_delay(&mut rng);
                let _ = child.kill();
            }
            let killed = self.was_killed(&mut child);
            self.count_step(killed);
        }
    }

    /// Does one step after the other if the lock is free in time.
    pub fn try_steps(&self, mut rng: Rng, rounds: u64, options: &[&str]) {
        for _ in 0..rounds * self.size {
            self.try_step(&mut rng, options);
        }
    }

    /// Does steps with `flock N` in a shell that runs for long: with `exec` or in a subshell.
    pub fn step_with_fd(&self, mut rng: Rng) {
        let steps = 50 * self.size;
        let step = match rng.u64(..2) {
            0 => format!("exec 8>>lock; flock 8 || exit 9; {STEP}; exec 8>&-"),
            _ => format!("(flock -w 1000 9 || exit 9; {STEP}) 9>>lock || exit 9"),
        };
        self.run_repeatedly(steps, &step);
        self.committed.fetch_add(steps, Relaxed);
    }

    /// Runs a script a number of times in one shell, which must exit with status 0.
    pub fn run_repeatedly(&self, rounds: u64, script: &str) {
        let script = format!("i=0; while [ $i -lt {rounds} ]; do i=$((i + 1)); {script}; done");
        let status = self.wait(&mut self.spawn(self.env.sh_command(&script)));
        assert!(status.success(), "{status}: {script}");
    }

    /// Reads under a shared lock, and sometimes kills the `flock` with its command.
    pub fn read(&self, mut rng: Rng, options: &[&str]) {
        for _ in 0..30 * self.size {
            let args = [options, &["-s", "lock", "sh", "-c", CHECK]].concat();
            let mut child = self.spawn_flock(&args);
            if rng.u64(..4) == 0 {
                random_delay(&mut rng);
                kill_group(&child);
            }
            self.was_killed(&mut child);
        }
    }

    /// Waits for a process, and returns whether it was killed. Otherwise it must succeed.
    fn was_killed(&self, child: &mut Child) -> bool {
        let status = self.wait(child);
        let killed = status.signal() == Some(libc::SIGKILL);
        assert!(status.success() || killed, "{status}");
        killed
    }

    /// Waits for the lock and holds it until killed with the command, in the first `ways` of three
    /// ways: exclusive and shared by the path of the file, and by a descriptor.
    pub fn hold(&self, mut rng: Rng, ways: u64) {
        for _ in 0..20 * self.size {
            let mut child = match rng.u64(..ways) {
                0 => self.spawn_flock(&["lock", "sh", "-c", "read x"]),
                1 => self.spawn_flock(&["-s", "-w", "1000", "lock", "sh", "-c", "read x"]),
                _ => self.spawn(self.env.sh_command("exec 8>>lock; flock 8; read x")),
            };
            self.kill_soon(&mut child, &mut rng);
        }
    }

    /// Kills a process and its group at a random time.
    pub fn kill_soon(&self, child: &mut Child, rng: &mut Rng) {
        random_delay(rng);
        kill_group(child);
        assert_eq!(self.wait(child).signal(), Some(libc::SIGKILL));
    }

    /// Does one step unless the lock is not free soon. Returns whether it did.
    pub fn try_step(&self, rng: &mut Rng, options: &[&str]) -> bool {
        let timeout = ["-n", "-w0", "-w0.000001", "-w0.002"][rng.usize(..4)];
        let conflict_status = 40 + rng.u64(..20) as i32;
        let conflict_option = format!("-E{conflict_status}");
        let args = [timeout, &conflict_option, "lock", "sh", "-c", STEP];
        let mut child = self.spawn_flock(&[options, &args].concat());
        let status = self.wait(&mut child).code();
        if status == Some(conflict_status) {
            return false;
        }
        assert_eq!(status, Some(0), "{timeout}");
        self.count_step(false);
        true
    }

    /// Asserts that the journal, the counter and the number of steps agree, after all processes
    /// have exited, and that the lock is free.
    pub fn assert_consistent(self) {
        let env = self.env;
        let steps = self.assert_journal_consistent();
        assert_eq!(env.read_file("counter"), format!("{steps} {steps}\n"));
    }

    /// Asserts that the journal and the number of steps agree, after all processes have exited, and
    /// that the lock is free. Returns the number of steps.
    pub fn assert_journal_consistent(self) -> u64 {
        let env = self.env;
        let steps = self.finish(|_| false);
        assert_unlocked(env.file("lock"));
        env.run(["-n", "lock", "true"]).assert_status(0);
        steps
    }

    /// Waits until all processes have exited, asserts that they have reported only expected errors,
    /// and that the journal and the number of steps agree. Returns the number of steps.
    pub fn finish(self, is_expected: impl Fn(&str) -> bool) -> u64 {
        drop(self.writer);
        assert!(
            poll_readable(&[self.reader.as_fd()], self.deadline)[0],
            "a process hangs: {:?}",
            locks_on(self.env.file("lock"))
        );
        let errors = self.env.read_file("errors");
        let unexpected: Vec<&str> = errors.lines().filter(|line| !is_expected(line)).collect();
        assert!(unexpected.is_empty(), "{unexpected:?}");
        let journal = self.env.read_file("journal");
        let steps = journal.lines().count() as u64;
        for (step, line) in (1..).zip(journal.lines()) {
            assert_eq!(line, format!("{step}"), "line {step} of {steps}");
        }
        let (committed, uncertain) = (self.committed.into_inner(), self.uncertain.into_inner());
        let possible = committed..=committed + uncertain;
        assert!(possible.contains(&steps), "{steps} of {possible:?} steps");
        steps
    }
}
