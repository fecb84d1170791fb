//! A storm, as with etcd. Processes on the other machine are killed and stopped, too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use libc::{SIGCONT, SIGKILL, SIGSTOP};
use test_support::process::send_signal;

use super::SshTest;
use crate::remote::engines::{TTL, storm};
use crate::remote::handle::storm::Storm;

/// Disturbs a process on the other machine. Guards are not killed, because their holders may be.
fn disturb(test: &SshTest, rng: &mut Rng) {
    let (word, signal) =
        [("serve", SIGKILL), ("serve", SIGSTOP), ("guard", SIGSTOP)][rng.usize(..3)];
    let pids = test.processes_there(word);
    if let Some(pid) = rng.choice(&pids) {
        send_signal(*pid, signal);
        std::thread::sleep(Duration::from_millis(rng.u64(..1000)));
        send_signal(*pid, SIGCONT);
    }
}

/// Runs a storm, and disturbs processes on the other machine meanwhile.
fn run(storm: impl FnOnce(&SshTest)) {
    if !storm::is_wanted() {
        return;
    }
    let Some(test) = SshTest::new() else { return };
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut rng = Rng::new();
            while !is_over.load(Ordering::Relaxed) {
                disturb(&test, &mut rng);
                std::thread::sleep(Duration::from_millis(rng.u64(..2000)));
            }
        });
        // Also if it fails.
        let end = EndOnDrop(&is_over);
        storm(&test);
        drop(end);
    });
    test.wait_for_nothing_there();
}

#[test]
fn commands_never_overlap() {
    run(|test| {
        let start = |options: &[&str], script: &str| test.start(options, script);
        storm::run(&test.env, "flock-ssh", &start);
    });
}

#[test]
fn work_of_scripts_never_overlaps() {
    run(|test| {
        let storm = Storm {
            env: &test.env,
            url: &test.url(),
            options: TTL,
            helper: Some("flock-ssh"),
        };
        storm.run(Duration::from_secs(2));
    });
}

struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
