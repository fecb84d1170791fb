//! Stress tests: thousands of signals, and kills, at random times. Every signal is answered, no
//! process hangs, and every count is exact.
//!
//! `FDLOCK_STORM` and `FDLOCK_STORM_SEED` work as in the other stress tests.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rstest::rstest;
use test_support::TestEnv;
use test_support::builtin::for_each_bash;
use test_support::locks::assert_unlocked;
use test_support::process::{ExitReason, open_pidfd, poll_readable, send_signal};
use test_support::stress::StressSettings;

/// The shell waits for the lock, which another process has acquired with `options`. `predecessors`
/// waiters are before it in the queue.
#[rstest]
#[case::descriptor("flock 8", &[], 0)]
#[case::timeout("flock -w 1000 8", &[], 0)]
#[case::function("flock l f", &[], 0)]
#[case::range("flock --fcntl 8", &["--fcntl"], 0)]
#[case::first_in_queue("flock --fair 8", &[], 0)]
#[case::first_in_queue_for_function("flock --fair -w 1000 l f", &[], 0)]
#[case::second_in_queue("flock --fair 8", &[], 1)]
#[case::second_in_queue_for_function("flock --fair -w 1000 l f", &[], 1)]
fn signals_are_answered_at_once(
    #[case] wait: &str,
    #[case] options: &[&str],
    #[case] predecessors: usize,
) {
    let StressSettings { size, seed } = StressSettings::from_env();
    for_each_bash(|env| {
        let holder = env.hold(options, "l");
        let predecessors: Vec<_> = (0..predecessors)
            .map(|_| crate::queue::spawn_waiting_holder(env, &["--fair"]))
            .collect();
        let mut waiter = env.start_with_builtin(format!(
            "f() {{ :; }}; n=0; trap 'echo $((n += 1))' {{34..63}}; trap 'exit 3' TERM; exec 8<>l; echo ready
             {wait}"
        ));
        waiter.expect_line("ready");
        let mut rng = Rng::with_seed(seed);
        for round in 1..=250 * size {
            if rng.u64(..4) == 0 {
                std::thread::sleep(Duration::from_micros(rng.u64(..300)));
            } else {
                (0..rng.u64(..10_000)).for_each(|_| std::hint::spin_loop());
            }
            // Each time another signal, since bash loses one that arrives at the end of its own
            // trap.
            waiter.signal(34 + (round % 30) as i32);
            waiter.expect_line(&round.to_string());
        }
        waiter.signal(libc::SIGTERM);
        assert_eq!(waiter.wait(), ExitReason::Exited(3));
        drop(predecessors);
        holder.release();
    });
}

/// The first real-time signal in bash, which is linked to glibc. The tests may be linked to musl,
/// which has another one.
const BASH_RTMIN: i32 = 34;

/// A step that may be killed at any time, as a single write makes and reports it. Two concurrent
/// steps would write the same number. A second lock as a witness, which only one of them could
/// acquire, is of no use here: when a shell is killed, the kernel may close the descriptor of the
/// witness last.
const STEP: &str = r#"step() { local all; mapfile -t all <journal; echo $((${#all[@]} + 1)) >>journal; }
    n=0; trap 'n=$((n + 1))' USR1 WINCH RTMIN+3"#;

#[rstest]
#[case::plain([
    "flock 8; step; flock -u 8",
    "flock -w 1000 8; step; flock -u 8",
    "flock l step",
    "flock -w 1000 l step",
    "flock -o l step",
    "until flock -w 0.001 l step; do :; done",
])]
#[case::fair([
    "flock --fair 8; step; flock -u 8",
    "flock --fair -w 1000 8; step; flock -u 8",
    "flock --fair l step",
    "flock -w 1000 --fair l step",
    "flock --fair -s 8; flock --fair 8; step; flock -u 8",
    "until flock --fair -w 0.001 l step; do :; done",
])]
fn counts_are_exact_despite_signals_and_kills(#[case] ways: [&str; 6]) {
    let StressSettings { size, seed } = StressSettings::from_env();
    let steps = 40 * size;
    for_each_bash(|env| {
        fs::write(env.file("journal"), "").expect("a journal");
        let runs: Vec<Option<u64>> = std::thread::scope(|scope| {
            let ways = (0_u64..9).zip(ways.iter().cycle());
            let shells = ways.map(|(number, way)| {
                let rng = Rng::with_seed(seed ^ number << 40);
                scope.spawn(move || count_under_signals(env, way, steps, rng, number % 3 == 2))
            });
            let shells: Vec<_> = shells.collect();
            let runs = shells.into_iter().map(|shell| shell.join());
            runs.map(|run| run.expect("a shell that counts")).collect()
        });
        let journal = fs::read_to_string(env.file("journal")).expect("the journal");
        for (step, line) in (1..).zip(journal.lines()) {
            assert_eq!(line, format!("{step}"), "line {step} of the journal");
        }
        let count = journal.lines().count() as u64;
        let finished = runs.iter().flatten().count() as u64;
        // A victim may have made any number of its steps.
        assert!(
            (steps * finished..=steps * 9).contains(&count),
            "{finished}: {count}"
        );
        let traps: u64 = runs.into_iter().flatten().sum();
        assert!(traps > 0, "no trap has run");
        assert_unlocked(env.file("l"));
    });
}

/// Runs a shell that makes its steps in this way, and sends it signals. Returns how many traps have
/// run, or `None` if the shell, a victim, was killed.
fn count_under_signals(
    env: &TestEnv,
    way: &str,
    steps: u64,
    mut rng: Rng,
    is_victim: bool,
) -> Option<u64> {
    let mut shell = env.builtin_command(format!(
        "{STEP}; exec 8>>l; echo ready; for ((i = 0; i < {steps}; i++)); do {way}; done; echo $n >&2"
    ));
    shell.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut shell = shell.spawn().expect("bash starts");
    let pid = shell.id() as i32;
    let mut stdout = shell.stdout.take().expect("a pipe");
    rustix::io::read(&stdout, &mut [0; 16]).expect("it is ready");
    let pidfd = open_pidfd(&shell);
    let mut sent = 0;
    let timeout = Instant::now() + Duration::from_secs(60 + 2 * steps);
    let exited = |at| poll_readable(&[pidfd.as_fd()], at)[0];
    while !exited(Instant::now() + Duration::from_micros(rng.u64(..400))) {
        let signals = [libc::SIGUSR1, libc::SIGWINCH, BASH_RTMIN + 3, libc::SIGCONT];
        send_signal(pid, signals[rng.usize(..4)]);
        sent += 1;
        if is_victim && rng.u64(..200) == 0 || Instant::now() > timeout {
            send_signal(-pid, libc::SIGKILL);
        }
    }
    let mut errors = String::new();
    let mut stderr = shell.stderr.take().expect("a pipe");
    stderr.read_to_string(&mut errors).expect("text");
    let _ = stdout.read(&mut [0; 1]);
    let status = shell.wait().expect("our child");
    let count = errors.trim().parse();
    match (status.code(), status.signal()) {
        (Some(0), _) => {
            let traps = count.unwrap_or_else(|_| panic!("{way}: {errors}"));
            assert!(traps <= sent, "{way}: {traps} of {sent}");
            Some(traps)
        }
        (_, Some(libc::SIGKILL)) if is_victim => {
            // It may have been done, and printed its count.
            assert!(errors.is_empty() || count.is_ok(), "{way}: {errors}");
            None
        }
        _ => panic!("{way}: {status} {errors}"),
    }
}
