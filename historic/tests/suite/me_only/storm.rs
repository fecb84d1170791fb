//! A stress test: many processes compete for one name, and some of them are killed. One of them
//! always gets the name, two never have it at once, and nothing is left behind.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::sync::atomic::Ordering;

use fastrand::Rng;
use rstest::rstest;
use test_support::process::send_signal;
use test_support::stress::{ATOMIC_STEP, StressTest, kill_group, random_delay};
use test_support::{TestEnv, wait_until};

use super::names::{other_program, short_name};
use super::{assert_free, run_me_only};
use crate::{CommandLineEnv, env};

/// The number of processes that compete for the name at once.
const CONTENDERS: usize = 8;

/// The end of the script of a holder, after [`ATOMIC_STEP`]. It releases `witness` before it exits,
/// because the kernel closes the descriptors of a process in any order.
const HOLD: &str = "i=0; while [ $i -lt 8000 ]; do i=$((i + 1)); done; exec 9>&-";

/// The script of a caller that only checks whether the name, and then `witness`, is free.
const CHECK_WITNESS: &str = "flock -n witness true || echo two at once >>errors";

/// The script of a holder that is killed: it waits forever for a writer.
const WAIT: &str = "read x <fifo";

/// What happens to a contender.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Spared,
    /// It is killed, but not its script.
    Killed,
    KilledWithScript,
}

/// A stress test with a name for which `me-only` and another program compete.
struct Contest<'a> {
    stress: &'a StressTest<'a>,
    name: String,
    shape: &'static str,
}

impl Contest<'_> {
    /// Starts a contender, which waits for end-of-file at the gate.
    fn spawn(&self, rng: &mut Rng, fate: Fate, gate: Stdio) -> Child {
        let env = self.stress.env;
        let contender = match rng.u64(..3) {
            0 if fate == Fate::Spared => other_program(env, self.shape, &self.name),
            _ => env.with_args("me-only", [&self.name]),
        };
        let mut waiter = env.script("", "read x; exec \"$@\"");
        waiter.arg("sh").arg(contender.get_program());
        waiter.args(contender.get_args()).args(["sh", "-c"]);
        match fate {
            Fate::KilledWithScript => waiter.arg(WAIT),
            _ => waiter.arg(format!("{ATOMIC_STEP}; {HOLD}")),
        };
        waiter.stdin(gate);
        self.stress.spawn_with_stdin(waiter)
    }

    fn journal_len(&self) -> usize {
        self.stress.env.read("journal").lines().count()
    }

    fn run_round(&self, rng: &mut Rng, fates: [Fate; CONTENDERS]) {
        let before = self.journal_len();
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut contenders = fates.map(|fate| {
            let gate = reader.try_clone().expect("a descriptor");
            (fate, self.spawn(rng, fate, gate.into()))
        });
        drop(writer);
        for (fate, child) in &contenders {
            if *fate == Fate::Spared {
                continue;
            }
            random_delay(rng);
            if *fate == Fate::KilledWithScript {
                kill_group(child);
            } else {
                send_signal(child.id() as i32, libc::SIGKILL);
            }
        }
        let (mut successful, mut killed) = (0, 0);
        for (_, child) in &mut contenders {
            let status = self.stress.wait(child);
            match (status.code(), status.signal()) {
                (Some(0), _) => successful += 1,
                (Some(4), _) => continue,
                (_, Some(libc::SIGKILL)) => killed += 1,
                _ => panic!("{status}"),
            }
            self.stress.count_step(!status.success());
        }
        // The script of a killed `me-only` may still run.
        let env = self.stress.env;
        let is_free = || run_me_only(env, [&self.name, "sh", "-c", CHECK_WITNESS]).code() == 0;
        if killed == 0 {
            assert!(
                is_free(),
                "the name is taken, but all processes have exited"
            );
            assert!(successful > 0, "no process got the name");
        } else {
            wait_until("the name is free", is_free);
        }
        let steps = self.journal_len() - before;
        let possible = successful..=successful + killed;
        assert!(possible.contains(&steps), "{steps} of {possible:?} steps");
    }
}

#[rstest]
fn one_at_a_time_with_kills_and_other_programs(
    env: TestEnv,
    #[values("original", "exact")] shape: &'static str,
) {
    env.sh("mkfifo fifo").assert_status(0);
    let stress = StressTest::new(&env);
    let contest = Contest {
        name: short_name(&env),
        stress: &stress,
        shape,
    };
    let mut rng = Rng::with_seed(stress.seed);
    for _ in 0..15 * stress.size {
        contest.run_round(&mut rng, [Fate::Spared; CONTENDERS]);
        let fates = [(); CONTENDERS].map(|()| match rng.u64(..6) {
            0 | 1 => Fate::Killed,
            2 => Fate::KilledWithScript,
            _ => Fate::Spared,
        });
        contest.run_round(&mut rng, fates);
    }
    assert_free(&env, &contest.name);
    let refused = format!("me-only: {}: not the only instance", contest.name);
    let killed = stress.uncertain.load(Ordering::Relaxed);
    assert!(killed > 0, "no process was killed in time");
    stress.finish(|error| error.starts_with(&refused));
}
