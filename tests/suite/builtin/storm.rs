//! Signals by the thousand at random moments, and kills: no signal is missed, nobody hangs, every count is exact.
//!
//! `FDLOCK_STORM` and `FDLOCK_STORM_SEED` are as in the other storms.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use fastrand::Rng;
use test_support::builtin::for_each_bash;
use test_support::locks::locks_on;
use test_support::process::{ExitReason, send_signal};
use test_support::stress::StressSettings;

#[test]
fn each_of_a_thousand_signals_is_answered_at_once() {
    answered_at_once(&[
        ("flock 8", &[]),
        ("flock -w 1000 8", &[]),
        ("flock l :", &[]),
        ("flock --fcntl 8", &["--fcntl"]),
    ]);
}

#[test]
fn each_of_a_thousand_signals_is_answered_at_once_by_the_first_in_a_queue() {
    answered_at_once(&[("flock --fair 8", &[]), ("flock --fair -w 1000 l :", &[])]);
}

#[test]
fn each_of_a_thousand_signals_is_answered_at_once_by_one_who_waits_for_his_turn() {
    answered_at_once(&[
        ("flock --fair 8", &["queue"]),
        ("flock --fair -w 1000 l :", &["queue"]),
    ]);
}

/// Signals for a shell that waits in these ways, while somebody has the lock by these options.
fn answered_at_once(waits: &[(&str, &[&str])]) {
    let StressSettings { size, seed } = StressSettings::from_env();
    for_each_bash(|env| {
        for (wait, options) in waits {
            let queue = *options == ["queue"];
            let holder = env.hold(if queue { &[] } else { options }, "l");
            let before = queue.then(|| crate::fair::spawn_waiting_holder(env, &["--fair"]));
            let mut waiter = env.start_with_builtin(format!(
                "f() {{ :; }}; n=0; trap 'echo $((n += 1))' {{34..63}}; trap 'exit 3' TERM; exec 8<>l; echo ready
                 {}",
                wait.replace(" :", " f")
            ));
            waiter.expect_line("ready");
            let mut rng = Rng::with_seed(seed);
            for round in 1..=250 * size {
                if rng.u64(..4) == 0 {
                    std::thread::sleep(Duration::from_micros(rng.u64(..300)));
                } else {
                    (0..rng.u64(..10_000)).for_each(|_| std::hint::spin_loop());
                }
                // In turn, since bash loses a signal that comes at the end of its own trap.
                waiter.signal(34 + (round % 30) as i32);
                waiter.expect_line(&round.to_string());
            }
            waiter.signal(libc::SIGTERM);
            assert_eq!(waiter.wait(), ExitReason::Exited(3));
            drop(before);
            holder.release();
        }
    });
}

/// A step that may be killed at any moment: it is made by the one write that tells of it. Two at once would write the
/// same number. A witness, whose lock would be refused to the second, is of no use here: of the descriptors of a shell
/// that is killed, the kernel may close the witness last.
const STEP: &str = r#"step() { local all; mapfile -t all <journal; echo $((${#all[@]} + 1)) >>journal; }
    n=0; trap 'n=$((n + 1))' USR1 WINCH RTMIN+3"#;

#[test]
fn counts_are_exact_in_a_rain_of_signals_and_kills() {
    exact_in_a_rain([
        "flock 8; step; flock -u 8",
        "flock -w 1000 8; step; flock -u 8",
        "flock l step",
        "flock -w 1000 l step",
        "flock -o l step",
        "until flock -w 0.001 l step; do :; done",
    ]);
}

#[test]
fn counts_are_exact_in_a_rain_of_signals_and_kills_on_those_who_queue() {
    exact_in_a_rain([
        "flock --fair 8; step; flock -u 8",
        "flock --fair -w 1000 8; step; flock -u 8",
        "flock --fair l step",
        "flock -w 1000 --fair l step",
        "flock --fair -s 8; flock --fair 8; step; flock -u 8",
        "until flock --fair -w 0.001 l step; do :; done",
    ]);
}

/// Shells that count in these ways, each by turns with the others, some of which are killed.
fn exact_in_a_rain(ways: [&str; 6]) {
    let StressSettings { size, seed } = StressSettings::from_env();
    let steps = 40 * size;
    for_each_bash(|env| {
        fs::write(env.file("journal"), "").expect("a journal");
        let (sure, unsure, trapped) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for (number, way) in ways.iter().cycle().take(9).enumerate() {
                let (sure, unsure, trapped) = (&sure, &unsure, &trapped);
                scope.spawn(move || {
                    let mut rng = Rng::with_seed(seed ^ (number as u64) << 40);
                    // Some are killed at some time, with nobody looking.
                    let victim = number % 3 == 2;
                    let script = format!(
                        "{STEP}; exec 8>>l; echo ready; for ((i = 0; i < {steps}; i++)); do {way}; done; echo $n >&2"
                    );
                    let mut shell = env.builtin_command(script);
                    shell.stdout(Stdio::piped()).stderr(Stdio::piped());
                    let mut shell = shell.spawn().expect("it starts");
                    let pid = shell.id() as i32;
                    let mut ready = shell.stdout.take().expect("a pipe");
                    rustix::io::read(&ready, &mut [0; 16]).expect("it is ready");
                    let lives = rustix::process::pidfd_open(
                        rustix::process::Pid::from_child(&shell),
                        rustix::process::PidfdFlags::empty(),
                    )
                    .expect("a pidfd");
                    let mut rounds = 0u64;
                    let patience = std::time::Instant::now() + Duration::from_secs(60 + 60 * size);
                    while !test_support::process::poll_readable(
                        &[std::os::fd::AsFd::as_fd(&lives)],
                        std::time::Instant::now() + Duration::from_micros(rng.u64(..400)),
                    )[0] {
                        let signal = [libc::SIGUSR1, libc::SIGWINCH, libc::SIGRTMIN() + 3, libc::SIGCONT];
                        send_signal(pid, signal[rng.usize(..4)]);
                        rounds += 1;
                        if victim && rng.u64(..200) == 0 || std::time::Instant::now() > patience {
                            send_signal(-pid, libc::SIGKILL);
                        }
                    }
                    let mut said = String::new();
                    let mut complaints = shell.stderr.take().expect("a pipe");
                    std::io::Read::read_to_string(&mut complaints, &mut said).expect("text");
                    let _ = std::io::Read::read(&mut ready, &mut [0; 1]);
                    let status = shell.wait().expect("our child");
                    match (status.code(), status.signal()) {
                        (Some(0), _) => {
                            sure.fetch_add(steps, Relaxed);
                            let traps: u64 = said.trim().parse().unwrap_or_else(|_| panic!("{way}: {said}"));
                            assert!(traps <= rounds, "{way}: {traps} of {rounds}");
                            trapped.fetch_add(traps, Relaxed);
                        }
                        (_, Some(libc::SIGKILL)) if victim => {
                            // It may have been through with everything, and said so.
                            let said = said.trim();
                            assert!(said.is_empty() || said.parse::<u64>().is_ok(), "{said}");
                            unsure.fetch_add(steps, Relaxed);
                        }
                        _ => panic!("{way}: {status} {said}"),
                    }
                });
            }
        });
        let journal = fs::read_to_string(env.file("journal")).expect("it was written");
        for (step, line) in (1..).zip(journal.lines()) {
            assert_eq!(line, format!("{step}"), "the journal's line {step}");
        }
        let made = journal.lines().count() as u64;
        let (sure, unsure) = (sure.into_inner(), unsure.into_inner());
        assert!(
            (sure..=sure + unsure).contains(&made),
            "{sure} + {unsure}: {made}"
        );
        assert!(trapped.into_inner() > 0, "nobody was hit");
        assert!(locks_on(env.file("l")).is_empty());
    });
}
