//! A storm: readers and writers, of each of which one process is killed or stopped at random. Only
//! with `FDLOCK_STORM`, whose value is a factor for its length, because kills of the helper take
//! the time of a lease.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use libc::{SIGCONT, SIGKILL, SIGSTOP, SIGTERM, SIGTSTP};
use rstest::rstest;
use test_support::TestEnv;
use test_support::process::{Process, send_signal};
use test_support::procfs::{children_of, status_field};
use test_support::stress::StressSettings;

use super::{Engine, EngineTest, TTL};

const WORKERS: u64 = 6;

/// The command of a writer and of a reader. Both keep the file `witness` locked, in a grandchild
/// that ignores `SIGTERM`. A writer stores its token.
const WRITE: &str = "trap '' TERM; flock -n -E99 witness sh -c 'echo $FLOCK_TOKEN >>tokens
    sleep 0.05' & wait $!; [ $? != 99 ] || echo writer >>overlap";
const READ: &str = "trap '' TERM; flock -s -n -E99 witness sleep 0.05 & wait $!
    [ $? != 99 ] || echo reader >>overlap";

/// How a storm starts `flock`, with options and a script as the command.
type Start<'a> = &'a (dyn Fn(&[&str], &str) -> Process + Sync);

/// Runs one command, and disturbs one of its processes: of several, no more than one can be
/// replaced. Returns whether it has done so.
fn run_once(start: Start<'_>, helper: &str, rng: &mut Rng) -> bool {
    let is_reader = rng.u8(..3) == 0;
    let (options, script) = match is_reader {
        true => (&["-s", TTL][..], READ),
        false => (&[TTL][..], WRITE),
    };
    let mut flock = start(options, script);
    std::thread::sleep(Duration::from_millis(rng.u64(..400)));
    let name = ["flock", "lock-keeper", "lock-timekeeper", helper, ""][rng.usize(..5)];
    let find = |pid: &i32| status_field(*pid, "Name") == name;
    let pid = match name {
        "flock" => Some(flock.pid()),
        name => children_of(flock.pid())
            .into_iter()
            .find(|pid| !name.is_empty() && find(pid)),
    };
    let pid = pid.filter(|_| !flock.has_exited());
    if let Some(pid) = pid {
        let signal = [SIGKILL, SIGKILL, SIGSTOP, SIGTSTP, SIGTERM][rng.usize(..5)];
        send_signal(pid, signal);
        if [SIGSTOP, SIGTSTP].contains(&signal) {
            std::thread::sleep(Duration::from_millis(rng.u64(..2000)));
            send_signal(pid, SIGCONT);
        }
    }
    flock.wait();
    pid.is_some()
}

/// Runs a storm, and asserts that no commands have overlapped, and that the tokens have risen.
pub fn run(env: &TestEnv, helper: &str, start: Start<'_>) {
    let settings = StressSettings::from_env();
    let end = Instant::now() + Duration::from_secs(2 * settings.size);
    let disturbed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let disturbed = &disturbed;
            scope.spawn(move || {
                let mut rng = Rng::with_seed(settings.seed ^ worker);
                while Instant::now() < end {
                    let is_disturbed = run_once(start, helper, &mut rng);
                    disturbed.fetch_add(is_disturbed.into(), Ordering::Relaxed);
                }
            });
        }
    });
    assert!(
        !env.file("overlap").exists(),
        "{}",
        env.read_file("overlap")
    );
    let tokens = env.read_file("tokens");
    let tokens = tokens.lines().map(|token| token.parse::<u64>());
    let tokens = Vec::from_iter(tokens.map(|token| token.expect("a number")));
    let disturbed = disturbed.into_inner();
    println!("{} writers, {disturbed} killed or stopped", tokens.len());
    assert!(tokens.is_sorted_by(|one, other| one < other), "{tokens:?}");
}

/// Whether storms are asked for.
pub fn is_wanted() -> bool {
    std::env::var_os("FDLOCK_STORM").is_some()
}

#[rstest]
fn commands_never_overlap(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    if !is_wanted() {
        return;
    }
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let start = |options: &[&str], script: &str| test.start(options, script);
    run(&test.env, test.system.helper(), &start);
    // Those whose helper was killed vanish after their time.
    test.wait_for_keys(0);
}
