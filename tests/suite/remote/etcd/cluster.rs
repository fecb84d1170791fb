//! Three members, of which some are killed.

use std::sync::Arc;

use libc::{SIGCONT, SIGKILL, SIGSTOP};
use test_support::process::ExitReason;

use super::EtcdTest;
use super::server::Cluster;
use crate::remote::form::{NOT_RENEWED, in_both_forms};

fn start() -> Option<EtcdTest> {
    EtcdTest::with(|| Arc::new(Cluster::of_three()))
}

/// The lock passes on during the election, and much earlier than after the time to live.
#[test]
fn lock_outlives_the_leader() {
    in_both_forms(|form| {
        let Some(test) = start() else { return };
        let holder = test.hold_by(form, "--ttl=1h");
        let mut next = test.start(&[], "echo next");
        test.wait_for_keys(2);
        let leader = test
            .cluster
            .members
            .iter()
            .find(|member| member.is_leader());
        leader.expect("a leader").signal(SIGKILL);
        holder.finish();
        // During the election, it may report that it tries again.
        next.expect("next\n");
        assert_eq!(next.wait(), ExitReason::Exited(0));
        test.wait_for_keys(0);
    });
}

/// The next one starts when there is a majority again.
#[test]
fn holder_is_stopped_without_a_majority() {
    in_both_forms(|form| {
        let Some(test) = start() else { return };
        let (mut holder, mut next) = test.start_pair(form, &test.system.hosts());
        // One is stopped and does not answer, the other refuses connections.
        let [first, second, _] = &test.cluster.members[..] else {
            panic!("three members");
        };
        first.signal(SIGSTOP);
        second.signal(SIGKILL);
        holder.expect_loss(NOT_RENEWED);
        holder.assert_stopped();
        assert!(!next.has_exited(), "no majority has granted the lock");
        test.env
            .run(["-n", "witness", "true"])
            .assert_all(0, "", "");
        first.signal(SIGCONT);
        // Meanwhile, it has reported that it tries again.
        next.expect("no overlap\n");
        assert_eq!(next.wait(), ExitReason::Exited(0));
        test.wait_for_keys(0);
    });
}
