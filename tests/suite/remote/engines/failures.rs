//! Failures of processes and connections. Commands never overlap: each of them has a local lock on
//! the file `witness`, ignores `SIGTERM`, and works in a grandchild.

use libc::{SIGCONT, SIGKILL, SIGSTOP};
use rstest::rstest;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{children_of, is_running, is_stopped, status_field};
use test_support::wait_until;

use super::proxy::{Mode, Proxy};
use super::{Engine, EngineTest, TTL};
use crate::remote::lease::STUBBORN;

/// The next command: it reports if the other one is still there.
pub const NEXT: [&str; 6] = ["flock", "-n", "-E99", "witness", "echo", "no overlap"];

/// Stands for the name of the helper's process.
const HELPER: &str = "helper";

/// Returns the child of `flock` with this name.
#[track_caller]
pub fn child(flock: &Process, name: &str) -> i32 {
    let has_name = |pid: &i32| status_field(*pid, "Name") == name;
    let mut found = None;
    // The command may be faster than the processes that watch over it.
    wait_until("a child has this name", || {
        found = children_of(flock.pid()).into_iter().find(has_name);
        found.is_some()
    });
    found.expect("it was found")
}

impl EngineTest {
    /// Starts a command that is hard to stop, over these hosts, and waits until it works. Then
    /// starts the next one, directly, and waits until it queues.
    #[track_caller]
    fn start_pair(&self, hosts: &str) -> (Process, Process) {
        let url = self.url_by(hosts);
        let args = [TTL, &url].into_iter().chain(STUBBORN);
        let mut flock = self.env.start(self.env.flock(args));
        flock.expect_line("working");
        self.system.prolong_leases(&self.name());
        let url = self.url();
        // With a time to live that a busy machine does not need for this command.
        let next = self.env.flock(["--ttl=15s", &url].iter().chain(&NEXT));
        let next = self.env.start(next);
        self.wait_for_keys(2);
        (flock, next)
    }
}

/// Asserts that the next command runs, and not beside the other one.
#[track_caller]
pub fn assert_no_overlap(mut next: Process) {
    next.expect_line("no overlap");
    assert_eq!(next.wait(), ExitReason::Exited(0));
}

#[rstest]
#[case::flock("")]
#[case::supervisor("lock-keeper")]
#[case::timekeeper("lock-timekeeper")]
#[case::helper(HELPER)]
fn killed_process_leads_to_no_overlap(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
    #[case] name: &str,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let (mut flock, next) = test.start_pair(&test.system.hosts());
    let status = match name {
        "" => {
            flock.kill();
            ExitReason::Signaled(SIGKILL)
        }
        name => {
            let name = if name == HELPER {
                test.system.helper()
            } else {
                name
            };
            assert!(send_signal(child(&flock, name), SIGKILL));
            ExitReason::Exited(if name == "lock-keeper" {
                128 + SIGKILL
            } else {
                75
            })
        }
    };
    assert_eq!(flock.wait(), status);
    assert_no_overlap(next);
    test.wait_for_keys(0);
}

#[rstest]
fn stopped_helper_leads_to_no_overlap(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let (mut flock, next) = test.start_pair(&test.system.hosts());
    let helper = child(&flock, test.system.helper());
    assert!(send_signal(helper, SIGSTOP));
    assert_no_overlap(next);
    send_signal(helper, SIGCONT);
    assert_eq!(flock.wait(), ExitReason::Exited(75));
}

/// The lock is kept, as a local one would be, as long as it is renewed.
#[rstest]
#[case::flock("")]
#[case::supervisor("lock-keeper")]
fn stopped_process_keeps_the_lock(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
    #[case] name: &str,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let mut holder = test.hold(&[TTL]);
    let pid = match name {
        "" => holder.pid(),
        name => child(&holder, name),
    };
    let keys = test.wait_for_keys(1);
    assert!(send_signal(pid, SIGSTOP));
    wait_until("it stops", || is_stopped(pid));
    let mut next = test.start(&[], "echo next");
    let queue = test.wait_for_keys(2);
    assert_eq!(queue[0], keys[0]);
    send_signal(pid, SIGCONT);
    holder.send_line("");
    assert_eq!(holder.wait(), ExitReason::Exited(0));
    next.expect_line("next");
    assert_eq!(next.wait(), ExitReason::Exited(0));
}

#[rstest]
#[case::frozen(Mode::Freeze)]
#[case::replies_lost(Mode::HoldReplies(0))]
#[case::reset(Mode::Reset)]
fn disturbed_connection_leads_to_no_overlap(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
    #[case] mode: Mode,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let proxy = Proxy::start(test.system.hosts(), Mode::Forward);
    let (mut flock, next) = test.start_pair(&proxy.host());
    proxy.set(mode);
    flock.expect("flock: lock lost, command stopped: its lease was not renewed in time\n");
    assert_no_overlap(next);
    drop(proxy);
    assert_eq!(flock.wait(), ExitReason::Exited(75));
}

#[rstest]
fn short_disturbance_does_not_matter(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let proxy = Proxy::start(test.system.hosts(), Mode::Forward);
    let url = test.url_by(&proxy.host());
    // With enough time to live for a busy machine.
    let mut command = test.env.flock(["--ttl=60s", &url, "sh", "-c"]);
    command.arg("echo held; read x; exit 5");
    let mut holder = test.env.start(command);
    holder.expect_line("held");
    proxy.set(Mode::Reset);
    let is_kept = test.env.run(["-n", &test.url(), "true"]);
    is_kept.assert_all(1, "", "");
    proxy.set(Mode::Forward);
    holder.send_line("");
    assert_eq!(holder.wait(), ExitReason::Exited(5));
    test.wait_for_keys(0);
}

/// As a virtual machine that is paused: the processes go on after the lock has passed to another.
#[rstest]
fn command_that_was_paused_too_long_is_killed(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let mut flock = test.start(&[TTL], "echo $$; while :; do sleep 0.01; done");
    let command = flock.read_line().parse().expect("a PID");
    let mut next = test.start(&[], "echo next");
    test.wait_for_keys(2);
    let names = ["lock-keeper", "lock-timekeeper", test.system.helper()];
    let mut processes = vec![flock.pid(), command];
    processes.extend(names.map(|name| child(&flock, name)));
    // Those that would continue others come first.
    processes[2..].reverse();
    for pid in &processes {
        assert!(send_signal(*pid, SIGSTOP));
    }
    next.expect_line("next");
    for pid in &processes {
        send_signal(*pid, SIGCONT);
    }
    assert_eq!(flock.wait(), ExitReason::Exited(75));
    assert!(!is_running(command));
}

/// The first server is a proxy that passes requests on, but loses the answers from some point on.
#[rstest]
fn lost_answers_are_asked_for_again(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
    #[values(Some(0), Some(1), Some(2), None)] answers: Option<usize>,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    // The first lock of PostgreSQL creates a table.
    test.env.run([&test.url(), "true"]).assert_all(0, "", "");
    let mode = match answers {
        Some(answers) => Mode::HoldReplies(answers),
        None => Mode::HoldReplyTo(test.system.request()),
    };
    let proxy = Proxy::start(test.system.hosts(), mode);
    let hosts = format!("{},{}", proxy.host(), test.system.hosts());
    let url = test.url_by(&hosts);
    let outcome = test.env.run([TTL, &url, "echo", "once"]);
    outcome.assert_all(0, "once\n", "");
    test.wait_for_keys(0);
}

#[rstest]
fn interrupted_wait_for_a_frozen_server_ends(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let proxy = Proxy::start(test.system.hosts(), Mode::Freeze);
    let url = test.url_by(&proxy.host());
    let mut waiter = test
        .env
        .start(test.env.flock(["--ttl=1h", &url, "echo", "never"]));
    let helper = child(&waiter, test.system.helper());
    waiter.kill();
    // What may have been granted is revoked, as soon as that is possible.
    proxy.set(Mode::Forward);
    wait_until("the helper exits", || !is_running(helper));
}
