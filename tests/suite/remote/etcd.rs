//! Locks in a real etcd. The installed helper is tested, because that of the development build has no
//! TLS: `FLOCK_UNDER_TEST` names the program that it belongs to.

mod answers;
mod cluster;
mod errors;
mod failures;
mod proxy;
mod revocation;
mod server;
mod storm;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use libc::SIGKILL;
use rstest::rstest;
use test_support::process::{ExitReason, Process};
use test_support::{TestEnv, installed_helper, is_installed};

use proxy::{Mode, Proxy};
use server::Cluster;

/// An environment for locks in etcd.
struct EtcdTest {
    env: TestEnv,
    cluster: Arc<Cluster>,
}

impl EtcdTest {
    /// Uses the server that tests share. `None` if the test is skipped.
    fn new() -> Option<Self> {
        Some(Self {
            env: environment()?,
            cluster: Cluster::shared(),
        })
    }

    /// Starts a server for this test, which it may disturb.
    fn with_server() -> Option<Self> {
        Some(Self {
            env: environment()?,
            cluster: Arc::new(Cluster::single(&[])),
        })
    }

    /// The name of the lock, a different one in each test.
    fn name(&self) -> String {
        let name = self.env.path().file_name().expect("a name");
        name.to_string_lossy().into_owned()
    }

    fn url(&self) -> String {
        self.url_by(&self.cluster.hosts())
    }

    fn url_by(&self, hosts: &str) -> String {
        format!("etcd://{hosts}/{}", self.name())
    }

    /// The name with a suffix in base64, which etcd's JSON needs.
    fn key(&self, suffix: &str) -> String {
        server::base64(&(self.name() + suffix))
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
        let args = ["--ttl=1h"].iter().chain(options).chain(&command);
        self.env.start(self.env.flock(args))
    }

    #[track_caller]
    fn wait_for_keys(&self, count: usize) -> Vec<String> {
        self.cluster.wait_for_keys(&self.name(), count)
    }
}

/// Returns an environment with the helper, or `None` where it or the server is not available. Says
/// so, and fails where both have to be.
fn environment() -> Option<TestEnv> {
    static SKIPPED: AtomicU32 = AtomicU32::new(0);
    // The development build is not meant: it has no helper with TLS.
    let helper = installed_helper("flock-etcd");
    let is_installed_program = std::env::var_os("FLOCK_UNDER_TEST").is_some();
    let missing = match helper {
        None => "no installed helper",
        Some(_) if !server::is_available() => "no etcd",
        Some(helper) => {
            let env = TestEnv::without_builtin();
            env.install_lock_helper_program(&helper, &["flock-etcd", "flock-etcds"]);
            return Some(env);
        }
    };
    if is_installed_program {
        let is_required = std::env::var("FLOCK_TEST_ENGINES").is_ok_and(|value| value == "all");
        assert!(!is_required, "{missing}");
        let number = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
        // Not by a macro, whose output is only shown for tests that fail.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {missing} ({number})");
    }
    None
}

#[test]
fn command_runs_under_the_lock() {
    let Some(test) = EtcdTest::new() else { return };
    let (env, url) = (&test.env, test.url());
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let outcome = env.run([&url, "sh", "-c", "echo $FLOCK_TOKEN $FLOCK_URL; exit 5"]);
        let outcome = outcome.assert_stderr("").assert_status(5);
        let stdout = outcome.stdout_text();
        let (token, rest) = stdout.split_once(' ').expect("two words");
        assert_eq!(rest, format!("{url}\n"));
        tokens.push(token.parse::<u64>().expect("a number"));
        assert_eq!(
            test.cluster.keys(&test.name()),
            [""; 0],
            "released before flock exits"
        );
    }
    assert!(tokens.is_sorted_by(|one, other| one < other), "{tokens:?}");
}

#[rstest]
#[case::exclusive(&[], &[], 1)]
#[case::reader_behind_a_writer(&[], &["-s"], 1)]
#[case::writer_behind_a_reader(&["-s"], &[], 1)]
#[case::readers(&["-s"], &["-s"], 0)]
#[case::slots(&["--slots=2"], &["--slots=2"], 0)]
#[case::last_slot(&["--slots=1"], &["--slots=1"], 1)]
#[case::writer_behind_a_slot(&["--slots=2"], &[], 1)]
fn lock_excludes(#[case] held: &[&str], #[case] other: &[&str], #[case] status: i32) {
    let Some(test) = EtcdTest::new() else { return };
    let holder = test.hold(held);
    let url = test.url();
    let expected = if status == 0 { "got it\n" } else { "" };
    for wait in ["-n", "-w0.05"] {
        let args = [wait, &url, "echo", "got it"];
        let outcome = test.env.run(other.iter().chain(&args));
        outcome.assert_all(status, expected, "");
        test.wait_for_keys(1);
    }
    holder.release();
    test.wait_for_keys(0);
}

/// A process that does not wait must not keep others that do not wait from a free lock.
#[test]
fn process_that_does_not_wait_enters_no_queue() {
    let Some(test) = EtcdTest::with_server() else {
        return;
    };
    let holder = test.hold(&[]);
    let before = test.cluster.revision();
    test.env
        .run(["-n", &test.url(), "true"])
        .assert_all(1, "", "");
    assert_eq!(test.cluster.revision(), before);
    holder.release();
}

#[test]
fn locks_with_a_common_beginning_are_different() {
    let Some(test) = EtcdTest::new() else { return };
    let holder = test.hold(&[]);
    for suffix in ["/x", "/12", "x", "0"] {
        let url = test.url() + suffix;
        test.env.run(["-n", &url, "true"]).assert_all(0, "", "");
    }
    holder.release();
}

#[test]
fn lock_is_granted_in_the_order_of_arrival() {
    let Some(test) = EtcdTest::new() else { return };
    let holder = test.hold(&[]);
    let mut waiters = Vec::new();
    for (number, options) in (0..).zip([&[][..], &["-s"], &["-s"], &[], &["--slots=3"]]) {
        waiters.push(test.start(options, &format!("echo {number} >>order; sleep 0.1")));
        test.wait_for_keys(2 + number);
    }
    holder.release();
    for mut waiter in waiters {
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
    }
    let order = test.env.read_file("order");
    // The two readers run at the same time.
    assert!(
        ["0\n1\n2\n3\n4\n", "0\n2\n1\n3\n4\n"].contains(&order.as_str()),
        "{order}"
    );
}

#[test]
fn slots_are_passed_on() {
    let Some(test) = EtcdTest::new() else { return };
    let first = test.hold(&["--slots=2"]);
    let second = test.hold(&["--slots=2"]);
    let mut third = test.start(&["--slots=2"], "echo third");
    test.wait_for_keys(3);
    second.release();
    third.expect_line("third");
    assert_eq!(third.wait(), ExitReason::Exited(0));
    first.release();
}

#[test]
fn verbose_names_the_holder() {
    let Some(test) = EtcdTest::new() else { return };
    let holder = test.hold(&[]);
    let mut waiter = test.start(&["--verbose"], "true");
    let line = waiter.read_line();
    let pid = holder.pid();
    let expected = format!("flock: waiting for process {pid} of ");
    assert!(line.starts_with(&expected), "{line}");
    assert!(
        line.ends_with(" (sh -c echo held; read x; exit 0)"),
        "{line}"
    );
    holder.release();
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[test]
fn holders_and_waiters_are_listed() {
    let Some(test) = EtcdTest::new() else { return };
    let who = || test.env.run(["--who", "--json", &test.url()]);
    who().assert_all(1, "[]\n", "");
    let holder = test.hold(&["-s"]);
    let reader = test.hold(&["-s"]);
    let mut waiter = test.start(&["--slots=2"], "true");
    test.wait_for_keys(3);
    let list = who().assert_status(0).stdout_text();
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let hostname = test.env.sh("uname -n").stdout_text();
    let expected = [
        ("holder", "shared", holder.pid()),
        ("holder", "shared", reader.pid()),
        ("waiter", "slot", waiter.pid()),
    ];
    for (index, (role, mode, pid)) in expected.into_iter().enumerate() {
        let entry = &list[index];
        assert_eq!(
            (&entry["role"], &entry["mode"]),
            (&role.into(), &mode.into())
        );
        assert_eq!(
            (&entry["pid"], &entry["host"]),
            (&pid.into(), &hostname.trim().into())
        );
    }
    for process in [holder, reader] {
        process.release();
    }
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[test]
fn killed_waiter_leaves_the_queue() {
    let Some(test) = EtcdTest::new() else { return };
    let holder = test.hold(&[]);
    let mut waiter = test.start(&[], "echo never");
    test.wait_for_keys(2);
    waiter.kill();
    test.wait_for_keys(1);
    holder.release();
}

/// As `etcdctl del` or an administrator's mistake.
#[test]
fn command_is_stopped_if_the_key_is_deleted() {
    let Some(test) = EtcdTest::new() else { return };
    let mut holder = test.start(&[], "trap 'echo asked' TERM; echo held; read x");
    holder.expect_line("held");
    test.cluster.delete_first(&test.name());
    holder.expect("flock: lock lost, command stopped: its key in etcd was deleted\n");
    assert_eq!(holder.wait(), ExitReason::Exited(75));
    test.wait_for_keys(0);
}

/// A waiter without a key is not first only because no key is before its own.
#[test]
fn waiter_whose_key_is_deleted_queues_again() {
    let Some(test) = EtcdTest::new() else { return };
    let holder = test.hold(&[]);
    let mut waiter = test.start(&["--ttl=5s"], "echo got it");
    let keys = test.wait_for_keys(2);
    test.cluster.delete(&keys[1]);
    // It notices that when it lists the keys, at the next renewal.
    test.cluster.wait_for_other_keys(&test.name(), &keys);
    holder.release();
    waiter.expect_line("got it");
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[test]
fn waiter_notices_that_its_watch_was_compacted() {
    let Some(test) = EtcdTest::with_server() else {
        return;
    };
    let proxy = Proxy::start(test.cluster.hosts(), Mode::Forward);
    let holder = test.hold(&[]);
    let url = test.url_by(&proxy.host());
    let mut waiter = test
        .env
        .start(test.env.flock(["--ttl=1h", &url, "echo", "got it"]));
    test.wait_for_keys(2);
    // Meanwhile, the watch begins at a revision that etcd forgets.
    proxy.set(Mode::Freeze);
    test.cluster.compact();
    proxy.set(Mode::Reset);
    proxy.set(Mode::Forward);
    holder.release();
    // It may report first that it tries again.
    waiter.expect("got it\n");
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[rstest]
#[case::theirs_first(true)]
#[case::ours_first(false)]
fn etcdctl_takes_the_same_lock(#[case] is_theirs_first: bool) {
    let Some(test) = EtcdTest::new() else { return };
    if !is_installed("etcdctl") {
        println!("skipped: no etcdctl");
        return;
    }
    // It takes the options of a command for its own, and gives it no input.
    test.env.install_script(
        "bin/hold",
        "#!/bin/sh\necho held; until [ -e go ]; do sleep 0.01; done\n",
    );
    let ours = || test.start(&[], "bin/hold");
    let theirs = || {
        let mut command = test.env.command("etcdctl");
        command.env("ETCDCTL_API", "3");
        command.args(["--endpoints", &test.cluster.hosts(), "lock", &test.name()]);
        command.arg("bin/hold");
        test.env.start(command)
    };
    let mut first = if is_theirs_first { theirs() } else { ours() };
    first.expect_line("held");
    let mut second = if is_theirs_first { ours() } else { theirs() };
    test.wait_for_keys(2);
    test.env.sh("echo >go").assert_status(0);
    assert_eq!(first.wait(), ExitReason::Exited(0));
    second.expect_line("held");
    assert_eq!(second.wait(), ExitReason::Exited(0));
    test.wait_for_keys(0);
}

#[test]
fn helper_that_is_killed_as_a_waiter_is_reported() {
    let Some(test) = EtcdTest::new() else { return };
    let holder = test.hold(&[]);
    let mut waiter = test.start(&[], "echo never");
    test.wait_for_keys(2);
    let helper = failures::child(&waiter, "flock-etcd");
    assert!(test_support::process::send_signal(helper, SIGKILL));
    waiter.expect("the helper has exited without an answer");
    assert_eq!(waiter.wait(), ExitReason::Exited(69));
    holder.release();
}
