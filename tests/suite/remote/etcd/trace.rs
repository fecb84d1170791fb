//! The model of the lock (`models/src/etcd.rs`) against the requests of the helper and their answers,
//! which strace(1) records.

mod calls;
mod messages;
mod stopped;

use libc::{SIGCONT, SIGSTOP, SIGTERM};
use models::etcd::Etcd;
use rstest::rstest;
use test_support::process::{Process, send_signal};
use test_support::procfs::{children_of, status_field};
use test_support::system_calls::{Call, SystemCall, assert_explained};
use test_support::wait_until;

use super::EtcdTest;
use crate::remote::engines::System;
use crate::remote::engines::proxy::{Mode, Proxy};
use calls::calls_of;

impl EtcdTest {
    /// Starts `flock` under strace, over these hosts, with an option and a command that prints a word
    /// and waits for its input. `None` without strace.
    fn start_recorded(&self, hosts: &str, option: &str) -> Option<Process> {
        let url = self.url_by(hosts);
        let args = [
            "--ttl=1h",
            option,
            &url,
            "sh",
            "-c",
            "echo held; read x; exit 0",
        ];
        let command = self.env.with_recording_of_all("flock", args)?;
        Some(self.env.start(command))
    }

    /// Waits for the end of all processes, and returns the calls of the helper.
    #[track_caller]
    fn finish_recorded(&self, mut process: Process) -> Vec<Call> {
        process.wait();
        let processes = self.env.recorded_processes();
        let is_helper = |calls: &&Vec<SystemCall>| {
            let mut calls = calls.iter();
            calls.any(|call| call.name == "execve" && call.args.contains("/flock-etcd"))
        };
        calls_of(processes.values().find(is_helper).expect("a helper"))
    }
}

/// Returns the process below strace with this name.
#[track_caller]
fn descendant(strace: &Process, name: &str) -> i32 {
    let mut found = None;
    wait_until("it is started", || {
        let flock = children_of(strace.pid());
        let mut all = flock.iter().flat_map(|pid| children_of(*pid));
        found = all.find(|pid| status_field(*pid, "Name") == name);
        found.is_some()
    });
    found.expect("it was found")
}

/// Whether a request was repeated that was not answered in time: on a slow machine.
fn is_repeated(calls: &[Call]) -> bool {
    let is_request = |(name, _): &Call| *name != "answer" && *name != "watch";
    calls.windows(2).any(|two| two.iter().all(is_request))
}

/// A time to live that a test can wait for, and that a busy machine does not need for a command.
const SHORT: &str = "--ttl=9s";

const ENTERED: [Call; 3] = [("grant", ""), ("answer", "ok"), ("txn", "")];
const REVOKED: [Call; 2] = [("revoke", ""), ("answer", "revoked")];

#[test]
fn a_free_lock_is_a_path_of_the_model() {
    let Some(test) = EtcdTest::new() else { return };
    let Some(mut holder) = test.start_recorded(&test.cluster.hosts(), "-x") else {
        return;
    };
    holder.expect_line("held");
    holder.send_line("");
    let calls = test.finish_recorded(holder);
    if is_repeated(&calls) {
        return;
    }
    let expected = [&ENTERED[..], &[("answer", "first")], &REVOKED];
    assert_eq!(calls, expected.concat());
    let model = Etcd::new(1, 3, 0);
    assert_explained(&calls, |calls| model.explain(calls));
}

#[test]
fn a_wait_is_a_path_of_the_model() {
    let Some(test) = EtcdTest::new() else { return };
    let holder = test.hold(&[]);
    let Some(mut waiter) = test.start_recorded(&test.cluster.hosts(), "-x") else {
        return holder.release();
    };
    test.wait_for_keys(2);
    holder.release();
    waiter.expect_line("held");
    waiter.send_line("");
    let calls = test.finish_recorded(waiter);
    if is_repeated(&calls) {
        return;
    }
    let woken = [("answer", "behind"), ("watch", "deleted")];
    assert_eq!(calls, [&ENTERED[..], &woken, &REVOKED].concat());
    let model = Etcd::new(2, 3, 0);
    assert_explained(&calls, |calls| model.explain(calls));
}

/// A process that does not wait.
#[test]
fn a_single_attempt_is_a_path_of_the_model() {
    let Some(test) = EtcdTest::new() else { return };
    let Some(mut holder) = test.start_recorded(&test.cluster.hosts(), "-n") else {
        return;
    };
    holder.expect_line("held");
    holder.send_line("");
    let calls = test.finish_recorded(holder);
    let looked = [("range", ""), ("answer", "absent")];
    let expected = [&looked[..], &ENTERED, &[("answer", "first")], &REVOKED];
    assert_eq!(calls, expected.concat());
    let model = Etcd {
        nonblocking: 1,
        ..Etcd::new(1, 3, 0)
    };
    assert_explained(&calls, |calls| model.explain(calls));
}

#[test]
fn a_refusal_is_a_path_of_the_model() {
    let Some(test) = EtcdTest::new() else { return };
    let holder = test.hold(&[]);
    let Some(refused) = test.start_recorded(&test.cluster.hosts(), "-n") else {
        return holder.release();
    };
    let calls = test.finish_recorded(refused);
    holder.release();
    assert_eq!(calls, [("range", ""), ("answer", "absent")]);
    let model = Etcd {
        nonblocking: 1,
        ..Etcd::new(2, 3, 0)
    };
    assert_explained(&calls, |calls| model.explain(calls));
}

#[test]
fn a_renewal_while_waiting_is_a_path_of_the_model() {
    let Some(test) = EtcdTest::with_server() else {
        return;
    };
    let holder = test.hold(&[]);
    let proxy = Proxy::start(test.cluster.hosts(), Mode::Forward);
    let Some(mut waiter) = test.start_recorded(&proxy.host(), SHORT) else {
        return holder.release();
    };
    // The answer to the renewal. That to the request for the lease has one bracket less.
    proxy.wait_for_answer("\"TTL\":\"9\"}}");
    holder.release();
    waiter.expect("held\n");
    waiter.send_line("");
    let calls = test.finish_recorded(waiter);
    if is_repeated(&calls) {
        return;
    }
    let renewed = [("keepalive", ""), ("answer", "ok"), ("range", "")];
    assert!(calls.windows(3).any(|three| *three == renewed), "{calls:?}");
    let model = Etcd::new(2, 3, 0);
    assert_eq!(model.explain(&calls), Ok(()), "{calls:?}");
}

/// `flock` is killed, and the helper leaves the queue.
#[test]
fn a_withdrawal_is_a_path_of_the_model() {
    let Some(test) = EtcdTest::new() else { return };
    let holder = test.hold(&[]);
    let Some(waiter) = test.start_recorded(&test.cluster.hosts(), "-x") else {
        return holder.release();
    };
    test.wait_for_keys(2);
    assert!(send_signal(children_of(waiter.pid())[0], SIGTERM));
    let calls = test.finish_recorded(waiter);
    holder.release();
    if is_repeated(&calls) {
        return;
    }
    let expected = [&ENTERED[..], &[("answer", "behind")], &REVOKED];
    assert_eq!(calls, expected.concat());
    let model = Etcd::new(2, 3, 0);
    assert_explained(&calls, |calls| model.explain(calls));
}

/// The helper is stopped until its lease and its key have gone. It hears of that by its watch, or by
/// a renewal.
#[test]
fn the_end_of_a_lease_is_a_path_of_the_model() {
    let Some(test) = EtcdTest::with_server() else {
        return;
    };
    let holder = test.hold(&[]);
    let Some(mut waiter) = test.start_recorded(&test.cluster.hosts(), SHORT) else {
        return holder.release();
    };
    test.wait_for_keys(2);
    let helper = descendant(&waiter, "flock-etcd");
    assert!(send_signal(helper, SIGSTOP));
    test.wait_for_keys(1);
    send_signal(helper, SIGCONT);
    test.wait_for_keys(2);
    holder.release();
    waiter.expect_line("held");
    waiter.send_line("");
    let calls = test.finish_recorded(waiter);
    let grants = calls.iter().filter(|(name, _)| *name == "grant");
    assert!(grants.count() > 1, "{calls:?}");
    if is_repeated(&calls) {
        return;
    }
    let model = Etcd::new(2, 3, 0);
    assert_eq!(model.explain(&calls), Ok(()), "{calls:?}");
}

/// The answer to a request is lost, and the request is repeated.
#[rstest]
#[case::grant("/v3/lease/grant", &[
    ("grant", ""),
    ("grant", ""),
    ("answer", "exists"),
    ("keepalive", ""),
    ("answer", "ok"),
    ("txn", ""),
    ("answer", "first"),
])]
#[case::key("/v3/kv/txn", &[
    ("grant", ""),
    ("answer", "ok"),
    ("txn", ""),
    ("txn", ""),
    ("answer", "first"),
])]
fn a_lost_answer_is_a_path_of_the_model(#[case] lost: &'static str, #[case] granted: &[Call]) {
    let Some(test) = EtcdTest::new() else { return };
    let proxy = Proxy::start(test.cluster.hosts(), Mode::HoldReplyTo(lost));
    let Some(mut holder) = test.start_recorded(&proxy.host(), "-x") else {
        return;
    };
    proxy.wait_for_held_reply();
    proxy.set(Mode::Reset);
    proxy.set(Mode::Forward);
    // It may report first that it tries again, and be refused again.
    holder.expect("held\n");
    holder.send_line("");
    let mut calls = Vec::new();
    for call in test.finish_recorded(holder) {
        if !calls.ends_with(&[call, call]) {
            calls.push(call);
        }
    }
    assert_eq!(calls, [granted, &REVOKED].concat());
    let model = Etcd::new(1, 3, 1);
    assert_explained(&calls, |calls| model.explain(calls));
}
