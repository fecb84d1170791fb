//! A storm: scripts that lock a descriptor, of each of which one process is killed or stopped at
//! random. Their work never overlaps, and nothing is left behind.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fastrand::Rng;
use libc::{SIGCONT, SIGKILL, SIGSTOP, SIGTERM};
use test_support::TestEnv;
use test_support::process::{Process, send_signal};
use test_support::procfs::{children_of, processes_in, status_field};
use test_support::stress::StressSettings;

use super::{Guards, HandleTest};

const WORKERS: u64 = 6;

/// The script. A grandchild of it works, which ignores `SIGTERM`, and keeps the file `witness`
/// locked. FLOCK stands for the options and the URL.
const WORK: &str = "trap '' TERM; exec 8>>HANDLE; flock OPTIONS 8 URL || exit
    flock SHARED -n -E99 witness sh -c 'echo >>done; sleep 0.02' & wait $!
    [ $? != 99 ] || echo overlap >>overlap";

/// Returns the script of a writer or reader.
fn script(handle: &str, options: &str, url: &str, is_reader: bool) -> String {
    let shared = if is_reader { "-s" } else { "" };
    let script = WORK.replace("HANDLE", handle).replace("URL", url);
    let script = script.replace("OPTIONS", &format!("{shared} {options}"));
    script.replace("SHARED", shared)
}

/// Disturbs one process of a script: of several, no more than one can be replaced. Returns whether it
/// has done so.
fn disturb(env: &TestEnv, script: &Process, handle: &str, rng: &mut Rng) -> bool {
    let pid = match rng.u8(..6) {
        0 => Some(script.pid()),
        // `flock`, or the work.
        1 => children_of(script.pid()).first().copied(),
        2 => Some(-script.pid()),
        _ => rng.choice(Guards(env).of(handle)).map(|guard| guard.0),
    };
    let pid = pid.filter(|_| !script.has_exited());
    pid.is_some_and(|pid| signal(pid, rng))
}

/// Disturbs one of the helpers, which keeps the lock for the time to live.
fn disturb_helper(env: &TestEnv, name: &str, rng: &mut Rng) -> bool {
    let mut helpers = processes_in(env.path());
    helpers.retain(|pid| status_field(*pid, "Name") == name);
    rng.choice(helpers).is_some_and(|pid| signal(pid, rng))
}

/// Kills or stops a process, and returns whether it exists.
fn signal(pid: i32, rng: &mut Rng) -> bool {
    let signal = [SIGKILL, SIGKILL, SIGSTOP, SIGTERM][rng.usize(..4)];
    let exists = send_signal(pid, signal);
    if signal == SIGSTOP {
        std::thread::sleep(Duration::from_millis(rng.u64(..50)));
        send_signal(pid, SIGCONT);
    }
    exists
}

/// What a storm disturbs.
pub struct Storm<'a> {
    pub env: &'a TestEnv,
    pub url: &'a str,
    /// The options of `flock`.
    pub options: &'a str,
    /// The name of the helper's process, if it may be killed.
    pub helper: Option<&'a str>,
}

impl Storm<'_> {
    /// Runs scripts for this time, and asserts that their work has not overlapped.
    pub fn run(&self, time: Duration) {
        let env = self.env;
        let settings = StressSettings::from_env();
        let end = Instant::now() + time * settings.size.try_into().expect("a factor");
        let (count, disturbed) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for worker in 0..WORKERS {
                let (count, disturbed) = (&count, &disturbed);
                scope.spawn(move || {
                    let mut rng = Rng::with_seed(settings.seed ^ worker);
                    while Instant::now() < end {
                        let number = count.fetch_add(1, Relaxed);
                        let handle = format!("handle-{worker}-{number}-");
                        let is_disturbed = self.run_once(&handle, &mut rng);
                        disturbed.fetch_add(is_disturbed.into(), Relaxed);
                    }
                });
            }
        });
        let done = env.read_file("done").lines().count();
        let (count, disturbed) = (count.into_inner(), disturbed.into_inner());
        println!("{done} of {count} scripts have worked, {disturbed} processes killed or stopped");
        assert!(!env.file("overlap").exists(), "work has overlapped");
        assert!(done > 0);
        Guards(env).assert_nothing_left();
    }

    /// Runs one script, and disturbs one process. Returns whether it has done so.
    fn run_once(&self, handle: &str, rng: &mut Rng) -> bool {
        let env = self.env;
        let text = script(handle, self.options, self.url, rng.u8(..3) == 0);
        let mut script = env.start(env.sh_command(&text));
        std::thread::sleep(Duration::from_millis(rng.u64(..120)));
        let is_disturbed = match self.helper.filter(|_| rng.u8(..20) == 0) {
            Some(helper) => disturb_helper(env, helper, rng),
            None => disturb(env, &script, handle, rng),
        };
        script.wait();
        std::fs::remove_file(env.file(handle)).ok();
        is_disturbed
    }
}

#[test]
fn work_of_scripts_never_overlaps() {
    let test = HandleTest::excluding();
    let storm = Storm {
        env: &test,
        url: "test://n",
        options: "",
        // Its process is the lock.
        helper: None,
    };
    storm.run(Duration::from_millis(1500));
}
