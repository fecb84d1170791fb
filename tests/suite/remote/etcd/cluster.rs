//! Three members, of which some are killed.

use libc::{SIGKILL, SIGSTOP};
use std::sync::Arc;
use test_support::process::ExitReason;

use super::EtcdTest;
use super::server::{Cluster, Member};
use crate::remote::lease::STUBBORN;

fn start() -> Option<EtcdTest> {
    EtcdTest::with(|| Arc::new(Cluster::of_three()))
}

/// The lock passes on during the election, and much earlier than after the time to live.
#[test]
fn lock_outlives_the_leader() {
    let Some(test) = start() else { return };
    let mut holder = test.hold(&[]);
    let mut next = test.start(&[], "echo next");
    test.wait_for_keys(2);
    let leader = test
        .cluster
        .members
        .iter()
        .find(|member| member.is_leader());
    leader.expect("a leader").signal(SIGKILL);
    holder.send_line("");
    assert_eq!(holder.wait(), ExitReason::Exited(0));
    // During the election, it may report that it tries again.
    next.expect("next\n");
    assert_eq!(next.wait(), ExitReason::Exited(0));
}

#[test]
fn command_is_stopped_without_a_majority() {
    let Some(test) = start() else { return };
    let url = test.url();
    let args = ["--ttl=5s", &url].into_iter().chain(STUBBORN);
    let mut flock = test.env.start(test.env.flock(args));
    flock.expect_line("working");
    // One is stopped and does not answer, the other refuses connections.
    let signal = |member: &Member, signal| member.signal(signal);
    signal(&test.cluster.members[0], SIGSTOP);
    signal(&test.cluster.members[1], SIGKILL);
    flock.expect("flock: lock lost, command stopped: its lease was not renewed in time\n");
    assert_eq!(flock.wait(), ExitReason::Exited(75));
    test.env
        .run(["-n", "witness", "true"])
        .assert_all(0, "", "");
}
