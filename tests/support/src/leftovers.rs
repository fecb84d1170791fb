//! Processes that a test has left behind. They are recognized by their working directory, because
//! those of a job are in a process group of their own.

use std::path::Path;
use std::time::Duration;

use rustix::process::{self, Pid, Signal};

use crate::procfs::{command_line, processes_in};
use crate::test_env::TestEnv;
use crate::wait::{HANG_TIMEOUT, holds_within};

/// How long processes that have been killed or released may take to exit, on a busy machine.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Fails a test that leaves processes behind. Those of util-linux's program are only killed: it
/// waits for a stopped command forever, by design.
impl Drop for TestEnv {
    fn drop(&mut self) {
        let left_behind = || processes_in(self.path());
        if left_behind().is_empty() {
            return;
        }
        let is_leak = !self.is_reference()
            && !holds_within(EXIT_TIMEOUT, || left_behind().is_empty())
            && !std::thread::panicking();
        let commands = Vec::from_iter(left_behind().into_iter().map(command_line));
        kill_processes_in(self.path());
        assert!(!is_leak, "the test left processes behind: {commands:?}");
    }
}

/// Kills all processes whose working directory is this directory or below it.
///
/// *Race:* a process may create another one between the scan and the kill. The new one is in the
/// same directory, so scans are repeated until one finds no process.
pub fn kill_processes_in(dir: &Path) {
    holds_within(HANG_TIMEOUT, || {
        let pids = processes_in(dir);
        for pid in pids.iter().filter_map(|pid| Pid::from_raw(*pid)) {
            let _ = process::kill_process(pid, Signal::KILL);
        }
        pids.is_empty()
    });
}
