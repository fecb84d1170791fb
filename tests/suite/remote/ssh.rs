//! Locks on files of another machine, by a real sshd. The other machine is this one, so a test can
//! see both ends; the installed helper is at either.

mod errors;
mod failures;
mod handle;
mod server;
mod several;
mod stopped;
mod storm;
mod there;
mod trace;

use libc::SIGKILL;
use rstest::rstest;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{command_line, is_running};
use test_support::{TestEnv, installed_helper, wait_until};

use super::engines::environment::environment_with;
use server::Server;

/// An environment for locks on another machine.
struct SshTest {
    env: TestEnv,
    server: Server,
}

/// Installs the helper. Its prefix is that of the file that is executed, so a link would not do.
const INSTALL: &str = "file=$(readlink -f \"$1\") && to=libexec/fdlock/flock-ssh &&
    { ln \"$file\" $to 2>/dev/null || cp \"$file\" $to; } && : >lock";

impl SshTest {
    /// Starts a server. `None` if the test is skipped.
    fn new() -> Option<Self> {
        let env = environment_with("flock-ssh", &[], server::missing())?;
        let helper = installed_helper("flock-ssh").expect("the test is not skipped");
        let mut install = env.sh_command(INSTALL);
        install.arg("sh").arg(helper);
        env.run_command(install).assert_status(0);
        let server = Server::start(&env);
        // There is no variable for the configuration of ssh.
        let config = env.file("ssh/config");
        let script = format!("exec /usr/bin/ssh -F {} \"$@\"", config.display());
        env.install_script("bin/ssh", &format!("#!/bin/sh\n{script}\n"));
        Some(Self { env, server })
    }

    fn url(&self) -> String {
        self.url_by("machine")
    }

    fn url_by(&self, host: &str) -> String {
        format!("ssh://{host}{}", self.env.file("lock").display())
    }

    /// Starts `flock` with these options and a command that prints a word, and returns when a line
    /// has been read from its input.
    #[track_caller]
    fn hold(&self, options: &[&str]) -> Process {
        let mut holder = self.start(options, "echo held; read x; exit 0");
        holder.expect_line("held");
        holder
    }

    /// Starts `flock` with a script as its command. What passes on in time does so by a message, not
    /// because a lease has ended or was renewed.
    #[track_caller]
    fn start(&self, options: &[&str], script: &str) -> Process {
        let url = self.url();
        let command = [url.as_str(), "sh", "-c", script];
        let args = ["--ttl=2m"].iter().chain(options).chain(&command);
        self.env.start(self.env.flock(args))
    }

    /// Waits until a number of processes wait for the lock, on the other machine.
    #[track_caller]
    fn wait_for_waiters(&self, count: usize) {
        wait_until("processes wait for the lock", || {
            let list = self.env.run(["--who", "lock"]).stdout_text();
            let waiters = list.lines().filter(|line| line.starts_with("waiter "));
            waiters.count() == count
        });
    }

    /// Returns the processes on the other machine: `serve` or `guard`.
    fn processes_there(&self, word: &str) -> Vec<i32> {
        let program = self.env.file("libexec/fdlock/flock-ssh");
        let start = format!("{} {word} ", program.display());
        let mut found = processes(|command| command.starts_with(&start));
        found.retain(|pid| is_running(*pid));
        found
    }

    #[track_caller]
    fn process_there(&self, word: &str) -> i32 {
        let mut found = Vec::new();
        wait_until("there is one process", || {
            found = self.processes_there(word);
            found.len() == 1
        });
        found[0]
    }

    /// Waits until no process is left on the other machine.
    #[track_caller]
    fn wait_for_nothing_there(&self) {
        wait_until("no process is left there", || {
            let is_none = |word| self.processes_there(word).is_empty();
            is_none("serve") && is_none("guard")
        });
    }

    /// Tries the lock as a process of the other machine, and asserts the status.
    #[track_caller]
    fn assert_there(&self, options: &[&str], status: i32) {
        let args = options.iter().chain(&["-n", "lock", "true"]);
        self.env.run(args).assert_all(status, "", "");
    }
}

/// Kills what a test that fails leaves on the other machine, where a lock may be kept for an hour.
impl Drop for SshTest {
    fn drop(&mut self) {
        let program = self.env.file("libexec/fdlock/flock-ssh");
        let program = program.display().to_string();
        for pid in processes(|command| command.contains(&program)) {
            send_signal(pid, SIGKILL);
        }
    }
}

/// Returns the processes whose arguments are like this.
fn processes(is_wanted: impl Fn(&str) -> bool) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("/proc can be read");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| is_wanted(&command_line(*pid))).collect()
}

#[test]
fn command_runs_under_the_lock() {
    let Some(test) = SshTest::new() else { return };
    let (env, url) = (&test.env, test.url());
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let script = "flock -n lock true; echo $? $FLOCK_TOKEN $FLOCK_URL; exit 5";
        let outcome = env.run([&url, "sh", "-c", script]);
        let outcome = outcome.assert_stderr("").assert_status(5);
        // Released before flock exits.
        test.assert_there(&[], 0);
        let stdout = outcome.stdout_text();
        let words = Vec::from_iter(stdout.split_whitespace());
        assert_eq!((words[0], words[2]), ("1", url.as_str()));
        tokens.push(words[1].parse::<u64>().expect("a number"));
    }
    assert!(tokens.is_sorted_by(|one, other| one < other), "{tokens:?}");
    assert_eq!(env.read_file("lock"), "");
    test.wait_for_nothing_there();
}

#[rstest]
#[case::exclusive(&[], &[], 1)]
#[case::reader_behind_a_writer(&[], &["-s"], 1)]
#[case::writer_behind_a_reader(&["-s"], &[], 1)]
#[case::readers(&["-s"], &["-s"], 0)]
#[case::slots(&["--slots=2"], &["--slots=2"], 0)]
#[case::last_slot(&["--slots=1"], &["--slots=1"], 1)]
fn lock_excludes_here_and_there(
    #[case] held: &[&str],
    #[case] other: &[&str],
    #[case] status: i32,
) {
    let Some(test) = SshTest::new() else { return };
    let holder = test.hold(held);
    let url = test.url();
    let expected = if status == 0 { "got it\n" } else { "" };
    let args = ["-n", &url, "echo", "got it"];
    let outcome = test.env.run(other.iter().chain(&args));
    outcome.assert_all(status, expected, "");
    test.assert_there(other, status);
    holder.release();
    test.assert_there(&[], 0);
}

#[test]
fn local_lock_there_excludes() {
    let Some(test) = SshTest::new() else { return };
    let local = test.env.hold(&[], "lock");
    let outcome = test.env.run(["-n", &test.url(), "true"]);
    outcome.assert_all(1, "", "");
    // On a busy machine, the connection alone may take longer than a short wait.
    let run = |wait| test.env.run([wait, "-E9", &test.url(), "true"]);
    let mut outcomes = ["-w0.05", "-w2", "-w10", "-w40"].into_iter().map(run);
    let outcome = outcomes.find(|outcome| outcome.code() != 66);
    outcome.expect("it connects").assert_all(9, "", "");
    let mut waiter = test.start(&[], "echo got it");
    test.wait_for_waiters(1);
    local.release();
    waiter.expect_line("got it");
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[test]
fn lock_is_granted_in_the_order_of_arrival() {
    let Some(test) = SshTest::new() else { return };
    let holder = test.hold(&[]);
    let mut waiters = Vec::new();
    for number in 0..3 {
        waiters.push(test.start(&[], &format!("echo {number} >>order")));
        test.wait_for_waiters(1 + number);
    }
    holder.release();
    for mut waiter in waiters {
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
    }
    assert_eq!(test.env.read_file("order"), "0\n1\n2\n");
}

/// The kernel alone would let it in.
#[test]
fn reader_does_not_overtake_a_waiting_writer() {
    let Some(test) = SshTest::new() else { return };
    let holder = test.hold(&["-s"]);
    let mut writer = test.start(&[], "true");
    test.wait_for_waiters(1);
    let args = ["-s", "-n", &test.url(), "true"];
    test.env.run(args).assert_all(1, "", "");
    holder.release();
    assert_eq!(writer.wait(), ExitReason::Exited(0));
}

#[test]
fn path_may_have_any_characters() {
    let Some(test) = SshTest::new() else { return };
    for name in [
        "a b",
        "'\"$(touch x)`touch x`;&|\\!*?#%41~",
        "-n",
        "ä\u{200b}",
    ] {
        let url = format!("ssh://machine{}/{name}", test.env.path().display());
        let name = format!("./{name}");
        let outcome = test.env.run([&url, "flock", "-n", &name, "true"]);
        outcome.assert_all(1, "", "");
        assert!(test.env.file(name).exists());
    }
    assert!(!test.env.file("x").exists());
}

/// What the user has configured for sessions must not get in the way.
#[test]
fn configuration_for_sessions_does_not_matter() {
    let Some(test) = SshTest::new() else { return };
    let outcome = test.env.run([&test.url_by("elaborate"), "echo", "got it"]);
    outcome.assert_all(0, "got it\n", "");
    assert!(!test.env.file("ssh/control").exists());
}

/// Its end would be the end of ours.
#[test]
fn connection_of_another_session_is_not_used() {
    let Some(test) = SshTest::new() else { return };
    let options = "-NT -oClearAllForwardings=yes -oRemoteCommand=none";
    let other = test.env.sh_command(format!("exec ssh {options} elaborate"));
    let mut other = test.env.start(other);
    let socket = test.env.file("ssh/control");
    wait_until("it may be shared", || socket.exists());
    let url = test.url_by("elaborate");
    let script = "echo held; read x; exit 0";
    let mut holder = test.env.start_flock(["--ttl=2m", &url, "sh", "-c", script]);
    holder.expect_line("held");
    other.kill();
    // The other machine would keep the lock without this message.
    holder.release();
    test.wait_for_nothing_there();
}

#[test]
fn token_rises_although_the_clock_is_set_back() {
    let Some(test) = SshTest::new() else { return };
    // As a clock would have left it that was ahead.
    let last = 9_000_000_000_000_000_000_u64;
    let script = format!("mkdir -p state/fdlock/ssh-token && : >state/fdlock/ssh-token/{last}");
    test.env.sh(script).assert_status(0);
    for number in 1..3 {
        let outcome = test.env.run([&test.url(), "sh", "-c", "echo $FLOCK_TOKEN"]);
        outcome.assert_all(0, &format!("{}\n", last + number), "");
    }
}

#[test]
fn verbose_names_the_holder() {
    let Some(test) = SshTest::new() else { return };
    let holder = test.hold(&[]);
    let mut waiter = test.start(&["--verbose"], "true");
    let line = waiter.read_line();
    let pid = holder.pid();
    let start = format!("flock: waiting for process {pid} of ");
    assert!(line.starts_with(&start), "{line}");
    let end = " (sh -c echo held; read x; exit 0)";
    assert!(line.ends_with(end), "{line}");
    let args = ["-n", "--verbose", &test.url(), "true"];
    let outcome = test.env.run(args).assert_status(1);
    let expected = format!("{line}\nflock: failed to get lock\n");
    assert_eq!(outcome.stderr_text(), expected);
    holder.release();
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[test]
fn killed_waiter_leaves_the_queue() {
    let Some(test) = SshTest::new() else { return };
    let local = test.env.hold(&[], "lock");
    let mut waiter = test.start(&[], "echo never");
    test.wait_for_waiters(1);
    waiter.kill();
    test.wait_for_nothing_there();
    local.release();
}

#[test]
fn waiter_whose_connection_ends_queues_again() {
    let Some(test) = SshTest::new() else { return };
    let local = test.env.hold(&[], "lock");
    let mut waiter = test.start(&[], "echo got it");
    test.wait_for_waiters(1);
    let before = test.process_there("serve");
    failures::kill_session_of(before);
    let text = "flock: machine is not reached, trying again: the connection has ended";
    waiter.expect_line(text);
    wait_until("there is another one", || {
        let found = test.processes_there("serve");
        found.iter().any(|pid| *pid != before)
    });
    test.wait_for_waiters(1);
    local.release();
    waiter.expect_line("got it");
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[test]
fn holders_and_waiters_are_listed() {
    let Some(test) = SshTest::new() else { return };
    let who = || test.env.run(["--who", "--json", &test.url()]);
    who().assert_all(1, "[]\n", "");
    let holder = test.hold(&["-s"]);
    let local = test.env.hold(&["-s"], "lock");
    let mut waiter = test.start(&[], "true");
    test.wait_for_waiters(1);
    let list = who().assert_status(0).stdout_text();
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let list = list.as_array().expect("a list");
    let hostname = test.env.sh("uname -n").stdout_text();
    for (pid, role, mode) in [
        (holder.pid(), "holder", "shared"),
        (local.pid(), "holder", "shared"),
        (waiter.pid(), "waiter", "exclusive"),
    ] {
        let entry = list.iter().find(|entry| entry["pid"] == pid);
        let entry = entry.unwrap_or_else(|| panic!("no {pid}: {list:?}"));
        assert_eq!(
            (&entry["role"], &entry["mode"]),
            (&role.into(), &mode.into())
        );
        assert_eq!(entry["host"], hostname.trim());
    }
    for process in [holder, local] {
        process.release();
    }
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[test]
fn missing_file_is_a_free_lock() {
    let Some(test) = SshTest::new() else { return };
    let url = test.url() + "-missing";
    test.env.run(["--who", &url]).assert_all(1, "", "");
    assert!(!test.env.file("lock-missing").exists());
}
