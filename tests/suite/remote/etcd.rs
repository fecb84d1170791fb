//! Locks in a real etcd: what is particular about it.

mod answers;
mod cluster;
mod errors;
mod revocation;
pub mod server;
mod trace;

use std::ops::Deref;
use std::sync::Arc;

use rstest::rstest;
use test_support::is_installed;
use test_support::process::ExitReason;

use super::engines::proxy::{Mode, Proxy};
use super::engines::{Engine, EngineTest, System};
use super::form::Form;
use server::Cluster;

/// An environment for locks in etcd.
struct EtcdTest {
    test: EngineTest,
    cluster: Arc<Cluster>,
}

impl Deref for EtcdTest {
    type Target = EngineTest;

    fn deref(&self) -> &EngineTest {
        &self.test
    }
}

impl EtcdTest {
    /// Uses the server that tests share. `None` if the test is skipped.
    fn new() -> Option<Self> {
        Self::with(Cluster::shared)
    }

    /// Starts a server for this test, which it may disturb.
    fn with_server() -> Option<Self> {
        Self::with(|| Arc::new(Cluster::single(&[])))
    }

    fn with(start: impl FnOnce() -> Arc<Cluster>) -> Option<Self> {
        let env = Engine::Etcd.environment()?;
        let cluster = start();
        let system = cluster.clone();
        let test = EngineTest { env, system };
        Some(Self { test, cluster })
    }

    /// The name with a suffix in base64, which etcd's JSON needs.
    fn key(&self, suffix: &str) -> String {
        server::base64(&(self.name() + suffix))
    }
}

/// As `etcdctl del` or an administrator's mistake.
#[test]
fn command_is_stopped_if_the_key_is_deleted() {
    let Some(test) = EtcdTest::new() else { return };
    let mut holder = test.start(&[], "trap 'echo asked' TERM; echo held; read x");
    holder.expect_line("held");
    test.system.delete(&test.wait_for_keys(1)[0]);
    holder.expect("flock: lock lost, command stopped: its key in etcd was deleted\n");
    assert_eq!(holder.wait(), ExitReason::Exited(75));
    test.wait_for_keys(0);
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

#[rstest]
fn server_that_is_restarted_keeps_the_lock(#[values(Form::Command, Form::Descriptor)] form: Form) {
    let Some(test) = EtcdTest::with_server() else {
        return;
    };
    let holder = test.hold_by(form, "--ttl=2m");
    test.cluster.members[0].restart();
    let keys = test.wait_for_keys(1);
    let mut next = test.start(&[], "echo next");
    assert_eq!(test.wait_for_keys(2)[0], keys[0]);
    holder.finish();
    next.expect_line("next");
    assert_eq!(next.wait(), ExitReason::Exited(0));
    test.wait_for_keys(0);
}
