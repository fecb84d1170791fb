//! A storm: scripts that lock a descriptor, of each of which one process is killed or stopped at
//! random. Their work never overlaps, and nothing is left behind.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fastrand::Rng;
use libc::{SIGCONT, SIGKILL, SIGSTOP, SIGTERM};
use test_support::TestEnv;
use test_support::process::{Process, send_signal};
use test_support::procfs::children_of;
use test_support::stress::StressSettings;

use super::{Guards, HandleTest};

const WORKERS: u64 = 6;

/// The script. A grandchild of it works, which ignores `SIGTERM`, and keeps the file `witness`
/// locked. FLOCK stands for the options and the URL.
const WORK: &str = "trap '' TERM; exec 8>>HANDLE; flock OPTIONS 8 URL || exit
    flock SHARED -n -E99 witness sh -c 'echo >>done; sleep 0.02' & wait $!
    [ $? != 99 ] || echo overlap >>overlap";

/// Returns the script of a writer or reader.
pub fn script(handle: &str, options: &str, url: &str, is_reader: bool) -> String {
    let shared = if is_reader { "-s" } else { "" };
    let script = WORK.replace("HANDLE", handle).replace("URL", url);
    let script = script.replace("OPTIONS", &format!("{shared} {options}"));
    script.replace("SHARED", shared)
}

/// Disturbs one process of a script: of several, no more than one can be replaced.
pub fn disturb(env: &TestEnv, script: &Process, handle: &str, rng: &mut Rng) {
    let signal = [SIGKILL, SIGKILL, SIGSTOP, SIGTERM][rng.usize(..4)];
    let pid = match rng.u8(..6) {
        0 => Some(script.pid()),
        // `flock`, or the work.
        1 => children_of(script.pid()).first().copied(),
        2 => Some(-script.pid()),
        _ => rng.choice(Guards(env).of(handle)).map(|guard| guard.0),
    };
    let Some(pid) = pid.filter(|_| !script.has_exited()) else {
        return;
    };
    send_signal(pid, signal);
    if signal == SIGSTOP {
        std::thread::sleep(Duration::from_millis(rng.u64(..50)));
        send_signal(pid, SIGCONT);
    }
}

/// Runs scripts for this time, and asserts that their work has not overlapped.
pub fn run(env: &TestEnv, time: Duration, options: &str, url: &str) {
    let settings = StressSettings::from_env();
    let end = Instant::now() + time * settings.size.try_into().expect("a factor");
    let count = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let count = &count;
            scope.spawn(move || {
                let mut rng = Rng::with_seed(settings.seed ^ worker);
                while Instant::now() < end {
                    let handle = format!("handle-{worker}-{}-", count.fetch_add(1, Relaxed));
                    let text = script(&handle, options, url, rng.u8(..3) == 0);
                    let mut script = env.start(env.sh_command(&text));
                    std::thread::sleep(Duration::from_millis(rng.u64(..120)));
                    disturb(env, &script, &handle, &mut rng);
                    script.wait();
                    std::fs::remove_file(env.file(&handle)).ok();
                }
            });
        }
    });
    let done = env.read_file("done").lines().count();
    println!("{done} of {} scripts have worked", count.load(Relaxed));
    assert!(!env.file("overlap").exists(), "work has overlapped");
    assert!(done > 0);
    Guards(env).assert_nothing_left();
}

#[test]
fn work_of_scripts_never_overlaps() {
    let test = HandleTest::excluding();
    run(&test, Duration::from_millis(1500), "", "test://n");
}
