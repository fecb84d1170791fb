//! Waiters that are stopped.

use libc::{SIGCONT, SIGTSTP};
use models::etcd::Etcd;
use test_support::process::send_signal;
use test_support::procfs::children_of;
use test_support::system_calls::assert_explained;
use test_support::wait_until;

use super::calls::is_stopped;
use super::{ENTERED, REVOKED, is_repeated};
use crate::remote::engines::System;
use crate::remote::etcd::EtcdTest;
use crate::remote::etcd::server::range;

impl EtcdTest {
    /// Waits until a key says that its process is stopped.
    #[track_caller]
    fn wait_for_stopped(&self) {
        wait_until("a waiter is stopped", || {
            let listing = self.cluster.post("/v3/kv/range", &range(&self.name()));
            let keys = listing["kvs"].as_array().expect("keys");
            keys.iter().any(is_stopped)
        });
    }
}

/// Another process passes one that is stopped, and the holder exits before that is continued.
#[test]
fn a_stopped_waiter_is_a_path_of_the_model() {
    let Some(test) = EtcdTest::new() else { return };
    let holder = test.hold(&[]);
    let Some(mut waiter) = test.start_recorded(&test.cluster.hosts(), "-x") else {
        return holder.release();
    };
    test.wait_for_keys(2);
    let flock = children_of(waiter.pid())[0];
    assert!(send_signal(flock, SIGTSTP));
    test.wait_for_stopped();
    holder.release();
    let url = test.url();
    wait_until("another process passes it", || {
        test.env.run(["-n", &url, "true"]).status.success()
    });
    send_signal(flock, SIGCONT);
    waiter.expect_line("held");
    waiter.send_line("");
    let calls = test.finish_recorded(waiter);
    if is_repeated(&calls) {
        return;
    }
    let stopped = [
        ("answer", "behind"),
        ("txn: stopped", ""),
        ("answer", "written"),
        ("txn: continued", ""),
        ("answer", "written"),
        ("range", ""),
        ("answer", "first"),
    ];
    assert_eq!(calls, [&ENTERED[..], &stopped, &REVOKED].concat());
    let model = Etcd {
        stops: 1,
        ..Etcd::new(2, 3, 0)
    };
    assert_explained(&calls, |calls| model.explain(calls));
}

/// The waiter is stopped before the process that passes it arrives.
#[test]
fn an_overtaking_is_a_path_of_the_model() {
    let Some(test) = EtcdTest::new() else { return };
    let holder = test.hold(&[]);
    let mut stopped = test.start(&[], "echo held; read x; exit 0");
    test.wait_for_keys(2);
    assert!(send_signal(stopped.pid(), SIGTSTP));
    test.wait_for_stopped();
    holder.release();
    let url = test.url();
    wait_until("another process passes it", || {
        test.env.run(["-n", &url, "true"]).status.success()
    });
    let recorded = test.start_recorded(&test.cluster.hosts(), "-x");
    let calls = recorded.map(|mut next| {
        next.expect_line("held");
        next.send_line("");
        test.finish_recorded(next)
    });
    send_signal(stopped.pid(), SIGCONT);
    stopped.expect_line("held");
    stopped.release();
    let Some(calls) = calls.filter(|calls| !is_repeated(calls)) else {
        return;
    };
    let moved = [
        ("answer", "behind stopped"),
        ("txn: move", ""),
        ("answer", "written"),
        ("range", ""),
        ("answer", "first"),
    ];
    assert_eq!(calls, [&ENTERED[..], &moved, &REVOKED].concat());
    let model = Etcd {
        stops: 1,
        ..Etcd::new(2, 3, 0)
    };
    assert_explained(&calls, |calls| model.explain(calls));
}
