//! Many at once for one name, of whom some are killed: never two inside, always one who gets in, and nothing left.

use super::MeOnlyEnv;
use std::fs::{self, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use test_support::stress::random_delay;

use super::names::{rival, short};
use fastrand::Rng;
use test_support::process::{open_pidfd, poll_readable, send_signal};
use test_support::stress::StressSettings;
use test_support::{TestEnv, wait_until};

/// How many want the name at once.
const CROWD: usize = 8;

/// What is done under the name: whoever is inside has the witness, and gives it back before his end, for the kernel may
/// close what a process leaves open in any order. He is never killed himself, only the `me-only` above him.
const INSIDE: &str = "exec 8>>witness; flock -n 8 || echo $$ >>overlaps; echo $$ >>journal
    i=0; while [ $i -lt 8000 ]; do i=$((i + 1)); done; exec 8>&-";

/// What is done by who only wants to know whether the name is free: he looks whether anybody is inside all the same.
const LOOK: &str = "flock -n witness true || echo $$ >>overlaps";

/// What is done under the name by those who are killed with their script: nothing, until then. Nobody ever writes.
const STUCK: &str = "read x <fifo";

/// What becomes of one of the crowd.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is left alone.
    Spared,
    /// It is killed, and its script is not.
    Orphaning,
    /// It is killed with its script.
    Wiped,
}

/// A name that is fought for, by us and by those who take it in a way of their own.
struct Fight<'l> {
    env: &'l TestEnv,
    name: String,
    shape: &'static str,
    deadline: Instant,
}

impl Fight<'_> {
    /// One of the crowd, who waits for the gate to open: for the end of its stdin.
    fn spawn(&self, rng: &mut Rng, fate: Fate, gate: Stdio) -> Child {
        let contender = match rng.u64(..3) {
            0 if fate == Fate::Spared => rival(self.env, self.shape, &self.name),
            _ => self.env.me_only([&self.name]),
        };
        let script = if fate == Fate::Wiped { STUCK } else { INSIDE };
        let mut waiting: Command = self.env.command("sh");
        waiting
            .args(["-c", "read x; exec \"$@\"", "sh"])
            .arg(contender.get_program())
            .args(contender.get_args())
            .args(["sh", "-c", script]);
        let complaints = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.env.file("complaints"));
        waiting
            .stdin(gate)
            .stdout(Stdio::null())
            .stderr(complaints.expect("a file"));
        waiting.spawn().expect("it starts")
    }

    fn wait(&self, child: &mut Child) -> ExitStatus {
        if !poll_readable(&[open_pidfd(child).as_fd()], self.deadline)[0] {
            send_signal(-(child.id() as i32), libc::SIGKILL);
            panic!("hung: {child:?}");
        }
        child.wait().expect("our child")
    }

    fn lines_of(&self, file: &str) -> usize {
        let text = fs::read_to_string(self.env.file(file)).unwrap_or_default();
        text.lines().count()
    }

    /// A crowd of these fates, and how many of it were killed in time.
    fn round(&self, rng: &mut Rng, fates: [Fate; CROWD]) -> usize {
        let before = self.lines_of("journal");
        let (gate, hinge) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        let mut crowd = fates.map(|fate| {
            let gate = gate.try_clone().expect("a descriptor");
            (fate, self.spawn(rng, fate, gate.into()))
        });
        drop(hinge);
        for (fate, child) in &crowd {
            if *fate != Fate::Spared {
                random_delay(rng);
                let process = child.id() as i32;
                let whom = if *fate == Fate::Wiped {
                    -process
                } else {
                    process
                };
                assert!(send_signal(whom, libc::SIGKILL));
            }
        }
        let (mut won, mut killed) = (0, 0);
        for (_, child) in &mut crowd {
            let status = self.wait(child);
            match (status.code(), status.signal()) {
                (Some(0), _) => won += 1,
                (Some(4), _) => {}
                (_, Some(libc::SIGKILL)) => killed += 1,
                _ => panic!("{status}"),
            }
        }
        // Whoever has lost his `me-only` may still be at it.
        let free = || self.env.run_me_only([&self.name, "sh", "-c", LOOK]).code() == 0;
        if killed == 0 {
            assert!(free(), "all have gone, and the name has not");
            assert!(won > 0, "nobody got in");
        } else {
            wait_until("the name is free", free);
        }
        let inside = self.lines_of("journal") - before;
        assert!(
            (won..=won + killed).contains(&inside),
            "{won} to {} got in, and {inside} were there",
            won + killed
        );
        killed
    }
}

/// Rounds for the name between us and those who take it in this way.
fn assert_consistent(shape: &'static str) {
    let env = TestEnv::new();
    env.sh("mkfifo fifo").assert_status(0);
    let StressSettings { size, seed } = StressSettings::from_env();
    let fight = Fight {
        name: short(&env),
        env: &env,
        shape,
        deadline: Instant::now() + Duration::from_secs(60 + 60 * size),
    };
    let mut rng = Rng::with_seed(seed);
    let mut killed = 0;
    for _ in 0..15 * size {
        fight.round(&mut rng, [Fate::Spared; CROWD]);
        let fates = [(); CROWD].map(|()| match rng.u64(..6) {
            0 | 1 => Fate::Orphaning,
            2 => Fate::Wiped,
            _ => Fate::Spared,
        });
        killed += fight.round(&mut rng, fates);
    }
    assert!(killed > 0, "nobody was killed in time");
    assert_eq!(fight.lines_of("overlaps"), 0, "two at once");
    env.assert_free(&fight.name);
    let complaints = fs::read_to_string(env.file("complaints")).expect("somebody was refused");
    let refused = format!("me-only: {}: not the only instance", fight.name);
    for line in complaints.lines() {
        assert!(line.starts_with(&refused), "{line}");
    }
}

#[test]
fn there_is_one_at_a_time_through_a_storm_of_kills_among_us_and_the_first_me_only() {
    assert_consistent("original");
}

#[test]
fn there_is_one_at_a_time_through_a_storm_of_kills_among_us_and_programs_of_exact_length() {
    assert_consistent("exact");
}
