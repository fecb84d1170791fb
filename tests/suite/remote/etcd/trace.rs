//! The model of the lock (`models/src/etcd.rs`) against the requests of the helper and their answers,
//! which strace(1) records.

mod messages;

use libc::{SIGCONT, SIGSTOP, SIGTERM, SIGTSTP};
use models::etcd::Etcd;
use rstest::rstest;
use serde_json::Value;
use test_support::process::{Process, send_signal};
use test_support::procfs::{children_of, status_field};
use test_support::system_calls::{Call, SystemCall, assert_explained};
use test_support::wait_until;

use super::EtcdTest;
use super::server::{from_base64, range};
use crate::remote::engines::System;
use crate::remote::engines::proxy::{Mode, Proxy};
use messages::{Message, messages};

/// The requests, as the model names them.
const REQUESTS: [(&str, &str); 5] = [
    ("/v3/lease/grant", "grant"),
    ("/v3/lease/keepalive", "keepalive"),
    ("/v3/lease/revoke", "revoke"),
    ("/v3/kv/txn", "txn"),
    ("/v3/kv/range", "range"),
];

/// Returns whether a key, or the request to write it, says that its process is stopped.
fn is_stopped(key: &Value) -> bool {
    let value = key["value"].as_str().unwrap_or_default();
    from_base64(value).contains("\"stopped\":true")
}

/// Returns the place of a key in the queue.
fn number(key: &Value) -> u64 {
    let value = from_base64(key["value"].as_str().unwrap_or_default());
    let value: Value = serde_json::from_str(&value).expect("a value of ours");
    let created = key["create_revision"].as_str().expect("a revision");
    let created: u64 = created.parse().expect("a number");
    value["number"].as_u64().unwrap_or(created << 20)
}

/// What a process knows of the keys.
#[derive(Default)]
struct Keys {
    own: Value,
    /// The last key before its own, for whose deletion it waits.
    obstacle: Option<Value>,
}

impl Keys {
    /// Names the answer to a listing of keys.
    fn list(&mut self, listing: &Value) -> &'static str {
        let mut keys = listing["kvs"].as_array().cloned().unwrap_or_default();
        keys.sort_by_key(number);
        let index = keys.iter().position(|key| key["key"] == self.own);
        let before = index.and_then(|index| index.checked_sub(1));
        self.obstacle = before.map(|before| keys[before]["key"].clone());
        match index {
            None => "absent",
            Some(0) => "first",
            Some(index) if keys[..index].iter().all(is_stopped) => "behind stopped",
            Some(_) => "behind",
        }
    }

    /// Names the deletion of a key, if that is of interest.
    fn delete(&mut self, key: &Value) -> Option<Call> {
        let is_own = *key == self.own;
        match &self.obstacle {
            Some(obstacle) if obstacle == key => {
                self.obstacle = None;
                Some(("watch", "deleted"))
            }
            // It looks again.
            Some(_) => Some(("watch", "")),
            None => is_own.then_some(("watch", "deleted")),
        }
    }

    /// Names an answer. Returns `None` if the server was not ready, and the helper asks again.
    fn answer(&mut self, path: &str, status: u16, value: &Value) -> Option<&'static str> {
        let is_unknown = status == 404;
        let error = value["message"].as_str().unwrap_or_default();
        Some(match path {
            "/v3/lease/grant" if error.contains("lease already exists") => "exists",
            "/v3/lease/revoke" if is_unknown => "revoked",
            "/v3/kv/txn" if is_unknown => "unknown",
            _ if status != 200 => return None,
            "/v3/lease/grant" => "ok",
            "/v3/lease/revoke" => "revoked",
            "/v3/lease/keepalive" if value["result"].get("TTL").is_some() => "ok",
            "/v3/lease/keepalive" => "unknown",
            "/v3/kv/txn"
                if value["responses"][0].get("response_range").is_none()
                    && value["responses"][1].is_null() =>
            {
                "written"
            }
            "/v3/kv/txn" => {
                let responses = value["responses"].as_array().expect("responses");
                self.list(&responses[responses.len() - 1]["response_range"])
            }
            _ => self.list(value),
        })
    }
}

/// Names what the helper says and hears.
fn calls_of(recorded: &[SystemCall]) -> Vec<Call> {
    let (mut calls, mut keys) = (Vec::new(), Keys::default());
    let mut is_hidden = false;
    for message in messages(recorded) {
        match message {
            Message::Request(path, body) => {
                let known = REQUESTS.iter().find(|(known, _)| *known == path);
                let (_, name) = known.unwrap_or_else(|| panic!("{path} is not in the model"));
                let compare = &body["compare"][0];
                let name = match compare["target"].as_str() {
                    None => *name,
                    Some("CREATE") => {
                        keys.own = compare["key"].clone();
                        *name
                    }
                    Some(target) => {
                        assert_eq!(target, "MOD", "it writes a key that has not changed");
                        let put = &body["success"][0]["request_put"];
                        match (put["key"] == keys.own, is_stopped(put)) {
                            (true, true) => "txn: stopped",
                            (true, false) => "txn: continued",
                            (false, _) => "txn: move",
                        }
                    }
                };
                // Before it writes to its key, it reads it: one step in the model.
                is_hidden = body["key"] == keys.own && !keys.own.is_null();
                if !is_hidden {
                    calls.push((name, ""));
                }
            }
            Message::Answer(..) if is_hidden => {}
            Message::Answer(path, status, value) => {
                let answer = keys.answer(&path, status, &value);
                calls.extend(answer.map(|answer| ("answer", answer)));
            }
            Message::Event(value) => {
                let events = value["result"]["events"].as_array();
                let events = events.map_or(&[][..], Vec::as_slice);
                let deleted = events.iter().filter(|event| event["type"] == "DELETE");
                calls.extend(deleted.filter_map(|event| keys.delete(&event["kv"]["key"])));
            }
        }
    }
    calls
}

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

    /// Waits until a key says that its process is stopped.
    #[track_caller]
    fn wait_for_stopped(&self) {
        wait_until("a waiter is stopped", || {
            let listing = self.cluster.post("/v3/kv/range", &range(&self.name()));
            let keys = listing["kvs"].as_array().expect("keys");
            keys.iter().any(is_stopped)
        });
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
