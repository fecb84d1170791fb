//! Failures of processes and connections. Commands never overlap: each of them has a local lock on
//! the file `witness`, ignores `SIGTERM`, and works in a grandchild.

use libc::{SIGCONT, SIGKILL, SIGSTOP};
use rstest::rstest;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{is_running, is_stopped};
use test_support::wait_until;

use super::proxy::{Mode, Proxy};
use super::{Engine, EngineTest, TTL};
use crate::remote::form::{Form, Holder, NOT_RENEWED, child, in_both_forms};

/// The next command: it reports if the other one is still there.
pub const NEXT: [&str; 6] = ["flock", "-n", "-E99", "witness", "echo", "no overlap"];

impl EngineTest {
    /// Runs a test in both forms, side by side, each in an environment of its own.
    fn in_both_forms(engine: Engine, run: impl Fn(&Self, Form) + Sync) {
        in_both_forms(|form| {
            if let Some(test) = Self::new(engine) {
                run(&test, form);
            }
        });
    }

    /// Starts a process that is hard to stop, over these hosts, and waits until it works. Then
    /// starts the next command, directly, and waits until it queues.
    #[track_caller]
    pub fn start_pair(&self, form: Form, hosts: &str) -> (Holder<'_>, Process) {
        let holder = form.start_stubborn(&self.env, &[TTL], &self.url_by(hosts));
        self.system.prolong_leases(&self.name());
        (holder, self.start_next())
    }

    /// Starts the next command, with a time to live that a busy machine does not need for it, and
    /// waits until it queues.
    #[track_caller]
    pub fn start_next(&self) -> Process {
        let url = self.url();
        let next = self.env.flock(["--ttl=15s", &url].iter().chain(&NEXT));
        let next = self.env.start(next);
        self.wait_for_keys(2);
        next
    }

    /// Starts a process that holds the lock.
    #[track_caller]
    pub fn hold_by(&self, form: Form, ttl: &str) -> Holder<'_> {
        form.hold(&self.env, &[ttl], &self.url())
    }

    /// Asserts that the lock is not free.
    #[track_caller]
    pub fn assert_held(&self) {
        let outcome = self.env.run(["-n", &self.url(), "true"]);
        outcome.assert_all(1, "", "");
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
fn killed_process_leads_to_no_overlap(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
    #[case] name: &str,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let (mut flock, next) = test.start_pair(Form::Command, &test.system.hosts());
    let status = match name {
        "" => {
            flock.kill();
            ExitReason::Signaled(SIGKILL)
        }
        name => {
            assert!(send_signal(flock.find(name), SIGKILL));
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
#[case::killed(SIGKILL)]
#[case::stopped(SIGSTOP)]
fn holder_without_helper_is_stopped(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
    #[case] signal: i32,
) {
    EngineTest::in_both_forms(engine, |test, form| {
        let (mut holder, next) = test.start_pair(form, &test.system.hosts());
        let helper = holder.find(test.system.helper());
        assert!(send_signal(helper, signal));
        holder.expect_loss(NOT_RENEWED);
        assert_no_overlap(next);
        send_signal(helper, SIGCONT);
        holder.assert_stopped();
        test.wait_for_keys(0);
    });
}

/// The lock is kept, as a local one would be, as long as it is renewed.
#[rstest]
#[case::flock(Form::Command, "")]
#[case::supervisor(Form::Command, "lock-keeper")]
#[case::script(Form::Descriptor, "")]
fn stopped_process_keeps_the_lock(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
    #[case] form: Form,
    #[case] name: &str,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let holder = test.hold_by(form, TTL);
    let pid = match name {
        "" => holder.pid(),
        name => holder.find(name),
    };
    let keys = test.wait_for_keys(1);
    assert!(send_signal(pid, SIGSTOP));
    wait_until("it stops", || is_stopped(pid));
    let mut next = test.start(&[], "echo next");
    let queue = test.wait_for_keys(2);
    assert_eq!(queue[0], keys[0]);
    send_signal(pid, SIGCONT);
    holder.finish();
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
    EngineTest::in_both_forms(engine, |test, form| {
        let proxy = Proxy::start(test.system.hosts(), Mode::Forward);
        let (mut holder, next) = test.start_pair(form, &proxy.host());
        proxy.set(mode);
        holder.expect_loss(NOT_RENEWED);
        assert_no_overlap(next);
        drop(proxy);
        holder.assert_stopped();
        test.wait_for_keys(0);
    });
}

#[rstest]
fn short_disturbance_does_not_matter(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
    #[values(Form::Command, Form::Descriptor)] form: Form,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let proxy = Proxy::start(test.system.hosts(), Mode::Forward);
    // With enough time to live for a busy machine.
    let holder = form.hold(&test.env, &["--ttl=2m"], &test.url_by(&proxy.host()));
    proxy.set(Mode::Reset);
    test.assert_held();
    proxy.set(Mode::Forward);
    holder.finish();
    test.wait_for_keys(0);
}

#[rstest]
fn renewed_lock_outlasts_the_time_to_live(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
) {
    EngineTest::in_both_forms(engine, |test, form| {
        let script = "sleep 5; echo held; read x; exit 5";
        let mut holder = form.start(&test.env, &[TTL, "--grace=0"], &test.url(), script);
        holder.expect_line("held");
        test.assert_held();
        holder.finish();
        test.wait_for_keys(0);
    });
}

/// As a virtual machine that is paused: the processes go on after the lock has passed to another.
#[rstest]
fn process_that_was_paused_too_long_is_killed(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
) {
    EngineTest::in_both_forms(engine, |test, form| {
        let work = "trap '' TERM; echo $$; while :; do sleep 0.01; done";
        let mut holder = form.start(&test.env, &[TTL], &test.url(), work);
        let worker = holder.read_line().parse().expect("a PID");
        let mut next = test.start(&[], "echo next");
        test.wait_for_keys(2);
        let paused = holder.pause(test.system.helper(), worker);
        next.expect_line("next");
        paused.resume();
        holder.assert_stopped();
        test.wait_for_keys(0);
    });
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
