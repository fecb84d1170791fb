//! Several files on the other machine, whose `flock` locks them as one.

use libc::SIGKILL;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::wait_until;

use super::SshTest;

impl SshTest {
    /// Returns the URL of a second file.
    fn other_url(&self) -> String {
        self.url() + "2"
    }

    /// Starts `flock` for both files, in this order. The time to live is shorter than the machine has
    /// been running for, even if it has just been started: no lock is granted before that.
    #[track_caller]
    fn start_both(&self, options: &[&str], urls: [&str; 2], script: &str) -> Process {
        let command = ["--also", urls[1], urls[0], "sh", "-c", script];
        let args = ["--ttl=2m"].iter().chain(options).chain(&command);
        self.env.start(self.env.flock(args))
    }

    /// Asserts with which status a process there gets each lock.
    #[track_caller]
    fn assert_both_there(&self, statuses: [i32; 2]) {
        for (file, status) in ["lock", "lock2"].into_iter().zip(statuses) {
            let outcome = self.env.run(["-n", file, "true"]);
            outcome.assert_all(status, "", "");
        }
    }
}

#[test]
fn both_files_are_locked() {
    let Some(test) = SshTest::new() else { return };
    let (url, other) = (test.url(), test.other_url());
    let script = r#"echo "$FLOCK_TOKEN"; echo "$FLOCK_URL"; read x; exit 5"#;
    let mut holder = test.start_both(&[], [&other, &url], script);
    let token = holder.read_line();
    assert!(token.parse::<u64>().is_ok(), "{token}");
    for line in [&token, &other, &url] {
        holder.expect_line(line);
    }
    test.assert_both_there([1, 1]);
    holder.send_line("");
    assert_eq!(holder.wait(), ExitReason::Exited(5));
    test.assert_both_there([0, 0]);
}

#[test]
fn none_is_kept_if_one_is_not_free() {
    let Some(test) = SshTest::new() else { return };
    let holder = test.hold(&[]);
    let (url, other) = (test.url(), test.other_url());
    for urls in [[&url, &other], [&other, &url]] {
        let urls = urls.map(String::as_str);
        let mut flock = test.start_both(&["-n", "-E9"], urls, "echo never");
        assert_eq!(flock.wait(), ExitReason::Exited(9));
        test.assert_both_there([1, 0]);
    }
    holder.release();
}

/// The guard had handed over both.
#[test]
fn both_locks_outlast_the_guard() {
    let Some(test) = SshTest::new() else { return };
    let (url, other) = (test.url(), test.other_url());
    let mut holder = test.start_both(&[], [&url, &other], "echo held; read x");
    holder.expect_line("held");
    let guard = test.process_there("guard");
    assert!(send_signal(guard, SIGKILL));
    wait_until("it has exited", || test.processes_there("guard").is_empty());
    test.assert_both_there([1, 1]);
    holder.send_line("");
    assert_eq!(holder.wait(), ExitReason::Exited(0));
    test.assert_both_there([0, 0]);
}

#[test]
fn no_order_leads_to_a_deadlock() {
    let Some(test) = SshTest::new() else { return };
    let (url, other) = (test.url(), test.other_url());
    let script = "flock -n -E99 witness true && echo done";
    let mut processes = Vec::new();
    for _ in 0..4 {
        processes.push(test.start_both(&[], [&url, &other], script));
        processes.push(test.start_both(&[], [&other, &url], script));
    }
    for mut process in processes {
        process.expect_line("done");
        assert_eq!(process.wait(), ExitReason::Exited(0));
    }
    test.wait_for_nothing_there();
}

#[test]
fn files_of_two_machines_are_refused() {
    let Some(test) = SshTest::new() else { return };
    let (url, other) = (test.url(), test.url_by("elaborate"));
    let outcome = test.env.run(["--also", &other, &url, "echo", "never"]);
    let text = "USER, HOST and PORT must be the same";
    outcome.assert_all(64, "", &format!("flock: {url} and {other}: {text}\n"));
}
