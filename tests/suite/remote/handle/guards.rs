//! The processes that watch over the lock of a descriptor, as the tests see them.

use libc::SIGKILL;
use test_support::locks::assert_unlocked;
use test_support::process::send_signal;
use test_support::procfs::{is_running, status_field};
use test_support::{TestEnv, wait_until};

/// Their names.
pub const GUARDS: [&str; 3] = ["lock-timekeeper", "lock-watcher", "lock-deputy"];

/// The guards of all locks whose handle files are in an environment.
#[derive(Clone, Copy)]
pub struct Guards<'env>(pub &'env TestEnv);

impl Guards<'_> {
    /// Returns the PIDs and names of those with a handle file whose name begins like this.
    pub fn of(self, handle: &str) -> Vec<(i32, String)> {
        let path = self.0.file(handle).display().to_string();
        let entries = std::fs::read_dir("/proc").expect("/proc");
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let guard = |pid: i32| {
            let name = status_field(pid, "Name");
            let link = || std::fs::read_link(format!("/proc/{pid}/fd/1")).ok();
            // A file that was deleted is still shown with its name.
            let is_ours = || link()?.to_str()?.starts_with(&path).then_some(());
            (name.starts_with("lock-") && is_ours().is_some()).then_some((pid, name))
        };
        pids.filter_map(guard).collect()
    }

    /// Returns the guards of one lock, if it has all of them, and there is no other one.
    pub fn complete(self) -> Option<Vec<(i32, String)>> {
        let guards = self.of("");
        let exists = |name: &&str| guards.iter().any(|guard| guard.1 == **name);
        (guards.len() == GUARDS.len() && GUARDS.iter().all(exists)).then_some(guards)
    }

    /// Waits until there are all guards of one lock, and returns the PID of one of them.
    #[track_caller]
    pub fn pid(self, name: &str) -> i32 {
        let mut guards = None;
        wait_until("all guards exist", || {
            guards = self.complete();
            guards.is_some()
        });
        let guards = guards.expect("they were found");
        let guard = guards.iter().find(|guard| guard.1 == name);
        guard.expect("a name of a guard").0
    }

    /// Kills a guard, and waits until another one has its place. After the watcher, the timekeeper
    /// has looked whether a process has the descriptor.
    #[track_caller]
    pub fn replace(self, name: &str) {
        let pid = self.pid(name);
        assert!(send_signal(pid, SIGKILL));
        wait_until("it exits", || !is_running(pid));
        self.pid(name);
    }

    /// Asserts that no guard is left, and no lock of a file whose name begins with `handle`.
    #[track_caller]
    pub fn assert_nothing_left(self) {
        wait_until("the guards exit", || self.of("").is_empty());
        for name in self.0.file_names() {
            if name.to_string_lossy().starts_with("handle") {
                assert_unlocked(self.0.file(name));
            }
        }
    }
}
